"""`crack-pipeline doctor` with the test servers of KFP and Kubernetes, rclone's S3 server and an MLflow store."""

import json
from functools import partial

import pytest
from kubernetes import client as kubernetes
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from components.shared.errors import InputError
from components.shared.services.kfp_api import KfpApi
from components.shared.services.kfp_endpoint import Endpoint
from components.shared.services.store import Store
from pipelines.cli.main import app
from pipelines.cluster.doctor import examine
from pipelines.cluster.image_checks import check_container_images, check_server_image
from pipelines.cluster.kubernetes_view import ClusterView, UnseenError, WarnedError
from pipelines.cluster.mlflow_check import check_mlflow
from pipelines.cluster.service_checks import check_kfp, check_store, check_weights
from pipelines.config.cluster_config import GpuResources, Resources
from pipelines.graphs.pod_policy import S3_KEYS
from tests.mlflow_store import new_mlflow_store
from tests.pipelines.kubernetes_objects import TEAM
from tests.pipelines.kubernetes_server import Cluster, serving_cluster


@pytest.fixture
def view(cluster):
    return ClusterView("team")


@pytest.fixture
def digests(tmp_path, monkeypatch, image_registry):
    """Container images that a registry has. MLflow also runs from the "cpu" image."""
    references = {target: image_registry.reference(target) for target in ("cpu", "gpu")}
    file = tmp_path / "digests.json"
    file.write_text(json.dumps(references))
    monkeypatch.setenv("IMAGE_DIGESTS", str(file))

    name, _, digest = references["cpu"].partition("@")
    kustomization = tmp_path / "kustomization.yaml"
    kustomization.write_text(json.dumps({"images": [{"name": "crack-cpu", "newName": name, "digest": digest}]}))
    monkeypatch.setattr("pipelines.cluster.doctor.check_server_image", partial(check_server_image, kustomization))


def test_everything_is_right_and_then_one_thing_is_wrong(
    kfp, cluster, s3, config, small, digests, tmp_path, monkeypatch
):
    kfp.version = "2.18.1"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    findings = {finding.subject: finding for finding in examine(config.model_copy(update={"store": s3}))}
    assert {finding.state for finding in findings.values()} == {"right"}, findings
    assert findings["Kubeflow Pipelines"].text == f"version 2.18.1 at {kfp.url}, namespace team"
    assert findings["MLflow"].text.startswith('it answers; no model "crack-classifier" yet')
    assert not any("hidden" in finding.text for finding in findings.values())
    assert Store(s3).list() == []
    assert [each.name for each in MlflowClient().search_experiments()] == ["Default"]
    assert (kfp.pipelines, kfp.experiments) == ([], [])

    del cluster.objects[f"{TEAM}/serviceaccounts/crack-pipeline"]
    registry = MlflowClient()
    registry.create_registered_model("crack-classifier")
    registry.create_model_version("crack-classifier", source="s3://nowhere/model")
    registry.set_registered_model_alias("crack-classifier", "champion", "1")
    done = CliRunner().invoke(app, ["doctor", "--params", str(small), "--set", f"store={s3}"], env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert "1 to fix: service account" in done.output
    assert "champion is version 1" in done.output


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (lambda view: view.service_account("robot"), "no service account robot in namespace team; apply manifests/"),
        (lambda view: view.secret("gone", ["KEY"]), "kubectl create secret generic gone -n team --from-literal=KEY=…"),
        (lambda view: view.secret("crack-s3", [*S3_KEYS, "MORE"]), "Secret crack-s3 in team has no value for MORE"),
        (lambda view: view.claim("cache"), "no PersistentVolumeClaim cache .*leave cluster.cache_claim empty"),
        (lambda view: view.priority_class("high"), "no PriorityClass high"),
        (
            lambda view: ClusterView("theirs").namespace_there(),
            "no namespace theirs; create it with `kubectl create ns theirs`",
        ),
    ],
)
def test_what_the_cluster_does_not_have_is_named_with_what_to_do(view, look, message):
    with pytest.raises(InputError, match=message):
        look(view)


@pytest.mark.parametrize(
    ("need", "message"),
    [
        (
            {"accelerator": "nvidia.com/mig-1g.10gb"},
            "none of the 2 nodes offers 1 .*the nodes offer nvidia.com/gpu",
        ),
        ({"accelerators": 4}, "none of the 2 nodes offers 4 nvidia.com/gpu"),
        ({"node_selector": {"gpu": "h100"}}, "none of the 0 nodes with gpu=h100"),
    ],
)
def test_accelerators_that_no_node_offers_are_named_with_those_that_nodes_offer(view, need, message):
    with pytest.raises(InputError, match=message):
        view.accelerator(GpuResources.model_validate(need))


def test_the_nodes_that_can_run_a_gpu_step_are_counted(view):
    assert view.accelerator(GpuResources(accelerators=2)) == "1 of 2 nodes can run a pod with 2"


