"""The overlays, rendered by kubectl, validated with Kubernetes' schemas and checked by checkov."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes.utils import parse_quantity

from pipelines.config.parameter_file import load_run_config
from tests.manifests.crds import definition_of, problems

ROOT = Path(__file__).parents[2]
VERSIONS = ("1.32", "1.36", "1.37")
# Kinds of extensions, or newer than the version. The extensions are validated with their own definitions.
EXTENSIONS = {"HTTPRoute", "InferenceService", "PodMonitor", "ServiceMonitor"}
NO_SCHEMA = {
    "1.32": {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"} | EXTENSIONS,
    "1.36": EXTENSIONS,
    "1.37": EXTENSIONS,
}
# serving-kserve replaces the Deployments of serving by InferenceServices.
OVERLAYS = ("dev", "kind", "kind-single-user", "prod", "prod with serving", "prod with every option")
SINGLE_USER = "kind-single-user"
# Kinds that limit or describe a namespace. In single-user mode, the namespace belongs to KFP.
OF_A_NAMESPACE = {"Namespace", "NetworkPolicy", "LimitRange", "ResourceQuota"}


@pytest.fixture(scope="module", autouse=True)
def kubectl() -> str:
    """Return a kubectl that is new enough for the kustomizations."""
    found = shutil.which("kubectl")
    where = "https://kubernetes.io/docs/tasks/tools/ has it for every system"
    if not found and not os.environ.get("CHECKOV"):
        pytest.skip(f"kubectl 1.27 or newer is not installed; {where}")
    assert found, f"kubectl 1.27 or newer is needed and not installed; {where}"
    client = json.loads(subprocess.run([found, "version", "--client", "--output=json"], capture_output=True).stdout)
    version = client["clientVersion"]["gitVersion"]
    assert int(version.split(".")[1]) >= 27, f"kubectl is {version}, 1.27 or newer is needed; {where}"
    return found


@pytest.fixture(scope="module", params=OVERLAYS)
def rendered(request: pytest.FixtureRequest, kubectl: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with every object of an overlay."""
    folder = tmp_path_factory.mktemp("rendered")
    shutil.copytree(ROOT / "manifests", folder / "manifests")
    name, _, option = request.param.partition(" with ")
    file = folder / "manifests" / "overlays" / name / "kustomization.yaml"
    if option:
        wanted = ".*" if option == "every option" else f"../../components/{option}"
        file.write_text(re.sub(f"^  # - ({wanted})$", r"  - \1", file.read_text(), flags=re.MULTILINE))
    (folder / "all.yaml").write_text(render(kubectl, file.parent))
    return folder / "all.yaml"


def render(kubectl: str, folder: Path) -> str:
    """Return every object of a kustomization as YAML."""
    result = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, "kustomize warns"
    return result.stdout


@pytest.fixture
def objects(rendered: Path) -> list[dict[str, Any]]:
    return list(yaml.load_all(rendered.read_text(), yaml.CSafeLoader))


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> str:
    """The namespace that the rendered overlay is for."""
    return "kubeflow" if request.node.callspec.params["rendered"] == SINGLE_USER else "crack"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schema_of_the_api(rendered, version):
    unknown = set()
    for item in yaml.load_all(rendered.read_text(), yaml.CSafeLoader):
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.add(item["kind"])
    assert unknown <= NO_SCHEMA[version]


@pytest.mark.skipif(not os.environ.get("CRDS"), reason="needs the published definitions: make test-manifests")
def test_every_object_of_an_extension_fits_the_published_definition(objects):
    ours = [item for item in objects if item["kind"] in EXTENSIONS]
    for item in ours:
        assert problems(item, definition_of(item["kind"], Path(os.environ["CRDS"]))) == [], item["metadata"]["name"]


@pytest.mark.skipif(not os.environ.get("CRDS"), reason="needs the published definitions: make test-manifests")
@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("weight", -1, "less than the minimum"),
        ("weigth", 10, "unexpected"),
        ("port", None, "not of type 'integer'"),
        ("port", 0, "less than the minimum"),
        ("filters", [{"type": "RequestMirror"}], "requestMirror must be specified"),  # a rule in CEL
    ],
)
def test_a_route_that_the_api_server_would_refuse_is_found(path, value, problem):
    (route,) = yaml.safe_load_all((ROOT / "manifests" / "components" / "serving" / "route.yaml").read_text())
    definition = definition_of("HTTPRoute", Path(os.environ["CRDS"]))
    assert problems(route, definition) == []
    route["spec"]["rules"][0]["backendRefs"][0][path] = value
    assert problem in " ".join(problems(route, definition))


@pytest.mark.skipif(not os.environ.get("CHECKOV"), reason="needs checkov: make test-manifests")
def test_checkov_finds_nothing_that_is_not_explained(rendered):
    command = [
        os.environ["CHECKOV"],
        "--file",
        str(rendered),
        "--config-file",
        str(ROOT / "manifests" / "checkov.yaml"),
    ]
    result = subprocess.run([*command, "--output", "json"], capture_output=True, text=True, check=False)
    report = json.loads(result.stdout)
    failed = [f"{check['check_id']} {check['resource']}" for check in report["results"]["failed_checks"]]
    assert not failed
    assert report["summary"]["passed"] > 60
    assert report["summary"]["parsing_errors"] == 0


def test_everything_is_in_the_namespace_and_images_have_their_names(objects, namespace):
    for item in objects:
        cluster_wide = item["kind"] in {"Namespace", "PriorityClass"} or item["kind"].startswith("MutatingAdmission")
        assert item["metadata"].get("namespace") == (None if cluster_wide else namespace), item["metadata"]["name"]
        for container in containers(item):
            assert re.fullmatch(r"\S+/\S+(:\S+|@sha256:[0-9a-f]{64})", container["image"])


