"""The pod policy of every executor, read from the compiled YAML as a cluster reads it."""

import json
import re
from pathlib import Path
from typing import NamedTuple, get_args

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from components.shared.errors import InputError
from components.shared.mounted_secrets import FOLDER
from pipelines.cli.main import app
from pipelines.config.cluster_config import CpuStep
from pipelines.config.parameter_file import load_run_config
from pipelines.graphs.compile import compile_pipeline

ROOT = Path(__file__).parents[3]
PROD = ROOT / "pipelines" / "params" / "prod.yaml"
DIGESTS = {
    target: f"registry.example/crack-{target}@sha256:{digit * 64}" for target, digit in (("cpu", "1"), ("gpu", "2"))
}
GPU_STEPS = {"champion", "train", "predict", "explain", "collect", "inspect"}
MLFLOW_STEPS = {"champion", "train", "gate", "register", "report", "notify", "collect", "check"}
MLFLOW_STEPS |= {"plan", "inspect", "join"}
GPU_IMAGE = GPU_STEPS | {"register", "join"}  # loads the network to describe it, on a CPU
OVERRIDES = (
    "candidates.resnet50.resources.train={accelerator: nvidia.com/mig-3g.40gb, memory: 48Gi, timeout: 7000}",
    "candidates.vit_b16.resources.train={accelerators: 2, node_selector: {gpu: a100}}",
    "candidates.vit_b16.resources.explain.accelerators=0",
    "cluster.steps.ingest={cpu: 500m, memory: 3Gi, storage: 300Gi, timeout: 60}",
    "cluster.queue=gpus",
    "cluster.priority_class=retraining",
)


def compile_here(output: Path, digests: object = DIGESTS, arguments: tuple[str, ...] = ()) -> Result:
    """Run `crack-pipeline compile` for prod."""
    file = output.with_name("digests.json")
    if digests is not None:
        file.write_text(digests if isinstance(digests, str) else json.dumps(digests))
    command = ["compile", "prod", "--output", str(output), *arguments]
    return CliRunner().invoke(app, command, env={"IMAGE_DIGESTS": str(file)})


class Executor(NamedTuple):
    """One compiled step: its component, its task in the graph, its container and its Kubernetes settings."""

    step: str
    task: dict
    container: dict
    pod: dict


