# `make` lists the targets. Proxies, certificates and package mirrors come from environment variables (SSL_CERT_FILE,
# UV_*, PIP_*).
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTHONS := $(or $(PYTHON),python3.11 python3 python3.12 python3.13)

PARAMS ?= pipelines/params/local.yaml
WORKDIR ?= workdir
PORT ?= 5000

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' $(MAKEFILE_LIST))

help: ## Show this list
	@awk -F ':.*## ' '/^### / {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' \
	  $(MAKEFILE_LIST)

### On this machine
setup: $(READY) ## Create .venv with all packages of images/dev.lock (PYTHON=python3.12 chooses the interpreter)

# uv is also installed from the lock file, with its hash.
$(READY): images/dev.lock pyproject.toml
	@set -eu; \
	for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    found=$$python; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "error: none of $(PYTHONS) is Python 3.11 or newer. Install one, or give its path: make setup PYTHON=/path/to/python" >&2; \
	  exit 1; fi; \
	[ -x $(BIN)/python ] || "$$found" -m venv $(VENV)
	@sed -n '/^uv==/,/# via/p' images/dev.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode images/dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY) ## Run the whole pipeline here (DATA=folder PARAMS=file WORKDIR=folder SET="key=value key=value")
	@$(BIN)/crack-pipeline run-local --params '$(PARAMS)' --workdir '$(WORKDIR)' \
	  $(if $(DATA),--data '$(DATA)') $(foreach setting,$(SET),--set '$(setting)')

mlflow-ui: $(READY) ## Browse the local runs in MLflow (WORKDIR=folder PORT=5000)
	@$(BIN)/crack-pipeline mlflow-ui --workdir '$(WORKDIR)' --port '$(PORT)'

clean: ## Remove build output and caches; keep the workdir and .venv
	rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

### Code
# There are three test processes, each with one thread, for two processors, because a test often waits for a server. A
# process runs whole files, in order. So the long local runs are not the last to start.
test: check ## Run all checks and tests: lint, types, architecture, unit, component, compile, local end to end
	OMP_NUM_THREADS=1 $(BIN)/pytest --quiet --numprocesses 3 --dist loadfile --no-loadscope-reorder

check: lint type ## Run the linter and the type checker

lint: $(READY) ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

type: $(READY) ## Check types
	$(BIN)/mypy

format: $(READY) ## Format the code and fix what the linter can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --generate-hashes --python-version 3.11 --no-emit-index-url \
  --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
lock: $(READY) ## Write images/*.lock again (UPGRADE=1 uses newer versions)
	$(LOCK) --extra gpu --extra cli --extra local --extra dev --output-file images/dev.lock
	$(LOCK) --extra cli --constraint images/dev.lock --output-file images/cpu.lock
	$(LOCK) --extra gpu --constraint images/dev.lock --output-file images/gpu.lock

### On a cluster
compile: $(READY) ## Compile the pipeline for a cluster into build/ (ENV=prod or PARAMS=file; ALLOW_TAGS=1 before the first images-push)
	$(BIN)/crack-pipeline compile $(if $(ENV),'$(ENV)',--params '$(PARAMS)') --output build/crack-training.yaml \
	  $(if $(ALLOW_TAGS),--allow-tags)

# If the command fails, make itself exits with 2, and prints the exit status of the command: 1 if the run failed or was
# refused, 2 if it was not submitted, 3 if it did not end within TIMEOUT.
PARAMETERS = $(foreach parameter,$(P),--parameter '$(parameter)')
pipeline-submit: $(READY) ## Run the pipeline on the cluster of KFP_ENDPOINT (ENV=prod WAIT=1 TIMEOUT=seconds AGAIN=1 ALLOW_REFUSAL=1 STOP_WITH_ME=1 P="seed=2")
	@$(BIN)/crack-pipeline submit '$(ENV)' $(PARAMETERS) $(if $(WAIT),--wait) $(if $(TIMEOUT),--timeout '$(TIMEOUT)') \
	  $(if $(AGAIN),--again) $(if $(ALLOW_REFUSAL),--allow-refusal) $(if $(STOP_WITH_ME),--stop-with-me) \
  $(if $(ALLOW_TAGS),--allow-tags)