def containers(item: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a workload, and those that run before them."""
    spec = item.get("spec", {})
    pod = spec.get("predictor") or spec.get("template", {}).get("spec", {})
    return pod.get("containers", []) + pod.get("initContainers", [])


def test_the_route_names_services_that_exist_or_that_kserve_creates(objects):
    created = [f"{item['metadata']['name']}-predictor" for item in objects if item["kind"] == "InferenceService"]
    ports = {(name, 80) for name in created}  # KServe's own choice
    for item in objects:
        if item["kind"] == "Service":
            ports |= {(item["metadata"]["name"], port["port"]) for port in item["spec"]["ports"]}
    for route in [item for item in objects if item["kind"] == "HTTPRoute"]:
        for rule in route["spec"]["rules"]:
            assert {(backend["name"], backend["port"]) for backend in rule["backendRefs"]} <= ports


def test_kubeflow_s_own_network_policies_know_the_namespace(objects, namespace):
    ours = [item for item in objects if item["kind"] in OF_A_NAMESPACE]
    if namespace == "kubeflow":
        assert ours == []
        return
    (found,) = [item for item in ours if item["kind"] == "Namespace"]
    assert found["metadata"]["labels"]["app.kubernetes.io/part-of"] == "kubeflow-profile"


def test_mlflow_answers_to_its_own_names_and_to_prometheus_if_it_is_monitored(objects, namespace):
    (mlflow,) = [item for item in objects if item["kind"] == "Deployment" and item["metadata"]["name"] == "mlflow"]
    env = {item["name"]: item["value"] for item in mlflow["spec"]["template"]["spec"]["containers"][0]["env"]}
    hosts = env["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {"localhost:5000", "mlflow:5000", f"mlflow.{namespace}:5000"} <= set(hosts)
    assert env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    monitored = any(item["kind"] == "ServiceMonitor" for item in objects)
    assert any(fnmatch.fnmatch("10.1.2.3:5000", host) for host in hosts) == monitored
    assert not any(fnmatch.fnmatch(name, host) for name in ("10.evil.example:5000", "evil.example") for host in hosts)


def test_in_single_user_mode_nothing_has_the_name_of_something_of_kfp(kubectl):
    """KFP 2.17's own SeaweedFS in namespace `kubeflow` is called seaweedfs."""
    objects = list(yaml.safe_load_all(render(kubectl, ROOT / "manifests" / "overlays" / SINGLE_USER)))
    names = {item["metadata"]["name"] for item in objects}
    assert names.isdisjoint({"seaweedfs", "mysql", "minio-service", "ml-pipeline", "pipeline-runner"})
    (storage,) = [
        item for item in objects if item["metadata"]["name"] == "crack-seaweedfs" and item["kind"] == "StatefulSet"
    ]
    assert storage["spec"]["serviceName"] == "crack-seaweedfs"
    assert storage["spec"]["template"]["spec"]["serviceAccountName"] == "crack-seaweedfs"


def test_the_kind_overlay_fits_a_laptop(kubectl):
    objects = list(yaml.safe_load_all(render(kubectl, ROOT / "manifests" / "overlays" / "kind")))
    servers = [item for item in objects if item["kind"] in ("Deployment", "StatefulSet")]
    requests = [item["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] for item in servers]
    (quota,) = [item["spec"]["hard"] for item in objects if item["kind"] == "ResourceQuota"]
    (limits,) = [item["spec"]["limits"][0] for item in objects if item["kind"] == "LimitRange"]
    assert "requests.nvidia.com/gpu" not in quota
    assert parse_quantity(quota["requests.cpu"]) <= 3
    assert parse_quantity(quota["requests.memory"]) <= parse_quantity("8Gi")

    config = load_run_config(ROOT / "pipelines" / "params" / "kind.yaml")
    cluster = config.cluster
    steps = [cluster.champion, cluster.collect, *cluster.steps.values()]
    for candidate in config.candidates.values():
        steps += [candidate.resources.train, candidate.resources.predict, candidate.resources.explain]
    for step in steps:
        assert getattr(step, "accelerators", 0) == 0
        for kind in ("cpu", "memory"):
            helper = parse_quantity(limits["defaultRequest"][kind])  # Argo's container, which is in every pod
            total = parse_quantity(getattr(step, kind)) + helper + sum(parse_quantity(one[kind]) for one in requests)
            assert total <= parse_quantity(quota[f"requests.{kind}"])


def test_every_option_moves_to_the_namespace_of_kfp_in_single_user_mode(kubectl, tmp_path):
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    file = tmp_path / "manifests" / "overlays" / "prod" / "kustomization.yaml"
    text = re.sub(r"^  # - ", "  - ", file.read_text(), flags=re.MULTILINE)
    file.write_text(text.replace("\npatches:", "\n  - ../../components/single-user\npatches:"))
    objects = list(yaml.safe_load_all(render(kubectl, file.parent)))

    assert {"ServiceMonitor", "MutatingAdmissionPolicyBinding", "PersistentVolumeClaim"} <= {
        it["kind"] for it in objects
    }
    assert not [item["kind"] for item in objects if item["kind"] in OF_A_NAMESPACE]
    for item in objects:
        assert item["metadata"].get("namespace") in ("kubeflow", None), item["metadata"]["name"]
        for subject in item.get("subjects", []):
            assert subject["namespace"] == "kubeflow"
        if item["kind"] == "MutatingAdmissionPolicyBinding":
            selected = item["spec"]["matchResources"]["namespaceSelector"]["matchLabels"]
            assert selected == {"kubernetes.io/metadata.name": "kubeflow"}