def read(path: Path) -> dict[str, Executor]:
    """Every executor of a compiled pipeline, by the name of its task in the UI."""
    spec, platform = yaml.load_all(path.read_text(), yaml.CSafeLoader)
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    containers = spec["deploymentSpec"]["executors"]
    found = {}
    for graph in [spec["root"], *spec["components"].values()]:
        for task in graph.get("dag", {}).get("tasks", {}).values():
            label = spec["components"][task["componentRef"]["name"]].get("executorLabel")
            if label:
                container, name = containers[label]["container"], task["taskInfo"]["name"]
                step = container["args"][container["args"].index("--function_to_execute") + 1]
                assert name not in found
                found[name] = Executor(step, task, container, pods[label])
    assert len(found) == len(containers)
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The scheduled retraining without overrides."""
    output = tmp_path_factory.mktemp("plain") / "p.yaml"
    assert compile_here(output).exit_code == 0
    return read(output)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """The scheduled retraining with OVERRIDES, which use every setting of the pod policy."""
    output = tmp_path_factory.mktemp("tuned") / "p.yaml"
    settings = tuple(part for override in OVERRIDES for part in ("--set", override))
    result = compile_here(output, arguments=settings)
    assert result.exit_code == 0, result.stderr
    return read(output)


@pytest.fixture(scope="module")
def drift_check(tmp_path_factory):
    """The scheduled drift check with retrain.start=true: it may start a training."""
    output = tmp_path_factory.mktemp("drift") / "p.yaml"
    arguments = ("--pipeline", "crack-drift-check", "--set", "retrain.start=true")
    result = compile_here(output, arguments=arguments)
    assert result.exit_code == 0, result.stderr
    return read(output)


@pytest.fixture(scope="module")
def inspection(tmp_path_factory):
    """The inspection of whole photos."""
    output = tmp_path_factory.mktemp("inspection") / "p.yaml"
    result = compile_here(output, arguments=("--pipeline", "crack-inspection"))
    assert result.exit_code == 0, result.stderr
    return read(output)


@pytest.fixture(params=["plain", "tuned", "drift_check", "inspection"])
def executors(request):
    return request.getfixturevalue(request.param)


def secrets(executor: Executor) -> dict[str, dict]:
    return {secret["secretName"]: secret for secret in executor.pod["secretAsVolume"]}


def test_the_parameter_file_can_give_every_cpu_step_more(executors):
    assert {executor.step for executor in executors.values()} - GPU_STEPS <= set(get_args(CpuStep))


def test_every_image_is_named_by_its_digest_and_fits_the_step(executors):
    for name, (step, _, container, _) in executors.items():
        assert container["image"] == DIGESTS["gpu" if step in GPU_IMAGE else "cpu"], name


def test_nothing_is_installed_when_a_step_starts(executors):
    for name, executor in executors.items():
        assert "pip install" not in " ".join(executor.container["command"] + executor.container["args"]), name


def test_the_cache_of_kfp_is_off(executors):
    for name, executor in executors.items():
        assert executor.task["cachingOptions"] == {}, name


def test_every_step_has_limits_which_are_its_requests_a_timeout_and_bounded_storage(executors):
    for name, (_, _, container, pod) in executors.items():
        resources = container["resources"]
        # Kubernetes takes the limits as the requests; everything else would only be copied into the run's status
        assert set(resources) - {"accelerator"} == {"resourceCpuLimit", "resourceMemoryLimit"}, name
        assert int(pod["activeDeadlineSeconds"]) > 0, name
        folders = {mount["mountPath"]: mount for mount in pod["emptyDirMounts"]}
        assert re.fullmatch(r"\d+Gi", folders["/tmp"]["sizeLimit"]), name
        assert "medium" not in folders["/tmp"], name


def test_every_step_runs_as_a_numbered_user_that_is_not_root(executors):
    for name, executor in executors.items():
        assert executor.pod["securityContext"] == {
            "runAsUser": "10001",
            "runAsGroup": "10001",
            "runAsNonRoot": True,
        }, name


def test_a_step_has_its_own_secrets_and_no_others(executors):
    for name, executor in executors.items():
        expected = {"crack-s3"}
        if executor.step in MLFLOW_STEPS:
            expected.add("crack-mlflow")
        if executor.step == "notify":
            expected.add("crack-notify")
        assert set(secrets(executor)) == expected, name
        assert {key for key, secret in secrets(executor).items() if secret["optional"]} == expected & {"crack-notify"}
        for key, secret in secrets(executor).items():
            assert Path(secret["mountPath"]) == FOLDER / key
        assert "env" not in executor.container, name  # everyone who can see the run could read a value here


def test_the_long_steps_are_retried_with_growing_pauses(executors):
    for name, executor in executors.items():
        if executor.step in ("ingest", "train", "collect", "inspect"):
            policy = executor.task["retryPolicy"]
            assert (policy["maxRetryCount"], policy["backoffDuration"], policy["backoffFactor"]) == (2, "30s", 2.0), (
                name
            )
        else:
            assert "retryPolicy" not in executor.task, name


def test_the_parameter_file_chooses_the_retried_steps_but_never_the_message(tmp_path):
    settings = ["cluster.retried=[predict, gate, notify]", "cluster.retries=5"]
    compile_pipeline("crack-training", load_run_config(PROD, settings), tmp_path / "p.yaml")
    retried = {executor.step: executor.task.get("retryPolicy") for executor in read(tmp_path / "p.yaml").values()}
    assert {step for step, policy in retried.items() if policy} == {"predict", "gate"}
    assert retried["gate"]["maxRetryCount"] == 5


def test_steps_that_run_the_network_have_shared_memory_and_the_others_no_accelerator(executors):
    for name, (step, _, container, pod) in executors.items():
        shared = [mount for mount in pod["emptyDirMounts"] if mount["mountPath"] == "/dev/shm"]
        assert [mount["medium"] for mount in shared] == (["Memory"] if step in GPU_STEPS else []), name
        if step not in GPU_STEPS:
            assert "accelerator" not in container["resources"], name
            assert not {"tolerations", "nodeSelector"} & set(pod), name
            labels = pod.get("podMetadata", {}).get("labels", {})
            assert labels == ({"crack-pipeline/reaches-kfp": "true"} if step == "retrain" else {}), name


def test_an_accelerator_is_asked_for_by_its_resource_name_with_the_tolerations_for_it(executors):
    for name, (step, _, container, pod) in executors.items():
        accelerator = container["resources"].get("accelerator")
        if step in GPU_STEPS and accelerator:
            tolerated = [(t["key"], t["operator"], t["effect"]) for t in pod["tolerations"]]
            taints = sorted({"nvidia.com/gpu", accelerator["resourceType"]})
            assert tolerated == [(taint, "Exists", "NoSchedule") for taint in taints], name


def test_the_parameter_file_decides_per_step_and_per_architecture(plain, tuned):
    def asked(executor):
        accelerator = executor.container["resources"].get("accelerator", {})
        return accelerator.get("resourceType"), accelerator.get("resourceCount")

    assert asked(plain["train resnet50"]) == ("nvidia.com/gpu", "1")
    assert asked(tuned["train resnet50"]) == ("nvidia.com/mig-3g.40gb", "1")
    assert tuned["train resnet50"].container["resources"]["resourceMemoryLimit"] == "48Gi"
    assert tuned["train resnet50"].container["resources"]["resourceCpuLimit"] == "8"
    assert tuned["train resnet50"].pod["activeDeadlineSeconds"] == "7000"
    assert asked(tuned["train vit_b16"]) == ("nvidia.com/gpu", "2")
    assert tuned["train vit_b16"].pod["nodeSelector"] == {"labels": {"gpu": "a100"}}
    assert asked(tuned["explain vit_b16"]) == (None, None)
    assert "tolerations" not in tuned["explain vit_b16"].pod
    ingest = tuned["ingest"]
    assert ingest.container["resources"]["resourceCpuLimit"] == "500m"
    assert ingest.pod["emptyDirMounts"][0]["sizeLimit"] == "300Gi"
    assert ingest.pod["activeDeadlineSeconds"] == "60"


def test_queue_and_priority_are_labels_of_the_gpu_steps_only(plain, tuned):
    priority, queue = "crack-pipeline/priority-class", "kueue.x-k8s.io/queue-name"
    for executors, labels in ((plain, {priority: "crack-training"}), (tuned, {priority: "retraining", queue: "gpus"})):
        for name, executor in executors.items():
            found = executor.pod.get("podMetadata", {}).get("labels", {})
            assert found == (labels if executor.step in GPU_STEPS else {}), name


@pytest.mark.parametrize(
    ("settings", "claims", "folders"),
    [
        (["cache=/cache"], [], {"/tmp", "/cache"}),
        (["cache=/cache", "cluster.cache_claim=tiles"], [("tiles", "/cache")], {"/tmp"}),
        (["cluster.cache_claim=tiles"], [("tiles", "/tmp/crack-cache")], {"/tmp"}),
    ],
)
def test_the_cache_is_writable_wherever_it_lies(tmp_path, settings, claims, folders):
    compile_pipeline("crack-training", load_run_config(PROD, settings), tmp_path / "p.yaml")
    for name, (_, _, _, pod) in read(tmp_path / "p.yaml").items():
        assert [(mount["constant"], mount["mountPath"]) for mount in pod.get("pvcMount", [])] == claims, name
        assert {mount["mountPath"] for mount in pod["emptyDirMounts"]} - {"/dev/shm"} == folders, name


def test_a_run_has_a_deadline_and_is_cleared_away(tmp_path):
    compile_pipeline("crack-training", load_run_config(PROD, ["cluster.run_deadline=3600"]), tmp_path / "p.yaml")
    _, platform = yaml.load_all((tmp_path / "p.yaml").read_text(), yaml.CSafeLoader)
    limits = platform["platforms"]["kubernetes"]["pipelineConfig"]
    assert limits["activeDeadlineSeconds"] == 3600
    assert limits["resourceTtlOnCompletion"] == 7 * 24 * 3600


@pytest.mark.parametrize(
    ("digests", "message"),
    [
        ({"cpu": DIGESTS["cpu"]}, 'does not name the container image "gpu"'),
        ("[", 'does not name the container image "cpu"'),
        ({**DIGESTS, "gpu": 7}, 'the container image "gpu" is 7'),
        ({**DIGESTS, "gpu": "registry.example/crack-gpu:latest"}, "crack-gpu:latest; it must be registry/name@sha256:"),
        (None, "IMAGE_DIGESTS is set to"),
    ],
)
def test_without_digests_nothing_is_compiled_for_a_cluster(tmp_path, digests, message):
    result = compile_here(tmp_path / "p.yaml", digests)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "make images-push REGISTRY=" in result.stderr
    assert not (tmp_path / "p.yaml").exists()


def test_tags_are_taken_where_they_are_asked_for(tmp_path):
    tags = {"cpu": "crack-cpu:dev", "gpu": "crack-gpu:dev"}
    assert compile_here(tmp_path / "p.yaml", tags, ("--allow-tags",)).exit_code == 0
    assert {executor.container["image"] for executor in read(tmp_path / "p.yaml").values()} == set(tags.values())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cluster.steps.train.memory=1Gi", "cluster.steps.train"),
        ("candidates.resnet50.resources.train.memory=lots", "candidates.resnet50.resources.train.memory"),
        ("cluster.run_as_user=0", "cluster.run_as_user"),
        ("cluster.steps.ingest.accelerators=1", "cluster.steps.ingest.accelerators"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(setting, message):
    with pytest.raises(InputError, match=message):
        load_run_config(PROD, [setting])
