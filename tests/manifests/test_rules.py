"""Rules for the manifests. They are checked on the files, so no tool is needed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.utils import parse_quantity
from typer.main import get_command

from components.shared.network import served_http
from pipelines.cli.main import app
from pipelines.cli.options import MODEL, chosen_file
from pipelines.config.cluster_config import ClusterConfig, Resources
from pipelines.config.parameter_file import load_run_config
from pipelines.config.run_config import RunConfig
from pipelines.graphs.pod_policy import MLFLOW_KEYS, NOTIFY_KEYS, S3_KEYS
from pipelines.registry import served_files

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
OPTIONAL_S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_S3_ADDRESSING_STYLE")
README = (MANIFESTS / "README.md").read_text()
OPTIONS = sorted((MANIFESTS / "components").iterdir())


def documents(folder: Path) -> list[dict[str, Any]]:
    """Return every object in the files of a kustomization. Its patches and image names are not applied."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    found = []
    for name in [*kustomization.get("resources", []), *kustomization.get("components", [])]:
        path = (folder / name).resolve()
        found += documents(path) if path.is_dir() else [part for part in yaml.safe_load_all(path.read_text()) if part]
    return found


@pytest.fixture(params=["dev", "prod"])
def objects(request) -> list[dict[str, Any]]:
    """The objects of an overlay, and the objects of every option."""
    overlay = documents(MANIFESTS / "overlays" / request.param)
    return overlay + [item for option in OPTIONS for item in documents(option) if item not in overlay]