pipeline-schedule: $(READY) ## Set up the schedules of the parameter file (ENV=prod; DO=list, pause, resume or remove)
	@$(BIN)/crack-pipeline schedule '$(ENV)' $(if $(DO),--$(DO)) $(if $(ALLOW_TAGS),--allow-tags)

pipeline-manifest: $(READY) ## Write the pipeline as Kubernetes resources into build/, for GitOps (ENV=prod NAMESPACE=team)
	@$(BIN)/crack-pipeline manifest '$(ENV)' --output build/crack-training-$(ENV).yaml \
	  $(if $(NAMESPACE),--namespace '$(NAMESPACE)') $(if $(ALLOW_TAGS),--allow-tags)

doctor: $(READY) ## Check everything that a run on the cluster needs, and say how to fix each problem (ENV=prod)
	@$(BIN)/crack-pipeline doctor '$(ENV)' $(if $(ALLOW_TAGS),--allow-tags)

images/base.txt:
	@base=$$(images/resolve-base.sh) && echo "$$base" > $@ && echo "$@: $$base; commit it"

images: ## Build the container images; 35 GB of disk (ENGINE=podman BASE_IMAGE=… CA_BUNDLE=file BUILD_OPTIONS=…: images/build.sh --help)
	images/build.sh cpu gpu

images-push: ## Push the container images and write images/digests.json (REGISTRY=host/folder TARGETS=cpu PUSH_OPTIONS=…: images/push.sh --help)
	images/push.sh '$(REGISTRY)' $(TARGETS)

test-images: $(READY) ## Build the cpu container image and run the CPU steps in it, as a cluster does (BASE_IMAGE=localhost/… uses another base)
	image=$$(images/build.sh cpu) && CPU_IMAGE=$$image $(BIN)/pytest --quiet tests/images

CHECKOV := build/checkov/bin/checkov
$(CHECKOV): # checkov has its own environment, because it needs other versions of our packages
	$(BIN)/python -m venv build/checkov
	$(BIN)/uv pip install --quiet --python build/checkov/bin/python checkov==3.3.30

CRDS := build/crds
$(CRDS)/.ready: tests/manifests/crds.sha256 # definitions of kinds that Kubernetes itself does not have
	@mkdir -p $(CRDS)
	@grep -o 'https://.*' $< | xargs -n 1 sh -c 'curl --fail --silent --show-error --location --output "$(CRDS)/$${0##*/}" "$$0"'
	@sed -n 's,^\([0-9a-f]\{64\}\)  https://.*/,\1  ,p' $< | (cd $(CRDS) && sha256sum --check --quiet)
	@touch $@

test-manifests: $(READY) $(CHECKOV) $(CRDS)/.ready ## Render, validate and check the Kubernetes manifests (needs kubectl 1.27 or newer)
	CHECKOV=$(CHECKOV) CRDS=$(CRDS) $(BIN)/pytest --quiet tests/manifests

# The overlay's container image is the "cpu" one of images/digests.json or of IMAGE_DIGESTS.
test-cluster: $(READY) ## Try everything on the cluster of KUBECONFIG, in a new namespace (SINGLE_USER=1 IN_KUBEFLOW=1 KEEP=1 MINUTES=40)
	@$(BIN)/python -m tests.cluster $(if $(SINGLE_USER),--single-user) $(if $(IN_KUBEFLOW),--in-kubeflow) \
	  $(if $(KEEP),--keep) $(if $(MINUTES),--minutes '$(MINUTES)')

### Measurements
bench-train: $(READY) ## Compare the training speed with the device's limit and with timm's loader
	@$(BIN)/python tests/bench/bench_train.py

