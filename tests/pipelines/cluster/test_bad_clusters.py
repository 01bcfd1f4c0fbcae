"""What `crack-pipeline doctor` and `submit --wait` say about clusters and services that cannot be used."""

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes import client as kubernetes
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from components.shared.errors import InputError
from components.shared.services.kfp_endpoint import Endpoint
from pipelines.cli.main import app
from pipelines.cluster.kubernetes_view import ClusterView, UnseenError, WarnedError
from pipelines.cluster.namespace_checks import (
    check_labels,
    check_network_policies,
    check_quotas,
    check_same_cluster,
    check_volumes,
)
from pipelines.cluster.token_check import check_token
from pipelines.config.cluster_config import Resources
from tests.mlflow_store import new_mlflow_store
from tests.pipelines.kubernetes_objects import (
    CLAIMS,
    CLASSES,
    DAEMONS,
    POLICIES,
    QUOTAS,
    TEAM,
    a_claim,
    a_daemon,
    a_quota,
)

HOUR = 3600


def a_token(uid="uid-1", seconds=HOUR):
    """Return a token like those of Kubernetes' service accounts."""
    account = {"namespace": "team", "serviceaccount": {"name": "crack-submit", "uid": uid}}
    claims = {"exp": int(time.time() + seconds), "kubernetes.io": account}
    return f"head.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.signature"


@pytest.fixture
def give_token(kfp, cluster, monkeypatch):
    """Return a function that makes KFP accept a token. The cluster has the service account, with the id uid-1."""
    account = kubernetes.V1ServiceAccount(metadata=kubernetes.V1ObjectMeta(name="crack-submit", uid="uid-1"))
    cluster.add(f"{TEAM}/serviceaccounts/crack-submit", account)

    def give(token):
        kfp.token = token
        monkeypatch.setenv("KFP_TOKEN", token)

    return give


@pytest.fixture
def view(cluster):
    return ClusterView("team")


@pytest.fixture
def read_only_s3(monkeypatch):
    """An S3 server with an empty bucket, whose access key may only read."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(200, b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>")

        def do_PUT(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")

        def _answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    settings = {"ENDPOINT_URL_S3": f"http://127.0.0.1:{server.server_port}", "REGION": "us-east-1"}
    for name, value in (settings | {"ACCESS_KEY_ID": "reader", "SECRET_ACCESS_KEY": "secret"}).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    yield
    server.shutdown()
    server.server_close()


@pytest.fixture
def full_mlflow(tmp_path, monkeypatch):
    """An MLflow store whose artifacts cannot be written: their folder is a file."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    (tmp_path / "full").write_text("")
    MlflowClient().create_experiment("crack-training", artifact_location=f"file://{tmp_path}/full/artifacts")


def doctor(small):
    """Return the exit status of `doctor`, and its finding about each subject in one line."""
    done = CliRunner().invoke(app, ["doctor", "--params", str(small), "--allow-tags"], env={"COLUMNS": "4000"})
    rows = [line.split("│") for line in done.output.splitlines() if "│" in line]
    return done.exit_code, {row[2].strip(): f"{row[1].strip()} {row[3].strip()}" for row in rows}


def test_doctor_names_everything_that_is_wrong_at_once(
    kfp, cluster, give_token, read_only_s3, full_mlflow, small, tmp_path
):
    give_token(a_token(uid="of another cluster"))
    cluster.objects[TEAM].metadata.labels = {}
    del cluster.objects[f"{TEAM}/configmaps/kfp-launcher"]
    del cluster.objects[f"{TEAM}/secrets/crack-s3"].data["AWS_REGION"]
    cluster.objects[f"{TEAM}/secrets/crack-mlflow"].data["MLFLOW_TRACKING_PASSWORD"] = ""
    cluster.objects[QUOTAS] = [a_quota({"requests.cpu": "1", "requests.nvidia.com/gpu": "0"})]
    cluster.objects[CLASSES] = []
    cluster.objects[CLAIMS] = [a_claim("data-postgres-0", "Pending")]
    cluster.objects[DAEMONS] = [a_daemon("kube-flannel", "registry.example/flannel")]

    status, found = doctor(small)
    assert status == 1
    assert found["token for KFP"].startswith("! KFP_TOKEN ends at 20")
    assert "a run may take 72 hours" in found["token for KFP"]
    assert "let KFP_TOKEN_FILE name a file that is renewed" in found["token for KFP"]
    assert "the token for KFP belongs to an account with another id" in found["one cluster"]
    assert f"KFP_ENDPOINT is {kfp.url}; set KUBECONFIG to the cluster of this KFP" in found["one cluster"]
    assert found["labels of the namespace"].startswith(
        "✗ namespace team does not have pipelines.kubeflow.org/enabled=true"
    )
    assert "kubectl label namespace team --overwrite" in found["labels of the namespace"]
    assert "has no value for AWS_REGION; create the Secret again" in found["Secret crack-s3"]
    assert "has no value for MLFLOW_TRACKING_PASSWORD; create" in found["Secret crack-mlflow"]
    assert found["quota"].startswith("✗ a quota is too small, so these steps never start: ")
    assert "split needs 2 requests.cpu, but the limit is 1 (quota crack)" in found["quota"]
    assert "train cnn needs 1 requests.nvidia.com/gpu, but the limit is 0 (quota crack)" in found["quota"]
    assert found["storage class"].startswith(
        "✗ volume claims data-postgres-0 wait for a volume: the cluster has no default storage class"
    )
    assert found["network policies"].startswith("! the 1 network policies of namespace team are probably not enforced")
    assert "s3://crack/store can be read but not written" in found["S3"]
    assert "give this access key the rights to write and delete objects" in found["S3"]
    assert f"its artifact store file://{tmp_path}/full/artifacts" in found["MLflow"]
    assert "check the free disk space" in found["MLflow"]


