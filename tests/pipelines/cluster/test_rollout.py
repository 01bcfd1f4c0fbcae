"""The command `rollout` with a Kubernetes API over HTTP that has the objects of manifests/components/serving."""

import os
from pathlib import Path

import mlflow
import pytest
from mlflow.models import Model, ModelSignature
from typer.testing import CliRunner

from components.register.version import SIGNATURE
from components.shared.services import mlflow_runs
from pipelines.cli.main import app
from pipelines.cluster import serving
from tests.manifests.crds import definition_of, problems
from tests.mlflow_store import new_mlflow_store
from tests.pipelines.cluster.served_cluster import DEPLOYMENTS, GATEWAY_API, NAMESPACE, PODS, ROUTE, ServedCluster
from tests.pipelines.kubernetes_server import serving_cluster

NAME = "crack-classifier"


def uri(version: int) -> str:
    return f"models:/{NAME}/{version}"


@pytest.fixture(params=[False, True], ids=["Deployments", "KServe"])
def kserve(request) -> bool:
    return request.param


@pytest.fixture
def cluster(kserve, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(serving, "ROUTE_SECONDS", 0.1)
    found = ServedCluster(kserve)
    with serving_cluster(found, tmp_path / "kubeconfig"):
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield found
    assert found.violations == []


@pytest.fixture(autouse=True)
def registry(tmp_path, monkeypatch):
    """Versions 1 (champion) and 2 (challenger), without files except their description."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    mlflow.set_tracking_uri(None)
    client = mlflow_runs.client()
    client.create_registered_model(NAME)
    for _ in range(2):
        register(tmp_path, SIGNATURE)
    client.set_registered_model_alias(NAME, "champion", "1")
    client.set_registered_model_alias(NAME, "challenger", "2")
    return client


def register(folder: Path, signature: ModelSignature, digest: str = "a digest") -> str:
    model = folder / f"model-{len(list(folder.iterdir()))}"
    model.mkdir()
    Model(signature=signature).save(str(model / "MLmodel"))
    tags = {mlflow_runs.DIGEST: digest} if digest else {}
    return mlflow_runs.client().create_model_version(NAME, str(model), tags=tags).version


def rollout(*arguments: str):
    return CliRunner().invoke(app, ["rollout", *arguments])


def done(*arguments: str) -> str:
    result = rollout(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str) -> str:
    """The message of a call that must change nothing."""
    result = rollout(*arguments)
    assert result.exit_code == 2, result.output
    return result.output


def versions(cluster: ServedCluster) -> dict[str, str]:
    return {
        path: item["metadata"]["resourceVersion"]
        for path, item in cluster.objects.items()
        if isinstance(item, dict) and "metadata" in item
    }


def backends(cluster: ServedCluster) -> dict[str, int]:
    return {one["name"].removesuffix("-predictor"): one["weight"] for one in cluster.rule()["backendRefs"]}


def check_route(cluster: ServedCluster) -> None:
    """The route fits the published definition, if it is there (`make test-manifests`)."""
    if os.environ.get("CRDS"):
        route = {key: value for key, value in cluster.objects[ROUTE].items() if key != "status"}
        assert problems(route, definition_of("HTTPRoute", Path(os.environ["CRDS"]))) == []


def test_a_new_champion_replaces_the_old_one_once_and_the_route_stays(cluster, registry):
    done("champion")
    assert cluster.told("champion") == (uri(1), 2)
    before = cluster.objects[ROUTE]
    registry.set_registered_model_alias(NAME, "champion", "2")
    assert "all pods are ready and serve models:/crack-classifier/2" in done("champion")
    assert cluster.told("champion") == (uri(2), 2)
    assert cluster.served == [f"models:/{NAME}@champion", uri(1), uri(2)]
    assert cluster.objects[ROUTE] == before

    unchanged = versions(cluster)
    assert "is told to serve models:/crack-classifier/2 already" in done("champion")
    assert versions(cluster) == unchanged


def test_a_challenger_in_shadow_gets_copies_and_answers_nobody(cluster):
    original = cluster.rule()
    assert "models:/crack-classifier/2 gets a copy of every request" in done("shadow")
    assert cluster.told("challenger") == (uri(2), 2)
    assert backends(cluster) == {"crack-champion": 100}
    (mirror,) = cluster.rule()["filters"]
    target = original["backendRefs"][0] | {"name": f"crack-challenger{cluster.suffix}"}
    target.pop("weight")
    assert mirror == {"type": "RequestMirror", "requestMirror": {"backendRef": target}}
    assert cluster.rule()["matches"] == original["matches"]
    check_route(cluster)

    done("stop")
    assert cluster.rule() == original
    assert cluster.told("challenger") == (uri(2), 0)
    check_route(cluster)


def test_a_canary_gets_its_share_and_a_second_call_changes_the_share(cluster):
    assert "models:/crack-classifier/2 answers 10 % of the requests" in done("canary")
    assert backends(cluster) == {"crack-champion": 90, "crack-challenger": 10}
    done("canary", "--weight", "40")
    assert backends(cluster) == {"crack-champion": 60, "crack-challenger": 40}
    check_route(cluster)
    done("shadow")
    assert backends(cluster) == {"crack-champion": 100}
    assert cluster.served == [f"models:/{NAME}@champion"]


def test_a_filter_of_the_team_stays(cluster):
    own = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "X", "value": "y"}]}}
    cluster.rule()["filters"] = [own]
    done("shadow")
    assert [one["type"] for one in cluster.rule()["filters"]] == ["ResponseHeaderModifier", "RequestMirror"]
    done("stop")
    assert cluster.rule()["filters"] == [own]


@pytest.mark.parametrize("act", ["champion", "shadow", "canary"])
def test_a_version_whose_files_were_changed_is_named_and_the_old_one_stays(cluster, registry, act):
    if act == "champion":
        registry.set_registered_model_alias(NAME, "champion", "2")
    server = "champion" if act == "champion" else "challenger"
    before, rule = cluster.told(server), cluster.rule()
    cluster.broken = {uri(2): "the files of crack-classifier version 2 are not the registered files"}
    message = refused(act)
    assert f"crack-{server} cannot serve {uri(2)}: its container fetch fails: error: the files of" in message
    assert cluster.told(server) == before
    assert cluster.rule() == rule


def test_pods_that_wait_too_long_are_named_with_the_reason(cluster):
    cluster.broken = {uri(2): "not reached"}
    before = cluster.told("challenger")
    cluster.on_read = lambda: None  # nothing happens on this cluster
    message = refused("canary", "--timeout", "1")
    assert f"crack-challenger does not serve {uri(2)} after 1 seconds: its pods do not get ready" in message
    assert cluster.told("challenger") == before


def test_a_gateway_that_cannot_mirror_is_named_and_the_route_is_changed_back(cluster):
    original = cluster.rule()
    cluster.refused = "RequestMirror"
    message = refused("shadow")
    assert "the Gateway crack says UnsupportedValue: no RequestMirror here" in message
    assert cluster.rule() == original


def test_a_change_by_another_program_is_not_overwritten(cluster, monkeypatch):
    """Somebody adds a host name between our reading and our writing."""
    patch = cluster.patch
    left = [2]

    def slower(path, body, dry_run):
        if path == ROUTE and not dry_run and left:
            left.pop()
            item = cluster.objects[ROUTE]
            item["spec"]["hostnames"] = [*item["spec"]["hostnames"], "other.example.org"]
            item["metadata"]["resourceVersion"] = str(int(item["metadata"]["resourceVersion"]) + 1)
        return patch(path, body, dry_run)

    monkeypatch.setattr(cluster, "patch", slower)
    done("canary")
    assert cluster.objects[ROUTE]["spec"]["hostnames"] == ["crack.example.org", "other.example.org"]
    assert backends(cluster) == {"crack-champion": 90, "crack-challenger": 10}


def no_champion(cluster, registry, folder):
    registry.delete_registered_model_alias(NAME, "champion")


def no_challenger(cluster, registry, folder):
    registry.delete_registered_model_alias(NAME, "challenger")


def same_version(cluster, registry, folder):
    registry.set_registered_model_alias(NAME, "challenger", "1")


def old_answers(cluster, registry, folder):
    outputs = [one for one in SIGNATURE.outputs.inputs if one.name != "novelty"]
    old = ModelSignature(inputs=SIGNATURE.inputs, outputs=type(SIGNATURE.outputs)(outputs))
    registry.set_registered_model_alias(NAME, "challenger", register(folder, old))


def no_digest(cluster, registry, folder):
    registry.set_registered_model_alias(NAME, "challenger", register(folder, SIGNATURE, digest=""))


def no_gateway_api(cluster, registry, folder):
    del cluster.objects[GATEWAY_API]
    del cluster.objects[ROUTE]


def no_route(cluster, registry, folder):
    del cluster.objects[ROUTE]


def no_gateway(cluster, registry, folder):
    del cluster.objects[ROUTE]["status"]


def another_service(cluster, registry, folder):
    cluster.rule()["backendRefs"].append({"name": "mine", "port": 80, "weight": 1})


def route_elsewhere(cluster, registry, folder):
    cluster.rule()["backendRefs"] = [{"name": "mine", "port": 80, "weight": 1}]


def not_installed(cluster, registry, folder):
    for path in [path for path in cluster.objects if "crack-ch" in path]:
        del cluster.objects[path]


def may_not_change_the_route(cluster, registry, folder):
    cluster.forbidden.add(f"PATCH {ROUTE}")


def may_not_read_pods_or_servers(cluster, registry, folder):
    cluster.forbidden |= {path for path in cluster.objects if "crack-ch" in path} | {PODS}


@pytest.mark.parametrize(
    ("trouble", "act", "message"),
    [
        (no_champion, "champion", "no version of crack-classifier has the alias champion"),
        (no_challenger, "shadow", "no version of crack-classifier has the alias challenger"),
        (same_version, "canary", "models:/crack-classifier/1 is champion and challenger"),
        (old_answers, "canary", "crack-classifier version 3 cannot be served, because its answers have no novelty"),
        (no_digest, "canary", "crack-classifier version 3 was registered without a digest"),
        (no_gateway_api, "canary", "there is no Gateway API (gateway.networking.k8s.io/v1) in this cluster; install"),
        (no_gateway_api, "stop", "there is no Gateway API (gateway.networking.k8s.io/v1) in this cluster; install"),
        (no_route, "shadow", "there is no crack-classifier among the httproutes of namespace crack; apply an overlay"),
        (no_gateway, "shadow", "do not reach the servers through the route crack-classifier: no Gateway knows"),
        (another_service, "canary", "a rule of the route sends requests to mine, too"),
        (route_elsewhere, "shadow", "no rule of the route sends requests to crack-champion"),
        (not_installed, "champion", "namespace crack has no servers crack-champion and crack-challenger"),
        (may_not_change_the_route, "canary", "change crack-classifier among the httproutes of namespace crack (403)"),
        (may_not_read_pods_or_servers, "champion", "give the account the Role crack-rollout"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_before_anything_is_changed(cluster, registry, tmp_path, trouble, act, message):
    trouble(cluster, registry, tmp_path)
    before = versions(cluster)
    assert message in refused(act)
    assert versions(cluster) == before


def test_another_namespace_is_another_place(cluster):
    assert NAMESPACE in DEPLOYMENTS
    assert "namespace elsewhere has no servers" in refused("stop", "--namespace", "elsewhere")