def of(objects: list[dict[str, Any]], *kinds: str) -> list[dict[str, Any]]:
    return [item for item in objects if item["kind"] in kinds]


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pods of all workloads. Those of components/serving-kserve have a name that ends in -predictor."""
    workloads = of(objects, "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
    templates = {}
    for item in of(objects, "InferenceService"):
        predictor = item["spec"]["predictor"]
        templates[f"{item['metadata']['name']}-predictor"] = {
            "spec": predictor,
            "metadata": {"labels": predictor["labels"]},
        }
    for item in workloads:
        spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
        templates[item["metadata"]["name"]] = spec["template"]
    assert {"mlflow", "crack-gc", "crack-champion", "crack-champion-predictor"} <= set(templates)
    return templates


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return pod["spec"]["containers"] + pod["spec"].get("initContainers", [])


def walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, value
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        yield from walk(inner, (*path, str(key)))


def test_every_image_is_named_in_one_place(objects):
    named = yaml.safe_load((MANIFESTS / "components" / "images" / "kustomization.yaml").read_text())["images"]
    names = {image["name"]: image for image in named}
    used = {container["image"] for pod in pods(objects).values() for container in containers(pod)}
    assert used <= set(names)
    for image in names.values():
        assert image["newName"]
        assert image.get("digest") or image["newTag"] != "latest"


def test_every_pod_is_restricted(objects):
    for name, pod in pods(objects).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["serviceAccountName"] in {item["metadata"]["name"] for item in of(objects, "ServiceAccount")}
        for container in containers(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            for bound in ("requests", "limits"):
                assert set(container["resources"][bound]) == {"cpu", "memory", "ephemeral-storage"}, name
            is_server = spec.get("restartPolicy", "Always") == "Always" and container in spec["containers"]
            assert ({"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)) == is_server, name


def test_every_server_has_time_to_start_and_to_answer_on_a_busy_node(objects):
    for name, pod in pods(objects).items():
        for container in pod["spec"]["containers"]:
            probes = [
                container[kind] for kind in ("startupProbe", "readinessProbe", "livenessProbe") if kind in container
            ]
            assert all(probe.get("timeoutSeconds", 1) >= 10 for probe in probes), name
            for start in probes[:1]:
                assert start["periodSeconds"] * start["failureThreshold"] >= 15 * 60, name


def test_mlflow_s_workers_have_time_to_answer_and_there_are_no_job_runners(objects):
    (container,) = pods(objects)["mlflow"]["spec"]["containers"]
    (options,) = [item for item in container["args"] if item.startswith("--uvicorn-opts=")]
    assert int(options.rpartition("=")[2]) >= 60  # seconds in which a worker has to answer
    variables = {item["name"]: item["value"] for item in container["env"]}
    assert variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        item["operator"] == "Exists" and item["key"] in labels for item in selector.get("matchExpressions", [])
    )


def test_nothing_is_reachable_that_is_not_named_and_every_service_is(objects):
    policies = of(objects, "NetworkPolicy")
    (everything,) = [policy for policy in policies if policy["metadata"]["name"] == "deny-all"]
    assert everything["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    step = {"workflows.argoproj.io/workflow": "crack-training-x"}
    for service in of(objects, "Service"):
        name, labels, wanted = (
            service["metadata"]["name"],
            service["spec"]["selector"],
            service["spec"]["ports"][0]["port"],
        )
        if labels["app.kubernetes.io/name"] in {"crack-champion", "crack-challenger"}:
            continue  # only gateways reach them, from other namespaces
        users = [step] if name != "postgres" else [pods(objects)["mlflow"]["metadata"]["labels"]]
        for user in users:
            assert allowed(policies, "ingress", "from", labels, user, wanted), f"nobody reaches {name}"
            assert allowed(policies, "egress", "to", user, labels, wanted), f"{name} is not reached by {user}"
    assert not allowed(policies, "ingress", "from", {"app.kubernetes.io/name": "postgres"}, step, 5432)


def test_a_step_reaches_dns_kfp_and_https_but_not_the_cloud_s_metadata_of_its_machine(objects):
    step = {"workflows.argoproj.io/workflow": "crack-training-x"}
    reached = set()
    for policy in of(objects, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []) if selects(policy["spec"]["podSelector"], step) else []:
            for peer in rule["to"]:
                namespace = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
                place = namespace or peer.get("ipBlock", {}).get("cidr")
                reached |= {(place, port["port"]) for port in rule["ports"]}
                assert place != "0.0.0.0/0" or peer["ipBlock"]["except"] == ["169.254.0.0/16"]
    launcher = {("kubeflow", port) for port in (8080, 8333, 8887)}  # ports of the pods: metadata, object store, API
    assert launcher | {("kube-system", 53), ("169.254.20.10/32", 53), ("0.0.0.0/0", 443)} <= reached
    assert {place for place, _ in reached} == {None, "kubeflow", "kube-system", "169.254.20.10/32", "0.0.0.0/0"}


def test_the_cleaning_job_calls_a_real_command_and_reaches_only_what_it_needs(objects):
    pod = pods(objects)["crack-gc"]
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["crack-pipeline"]
    command = get_command(app).commands[container["args"][0]]
    given = command.make_context("gc", container["args"][1:]).params
    assert (given["delete"], given["days"]) == (True, 30)
    assert chosen_file(given["environment"], None).is_file()

    user = pod["metadata"]["labels"]
    policies = of(objects, "NetworkPolicy")
    for name, port in (("mlflow", 5000), ("seaweedfs", 8333)):
        server = {"app.kubernetes.io/name": name}
        assert allowed(policies, "egress", "to", user, server, port)
        assert allowed(policies, "ingress", "from", server, user, port)
    database = {"app.kubernetes.io/name": "postgres"}
    assert not allowed(policies, "egress", "to", user, database, 5432)
    bound = {subject["name"] for item in of(objects, "RoleBinding") for subject in item["subjects"]}
    assert pod["spec"]["serviceAccountName"] not in bound


def test_a_server_reaches_only_mlflow_and_is_reached_only_by_gateways_and_prometheus(objects):
    policies = of(objects, "NetworkPolicy")
    for name in ("crack-champion", "crack-challenger", "crack-champion-predictor", "crack-challenger-predictor"):
        labels = pods(objects)[name]["metadata"]["labels"]
        mlflow = pods(objects)["mlflow"]["metadata"]["labels"]
        assert allowed(policies, "egress", "to", labels, mlflow, 5000)
        assert allowed(policies, "ingress", "from", mlflow, labels, 5000)

        peers = []
        for way, side in (("ingress", "from"), ("egress", "to")):
            for policy in policies:
                if selects(policy["spec"]["podSelector"], labels) and policy["metadata"]["name"] != "allow-dns":
                    peers += [peer for rule in policy["spec"].get(way, []) for peer in rule[side]]
        assert peers == [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
            {"namespaceSelector": {"matchLabels": {"crack.example.org/reaches-serving": "true"}}},
            {"podSelector": {"matchLabels": mlflow}},
        ]


def test_a_server_fetches_its_version_before_it_starts_and_its_own_code_has_no_password(objects):
    for name in ("crack-champion", "crack-challenger", "crack-champion-predictor", "crack-challenger-predictor"):
        spec = pods(objects)[name]["spec"]
        (fetch,) = spec["initContainers"]
        (server,) = spec["containers"]
        command = get_command(app).commands[fetch["args"][0]]
        given = command.make_context("fetch-model", list(fetch["args"][1:])).params
        alias = name.removesuffix("-predictor").removeprefix("crack-")
        assert given["model"] == f"models:/{MODEL}@{alias}"
        assert server["args"][0] == f"{given['folder']}/{served_files.MODEL}"
        assert server["command"][-1].endswith(Path(served_http.__file__).relative_to(ROOT).as_posix())
        assert [source["secretRef"]["name"] for source in fetch["envFrom"]] == ["crack-mlflow"]
        assert "secret" not in json.dumps(server).lower()
        mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in server["volumeMounts"]}
        assert mounts == {"/served": True, "/tmp": False}
        assert server["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_a_server_of_kserve_is_the_same_as_the_one_of_a_deployment(objects):
    for name in ("crack-champion", "crack-challenger"):
        ours, kserve = (dict(pods(objects)[one]["spec"]) for one in (name, f"{name}-predictor"))
        (container,) = kserve["containers"]
        kserve["containers"] = [container | {"name": "server"}]
        spread = kserve["topologySpreadConstraints"][0]
        spread["labelSelector"] = ours["topologySpreadConstraints"][0]["labelSelector"]
        own = {"minReplicas", "labels", "deploymentStrategy"}
        assert {key: value for key, value in kserve.items() if key not in own} == ours
        deployment, service = (of_name(objects, kind, name)["spec"] for kind in ("Deployment", "InferenceService"))
        assert service["predictor"]["minReplicas"] == deployment["replicas"]
        assert service["predictor"]["deploymentStrategy"]["rollingUpdate"] == deployment["strategy"]["rollingUpdate"]
        assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def of_name(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [item for item in of(objects, kind) if item["metadata"]["name"] == name]
    return found


def allowed(policies: list[dict], way: str, side: str, owner: dict[str, str], peer: dict[str, str], port: int) -> bool:
    """Return whether a policy allows pods labelled `owner` to talk to pods of this namespace labelled `peer`."""
    rules = [
        rule
        for policy in policies
        if selects(policy["spec"]["podSelector"], owner)
        for rule in policy["spec"].get(way, [])
    ]
    return any(
        port in {item["port"] for item in rule["ports"]}
        and any(
            "podSelector" in other and "namespaceSelector" not in other and selects(other["podSelector"], peer)
            for other in rule[side]
        )
        for rule in rules
    )


def test_every_secret_is_in_the_readme_and_none_is_in_a_file(objects):
    assert not of(objects, "Secret")
    referenced = set()
    for item in objects:
        for path, value in walk(item):
            if path[-1:] == ("secretName",):
                referenced.add(value)
            elif path[-1:] in {("secretRef",), ("secretKeyRef",), ("username",), ("password",)}:
                referenced.add(value["name"])
        if item["kind"] == "Role":
            rules = [rule for rule in item["rules"] if "secrets" in rule["resources"]]
            referenced |= {name for rule in rules for name in rule["resourceNames"]}
    cluster = ClusterConfig()
    referenced |= {cluster.s3_secret, cluster.mlflow_secret, cluster.notify_secret}
    assert {"crack-s3", "crack-mlflow-auth", "mlpipeline-minio-artifact"} <= referenced
    assert [name for name in sorted(referenced) if f"| `{name}` |" not in README] == []
    assert [key for key in (*S3_KEYS, *OPTIONAL_S3_KEYS, *MLFLOW_KEYS, *NOTIFY_KEYS) if f"`{key}`" not in README] == []


def test_the_pipeline_finds_what_its_parameters_name(objects):
    assert ClusterConfig().service_account in {item["metadata"]["name"] for item in of(objects, "ServiceAccount")}
    (namespace,) = of(objects, "Namespace")
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["pipelines.kubeflow.org/enabled"] == "true"
    priorities = {item["metadata"]["name"] for item in of(objects, "PriorityClass")} or {"crack-training"}
    bindings = of(objects, "MutatingAdmissionPolicyBinding")
    assert {item["spec"]["paramRef"]["name"] for item in bindings if "paramRef" in item["spec"]} == priorities
    for binding in bindings:
        assert binding["spec"]["policyName"] in {
            item["metadata"]["name"] for item in of(objects, "MutatingAdmissionPolicy")
        }


def parameters(objects: list[dict[str, Any]]) -> RunConfig:
    """Return the parameters of prod.yaml for the overlay prod, and of dev.yaml for the overlay dev."""
    overlay = "prod" if of(objects, "PriorityClass") else "dev"
    return load_run_config(ROOT / "pipelines" / "params" / f"{overlay}.yaml")


def moments(config: RunConfig) -> Iterator[list[Resources]]:
    """Yield the steps that run at the same time at the busiest moments of a training, one list for each moment."""
    beside = [config.cluster.steps.get(step, Resources()) for step in ("evaluate", "drift")]
    candidates = [candidate.resources for candidate in config.candidates.values()]
    yield [config.cluster.champion, *(it.train for it in candidates)]
    yield [config.cluster.champion, *(step for it in candidates for step in (it.explain, *beside))]


def test_a_step_can_write_as_much_as_its_parameters_say(objects):
    (limits,) = of(objects, "LimitRange")
    bound = parse_quantity(limits["spec"]["limits"][0]["default"]["ephemeral-storage"])
    config = parameters(objects)
    candidates = [candidate.resources for candidate in config.candidates.values()]
    gpu = [step for it in candidates for step in (it.train, it.predict, it.explain)]
    for resources in (
        Resources(),
        config.cluster.champion,
        config.cluster.collect,
        *config.cluster.steps.values(),
        *gpu,
    ):
        assert parse_quantity(resources.storage) <= bound


def test_the_quota_holds_a_training_in_prod_all_of_it_at_once(objects):
    (quota,), (limits,) = of(objects, "ResourceQuota"), of(objects, "LimitRange")
    hard = {name: parse_quantity(value) for name, value in quota["spec"]["hard"].items()}
    replaced = {"crack-champion", "crack-challenger"}  # KServe's servers replace these two, and need the same resources
    servers = [pod["spec"]["containers"][0]["resources"] for name, pod in pods(objects).items() if name not in replaced]
    in_prod = bool(of(objects, "PriorityClass"))
    for steps in moments(parameters(objects)):
        asked = steps if in_prod else steps[:1]  # with one GPU, the other steps wait until the quota has room
        assert sum(getattr(step, "accelerators", 0) for step in asked) <= hard["requests.nvidia.com/gpu"]
        for bound, default in (("requests", "defaultRequest"), ("limits", "default")):
            helper = limits["spec"]["limits"][0][default]  # Argo's container, which is in every pod
            for kind in ("cpu", "memory"):
                total = sum(parse_quantity(getattr(step, kind)) + parse_quantity(helper[kind]) for step in asked)
                total += 2 * sum(parse_quantity(server[bound][kind]) for server in servers)
                assert total <= hard[f"{bound}.{kind}"], (bound, kind)


CALLED = {"experiment": "experiments", "pipeline": "pipelines", "run": "runs", "recurring_run": "jobs"}


def test_ci_may_do_what_the_client_calls_and_start_the_pipeline_s_account(objects):
    (role,) = [item for item in of(objects, "Role") if item["metadata"]["name"] == "crack-submit"]
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    source = (ROOT / "components" / "shared" / "services" / "kfp_api.py").read_text()
    called = {
        (CALLED[kind], verb) for kind, verb in re.findall(r"\.(\w+?)_service_([a-z]+)_", source) if kind in CALLED
    }
    assert len(called) > 8
    reading = {(kind, "get") for kind in CALLED.values()}  # KFP needs it for everything that a run refers to
    versions = {("pipelines/versions", verb) for verb in ("create", "get", "list")}
    assert allowed == called | reading | versions | {("serviceaccounts", "use")}
    for item in of(objects, "Role"):
        for rule in item["rules"]:
            if "serviceaccounts" in rule["resources"]:
                assert rule["resourceNames"] == [ClusterConfig().service_account]


def test_every_quantity_can_be_parsed(objects):
    places = ("requests", "limits", "hard", "default", "defaultRequest")
    found = 0
    for item in objects:
        for path, value in walk(item):
            if (len(path) > 1 and path[-2] in places and isinstance(value, str)) or path[-1:] == ("sizeLimit",):
                parse_quantity(value)  # raises
                found += 1
    assert found > 20


def test_every_folder_is_in_the_readme():
    for folder in [*MANIFESTS.glob("overlays/*"), *MANIFESTS.glob("components/*")]:
        assert f"`{folder.relative_to(MANIFESTS).as_posix()}`" in README
    commands = README.partition("\n## Commands\n")[2]
    assert re.findall(r"^(\d)\. ", commands, re.MULTILINE) == list("12345678")


def test_the_readme_starts_with_a_laptop_and_has_one_place_for_what_could_not_be_run():
    headings = re.findall(r"^## (.*)", README, re.MULTILINE)
    assert headings[0] == "A cluster on your laptop"
    assert README.count("could not be run |") == 1
    assert "make pipeline-submit ENV=kind" in README
    assert "`cluster.retried`" in README