def test_what_the_drift_check_needs_is_checked_too(kfp, cluster, config):
    collect = GpuResources(accelerator="nvidia.com/mig-1g.10gb")
    changed = config.model_copy(update={"cluster": config.cluster.model_copy(update={"collect": collect})})
    states = {finding.subject: finding.state for finding in examine(changed, allow_tags=True)}
    assert (states["GPU: nvidia.com/gpu"], states["GPU: nvidia.com/mig-1g.10gb"]) == ("right", "wrong")


def test_in_single_user_mode_the_namespace_of_kfp_itself_is_checked(kfp, cluster, config):
    kfp.multi_user = False
    findings = {finding.subject: finding for finding in examine(config, allow_tags=True)}
    assert "namespace kubeflow" in findings["Kubeflow Pipelines"].text
    assert findings["namespace"].text == "there is no namespace kubeflow; create it with `kubectl create ns kubeflow`"
    cluster.add(
        "/api/v1/namespaces/kubeflow", kubernetes.V1Namespace(metadata=kubernetes.V1ObjectMeta(name="kubeflow"))
    )
    findings = {finding.subject: finding for finding in examine(config, allow_tags=True)}
    assert findings["namespace"].state == "right"
    assert "in namespace kubeflow" in findings["service account"].text


@pytest.mark.parametrize(
    ("need", "message"),
    [
        (
            Resources(cpu="9"),
            r"train cnn \(cpu 9, memory 8Gi, ephemeral-storage 20Gi\). The nodes offer: cpu 8, memory",
        ),
        (Resources(memory="65Gi"), "memory 65Gi"),
        (GpuResources(cpu="1", memory="48Gi", node_selector={"gpu": "none"}), "no node is large enough"),
        (GpuResources(cpu="1", memory="48Gi", accelerators=3), "nvidia.com/gpu 3"),
    ],
)
def test_a_step_that_is_larger_than_any_node_is_refused(view, need, message):
    with pytest.raises(InputError, match=message):
        view.room_for_steps({"train cnn": need, "split": Resources(cpu="500m", memory="1Gi", storage="1Gi")})


def test_steps_that_fit_and_nodes_that_cannot_be_read_are_told_apart(view, cluster):
    needs = {"train": GpuResources(accelerators=2), "split": Resources(cpu="7500m", memory="32Gi", storage="200Gi")}
    assert view.room_for_steps(needs) == "every step fits on at least one of 2 nodes"
    cluster.forbidden.add("/api/v1/nodes")
    with pytest.raises(UnseenError, match=r"is not allowed to read nodes \(403\)"):
        view.room_for_steps(needs)


def test_doctor_looks_at_the_room_for_every_step(kfp, cluster, config):
    changed = config.cluster.model_copy(update={"steps": {"gate": Resources(memory="900Gi")}})
    findings = {one.subject: one for one in examine(config.model_copy(update={"cluster": changed}), allow_tags=True)}
    assert findings["size of the nodes"].state == "wrong"
    assert "gate (cpu 2, memory 900Gi" in findings["size of the nodes"].text


@pytest.mark.parametrize(("version", "warned"), [("2.17.0", True), ("2.18.0", True), ("2.18.1", False)])
def test_a_kfp_with_known_security_problems_is_warned_of_and_can_be_used(kfp, client, version, warned):
    kfp.version = version
    if warned:
        with pytest.raises(WarnedError, match=f"version {version} at .*GHSA-j53r-x5f5-j4hr.*Upgrade to 2.18.1"):
            check_kfp(client)
    else:
        assert check_kfp(client).startswith("version 2.18.1 at")


def test_a_store_that_changes_a_large_object_is_found(s3, monkeypatch):
    put = Store.put_file

    def put_cut(store, key, path, part_bytes=None):
        if part_bytes:
            path.write_bytes(path.read_bytes()[:-1])
        put(store, key, path, part_bytes)

    monkeypatch.setattr(Store, "put_file", put_cut)
    with pytest.raises(InputError, match="/parts is damaged: its sha256 is"):
        check_store(s3)
    assert Store(s3).list() == []


@pytest.mark.parametrize("experiment_exists", [False, True])
def test_a_database_that_does_not_keep_every_character_is_found(tmp_path, monkeypatch, experiment_exists):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    client = MlflowClient()
    if experiment_exists:
        client.create_experiment("training")
    assert check_mlflow("m", "training").startswith("it answers")

    set_tag = MlflowClient.set_tag
    monkeypatch.setattr(MlflowClient, "set_tag", lambda self, run, key, value: set_tag(self, run, key, "?"))
    with pytest.raises(InputError, match='MLflow stored "✗" in a tag as "\\?"; give its database the encoding UTF8'):
        check_mlflow("m", "training")

    def refuse(*_):
        raise MlflowException("This result object does not return rows")

    monkeypatch.setattr(MlflowClient, "set_tag", refuse)
    with pytest.raises(InputError, match=r"does not return rows.*database has the encoding UTF8"):
        check_mlflow("m", "training")
    places = client.search_experiments()
    assert {place.name for place in places} == {"Default", *(["training"] if experiment_exists else [])}
    assert client.search_runs([place.experiment_id for place in places]) == []