def test_doctor_refuses_a_kfp_that_is_too_old_and_a_token_that_has_ended(
    kfp, cluster, give_token, read_only_s3, monkeypatch, small
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    kfp.version = "2.15.0"
    give_token(a_token(seconds=-HOUR))
    status, found = doctor(small)
    assert status == 1
    assert "has version 2.15.0, but the pipeline needs 2.17 or newer" in found["Kubeflow Pipelines"]
    assert found["token for KFP"].startswith("✗ the token for KFP ended at 20")
    assert found["one cluster"] == "✓ KUBECONFIG and the token for KFP have the same account crack-submit"
    assert found["labels of the namespace"].startswith("✓")
    assert found["quota"] == "✓ every step fits in 1 quotas"
    assert found["storage class"] == "✓ the default storage class is standard"
    assert "kube-router in kube-system is known to enforce them" in found["network policies"]


def test_a_token_that_ends_in_the_middle_is_warned_of_before_and_named_when_it_has_ended(kfp, give_token, small):
    give_token(a_token())
    kfp.play(("RUNNING", {"train": "RUNNING"}), ("RUNNING", {"train": "RUNNING"}))
    kfp.fail("GET .*v2beta1/runs/[^?]", "status", status=401)
    arguments = ["submit", "--params", str(small), "--allow-tags", "--revision", "0", "--wait", "--interval", "0.01"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 3
    assert "warning: KFP_TOKEN ends at 20" in done.output
    assert "refused the token; get a new one and set KFP_TOKEN or KFP_TOKEN_FILE" in done.output
    assert "The run continues, but its state cannot be read" in done.output


def test_a_token_in_a_file_may_be_renewed_and_another_kind_of_token_says_nothing(kfp, monkeypatch, tmp_path):
    assert check_token(Endpoint.from_environment(), HOUR) == "the token does not say when it ends"
    monkeypatch.delenv("KFP_TOKEN")
    assert check_token(Endpoint.from_environment(), HOUR) == "no token is set"
    (tmp_path / "token").write_text(a_token())
    monkeypatch.setenv("KFP_TOKEN_FILE", str(tmp_path / "token"))
    assert check_token(Endpoint.from_environment(), 2 * HOUR).startswith("it ends at 20")


def test_a_cluster_without_kfp_is_not_the_one_of_the_endpoint(kfp, cluster, view, give_token):
    endpoint = Endpoint.from_environment()
    assert "has a KFP; without a service account's token" in check_same_cluster(view, endpoint)
    del cluster.objects["/api/v1/namespaces/kubeflow/services/ml-pipeline"]
    with pytest.raises(
        InputError, match=f"no service ml-pipeline in namespace kubeflow of .*; KFP_ENDPOINT is {kfp.url}"
    ):
        check_same_cluster(view, endpoint)
    give_token(a_token())
    assert "have the same account crack-submit" in check_same_cluster(view, Endpoint.from_environment())
    del cluster.objects[f"{TEAM}/serviceaccounts/crack-submit"]
    with pytest.raises(InputError, match="no service account crack-submit, whose token KFP gets, in namespace team"):
        check_same_cluster(view, Endpoint.from_environment())


def test_a_namespace_without_labels_that_somebody_set_up_by_hand_can_be_used(cluster, view):
    cluster.objects[TEAM].metadata.labels = None
    with pytest.raises(WarnedError, match=r"does not have pipelines\.kubeflow\.org/enabled=true"):
        check_labels(view)


@pytest.mark.parametrize(
    ("hard", "used", "error", "message"),
    [
        ({"limits.memory": "4Gi"}, {}, InputError, "split needs 8Gi limits.memory, but the limit is 4Gi"),
        ({"pods": "0"}, {}, InputError, "split needs 1 pods, but the limit is 0"),
        (
            {"cpu": "3"},
            {"cpu": "1500m"},
            WarnedError,
            r"split needs 2 cpu, but the limit is 3 and 1500m is in use \(quota crack\)",
        ),
    ],
)
def test_a_quota_is_compared_with_one_step_and_with_what_is_used(cluster, view, hard, used, error, message):
    cluster.objects[QUOTAS] = [a_quota(hard, used)]
    with pytest.raises(error, match=message):
        check_quotas(view, {"split": Resources()})
    cluster.objects[QUOTAS] = []
    assert check_quotas(view, {"split": Resources()}) == "there is no quota"


def test_a_storage_class_is_only_missed_if_something_needs_a_default(cluster, view):
    cluster.objects[CLASSES][0].metadata.annotations = {}
    cluster.objects[CLAIMS] = [a_claim("bound", "Bound"), a_claim("named", "Pending", "standard")]
    with pytest.raises(WarnedError, match=r"no default storage class \(its classes: standard\); .* kubectl annotate"):
        check_volumes(view)


def test_a_namespace_without_network_policies_is_said_to_be_open(cluster, view):
    cluster.objects[POLICIES] = []
    with pytest.raises(WarnedError, match="has no network policies, so nothing is enforced"):
        check_network_policies(view)
    cluster.forbidden.add(POLICIES)
    with pytest.raises(UnseenError, match="not allowed to read network policies"):
        check_network_policies(view)


def test_a_kubernetes_that_enforces_network_policies_itself_is_known(cluster, view):
    cluster.objects[DAEMONS] = []
    info = dict.fromkeys(kubernetes.V1NodeSystemInfo.openapi_types, "")
    cluster.objects["/api/v1/nodes"][0].status.node_info = kubernetes.V1NodeSystemInfo(
        **info | {"kubelet_version": "v1.36.1+k3s1"}
    )
    assert "kubelet v1.36.1+k3s1 is known to enforce them" in check_network_policies(view)