bench-evaluate: $(READY) ## Measure how long the intervals of all metrics take
	@OMP_NUM_THREADS=1 $(BIN)/python tests/bench/bench_metrics.py

bench-explain: $(READY) ## Compare KernelSHAP in batches with one call of the network per coalition
	@$(BIN)/python -W ignore tests/bench/bench_explain.py

gpu-report: $(READY) ## Measure and check everything on a GPU, as one table (FILE=build/gpu-report.md; SMALL=1 tries it on a CPU)
	@$(BIN)/python -W ignore -m tests.bench.gpu_report $(if $(FILE),--out '$(FILE)') $(if $(SMALL),--small)

bench-inspect: $(READY) ## Measure photos per minute and memory of an inspection; compare with a plain loop and the network alone
	@$(BIN)/python -m tests.bench.bench_inspect

study-review: $(READY) ## Inspect drawn photos before and after one review round (minutes)
	@$(BIN)/python tests/studies/study_review.py

study-leaks: $(READY) ## Train under several groupings of the tiles, and show how much leaks inflate test numbers (minutes)
	@$(BIN)/python tests/studies/study_leaks.py

simulate: $(READY) ## Simulate how often verdicts are wrong and how often intervals contain the truth (takes minutes)
	@for script in tests/simulate/simulate_*.py; do $(BIN)/python "$$script" || exit 1; done

bench-data: $(READY) ## Measure near duplicates, speed and memory of ingestion; compare with rclone and boto3 (FULL=1: 100,000 tiles)
	@$(BIN)/python tests/bench/bench_data.py $(if $(FULL),--full)

bench-memory: $(READY) ## Measure the peak memory of whole runs over 10,000, 20,000 and 40,000 tiles (about an hour)
	@$(BIN)/python tests/bench/bench_memory.py

fuzz: $(READY) ## Give thousands of damaged files and checkpoints to the code that reads them (takes minutes)
	@for script in tests/fuzz/fuzz_*.py; do $(BIN)/python "$$script" || exit 1; done

chaos: $(READY) ## Kill runs (about 40 minutes), let them race, and run them on a store that fails and lies (minutes)
	@for script in tests/chaos/chaos_*.py; do $(BIN)/python "$$script" || exit 1; done

### Models
drift-check: $(READY) ## Compare production images with the champion's training sample (IMAGES=folder WORKDIR=folder)
	@$(BIN)/crack-pipeline drift-check --images '$(IMAGES)' --params '$(PARAMS)' --workdir '$(WORKDIR)' \
	  $(foreach setting,$(SET),--set '$(setting)')

# If MLFLOW_TRACKING_URI is set, the commands use its registry. Otherwise they use the registry of the workdir.
AT = $(if $(MLFLOW_TRACKING_URI),,--workdir '$(WORKDIR)')
status: $(READY) ## Show the registered model versions, the champion and the challenger
	@$(BIN)/crack-pipeline status $(AT)

promote: $(READY) ## Make a model version the champion (VERSION=number BY=name WHY=text)
	@$(BIN)/crack-pipeline promote '$(VERSION)' --by '$(BY)' --why '$(WHY)' $(AT)

rollback: $(READY) ## Make the previous champion the champion again (BY=name WHY=text)
	@$(BIN)/crack-pipeline rollback --by '$(BY)' --why '$(WHY)' $(AT)

registry-export: $(READY) ## Back up the registered model (FILE=registry.tar)
	@$(BIN)/crack-pipeline registry export '$(or $(FILE),registry.tar)' $(AT)

registry-import: $(READY) ## Restore the backup into a registry without this model (FILE=registry.tar)
	@$(BIN)/crack-pipeline registry import '$(or $(FILE),registry.tar)' $(AT)

gc: $(READY) ## List stored data that no model or recent run needs (DAYS=30; DELETE=1 deletes it; PARAMS=file)
	@$(BIN)/crack-pipeline gc --params '$(PARAMS)' $(if $(DAYS),--days '$(DAYS)') $(if $(DELETE),--delete) $(AT)
