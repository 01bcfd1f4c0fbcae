"""The overlays as a cluster gets them: rendered by kubectl, validated with Kubernetes' schemas, checked by checkov."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
VERSIONS = ("1.32", "1.36", "1.37")
# Kinds of extensions, or newer than the version. They are not validated.
NO_SCHEMA = {
    "1.32": {"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "ServiceMonitor"},
    "1.36": {"ServiceMonitor"},
    "1.37": {"ServiceMonitor"},
}
OVERLAYS = ("dev", "prod", "prod with every option")


@pytest.fixture(scope="module", autouse=True)
def kubectl() -> str:
    """Return a kubectl that is new enough for the kustomizations."""
    if not os.environ.get("CHECKOV"):
        pytest.skip("needs kubectl and checkov: make test-manifests")
    found = shutil.which("kubectl")
    where = "https://kubernetes.io/docs/tasks/tools/ has it for every system"
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
    name, *options = request.param.split(" with ")
    file = folder / "manifests" / "overlays" / name / "kustomization.yaml"
    if options:
        file.write_text(re.sub(r"^  # - ", "  - ", file.read_text(), flags=re.MULTILINE))
    result = subprocess.run([kubectl, "kustomize", str(file.parent)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, "kustomize warns"
    (folder / "all.yaml").write_text(result.stdout)
    return folder / "all.yaml"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schema_of_the_api(rendered, version):
    unknown = set()
    for item in yaml.safe_load_all(rendered.read_text()):
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.add(item["kind"])
    assert unknown <= NO_SCHEMA[version]


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
    assert report["summary"]["passed"] > 80
    assert report["summary"]["parsing_errors"] == 0


def test_everything_is_in_the_namespace_and_images_have_their_names(rendered):
    for item in yaml.safe_load_all(rendered.read_text()):
        cluster_wide = item["kind"] in {"Namespace", "PriorityClass"} or item["kind"].startswith("MutatingAdmission")
        assert item["metadata"].get("namespace") == (None if cluster_wide else "crack"), item["metadata"]["name"]
        for container in item.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
            assert re.fullmatch(r"\S+/\S+(:\S+|@sha256:[0-9a-f]{64})", container["image"])


def test_kubeflow_s_own_network_policies_know_the_namespace(rendered):
    (namespace,) = [item for item in yaml.safe_load_all(rendered.read_text()) if item["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["app.kubernetes.io/part-of"] == "kubeflow-profile"


def test_mlflow_answers_to_its_own_names_and_to_prometheus_if_it_is_monitored(rendered):
    objects = list(yaml.safe_load_all(rendered.read_text()))
    (mlflow,) = [item for item in objects if item["kind"] == "Deployment"]
    env = {item["name"]: item["value"] for item in mlflow["spec"]["template"]["spec"]["containers"][0]["env"]}
    hosts = env["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {"localhost:5000", "mlflow:5000", "mlflow.crack:5000"} <= set(hosts)
    monitored = any(item["kind"] == "ServiceMonitor" for item in objects)
    assert any(fnmatch.fnmatch("10.1.2.3:5000", host) for host in hosts) == monitored
    assert not any(fnmatch.fnmatch(name, host) for name in ("10.evil.example:5000", "evil.example") for host in hosts)