def test_a_secret_with_an_empty_key_and_a_namespace_that_kfp_has_not_set_up_are_named(view, cluster):
    secret = cluster.objects[f"{TEAM}/secrets/crack-s3"]
    secret.data["AWS_REGION"] = ""
    with pytest.raises(InputError, match="crack-s3 in team has no value for AWS_REGION"):
        view.secret("crack-s3", S3_KEYS)
    assert view.set_up_by_kfp() == "kfp-launcher in team"
    del cluster.objects[f"{TEAM}/configmaps/kfp-launcher"]
    with pytest.raises(
        InputError, match=r"no ConfigMap kfp-launcher in namespace team; .*label pipelines.kubeflow.org"
    ):
        view.set_up_by_kfp()


def test_a_missing_optional_secret_is_not_an_error(view):
    assert "works without it" in view.secret("crack-notify", ["NOTIFY_WEBHOOK_URL"], optional=True)


def test_what_the_account_may_not_read_is_unseen(view, cluster):
    cluster.forbidden.add("/api/v1/nodes")
    with pytest.raises(UnseenError, match=r"is not allowed to read nodes \(403\)"):
        view.accelerator(GpuResources())


def test_without_a_kubeconfig_the_cluster_is_unseen(monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    with pytest.raises(UnseenError, match=r"KUBECONFIG .*/nowhere/config"):
        ClusterView("team").namespace_there()


def test_a_cluster_that_does_not_answer_is_reported(tmp_path, monkeypatch):
    with serving_cluster(Cluster(), tmp_path / "kubeconfig"):
        pass
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    with pytest.raises(InputError, match="the cluster does not answer"):
        ClusterView("team").namespace_there()


@pytest.mark.parametrize(
    ("variable", "value", "check", "message"),
    [
        ("KFP_ENDPOINT", "", lambda: check_kfp(KfpApi(Endpoint.from_environment())), "KFP_ENDPOINT is"),
        (
            "KFP_TOKEN",
            "old",
            lambda: check_kfp(KfpApi(Endpoint.from_environment())),
            "refused the token; get a new one",
        ),
        ("IMAGE_DIGESTS", "/nowhere.json", check_container_images, "make images-push"),
        ("AWS_SECRET_ACCESS_KEY", "x" * 20, lambda: check_store("s3://crack/x"), "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ACCESS_KEY_ID", None, lambda: check_store("s3://crack/x"), "AWS_ACCESS_KEY_ID"),
        ("MLFLOW_TRACKING_URI", None, lambda: check_mlflow("m", "e"), "MLFLOW_TRACKING_URI is not set"),
        (
            "MLFLOW_TRACKING_URI",
            "http://u:p@127.0.0.1:9",
            lambda: check_mlflow("m", "e"),
            "server at http://127.0.0.1:9 cannot be used: .*refused",
        ),
    ],
)
def test_a_service_that_cannot_be_used_is_reported_with_what_to_do(
    kfp, s3, monkeypatch, variable, value, check, message
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.delenv(variable, raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=message):
        check()


def test_missing_weights_are_reported(s3):
    weights = f"{s3}/w.safetensors"
    with pytest.raises(InputError, match=f"{weights} does not exist"):
        check_weights("resnet18", weights)
    Store(s3).put_bytes("w.safetensors", b"w")
    with pytest.raises(InputError, match="has no checksum next to it"):
        check_weights("resnet18", weights)
    Store(s3).put_bytes("w.safetensors.sha256", b"0" * 64)
    assert check_weights("resnet18", weights) == f"{weights} exists, sha256 000000000000…"
    assert check_weights("resnet18", "none") == "none: trained from scratch"
    with pytest.raises(UnseenError, match="exist inside the pods"):
        check_weights("resnet18", "/mnt/w.safetensors")


def test_a_hub_that_cannot_be_reached_is_reported_with_an_alternative(monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{filename}"
    )
    with pytest.raises(InputError, match=r"http://127.0.0.1:9/.* cannot be reached .*mirror-weights"):
        check_weights("resnet18", "hub")


@pytest.mark.parametrize("command", ["submit", "schedule"])
def test_a_missing_service_account_is_reported_before_anything_is_created(kfp, cluster, small, command):
    arguments = [command, "--params", str(small), "--allow-tags", "--revision", "0"]
    del cluster.objects[f"{TEAM}/serviceaccounts/crack-pipeline"]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, kfp.asked("POST")) == (2, 0)
    assert (
        "there is no service account crack-pipeline in namespace team; apply manifests/, which create it" in done.output
    )
    cluster.objects.clear()  # a cluster without the namespace is not the cluster of KFP
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert kfp.asked("POST")
