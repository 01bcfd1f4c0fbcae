"""`make test-cluster` without a cluster: which acts are skipped, its table and exit status, and its overlay."""

import io
import json
import shutil
import subprocess
import sys

import pytest
import yaml
from rich.console import Console

from pipelines.config.parameter_file import load_run_config
from tests.cluster import __main__ as command
from tests.cluster import installation, runs, trouble
from tests.cluster.__main__ import ACTS, Act, play, table
from tests.cluster.proof import Ended, FailedError, Proof

REFERENCE = f"registry.example/team/concrete-crack-cpu@sha256:{'0' * 64}"


@pytest.fixture
def proof(tmp_path):
    return Proof("crack-proof-1", False, tmp_path)


@pytest.fixture
def digests(tmp_path, monkeypatch):
    (tmp_path / "digests.json").write_text(json.dumps({"cpu": REFERENCE, "gpu": REFERENCE}))
    monkeypatch.setenv("IMAGE_DIGESTS", str(tmp_path / "digests.json"))


def fails(_):
    raise FailedError("exit status 1")


def test_an_act_that_fails_skips_only_those_that_need_it(proof):
    acts = [
        Act("one", lambda _: "seen"),
        Act("two", fails, ["one"]),
        Act("three", lambda _: "never", ["two"]),
        Act("four", lambda _: 1 / 0, ["one"]),
        Act("five", lambda _: "seen", ["one"]),
    ]
    results = play(acts, proof, 1, lambda _: None)
    assert [result.state for result in results] == ["shown", "failed", "skipped", "failed", "shown"]
    assert [result.text for result in results][1:4] == [
        "exit status 1",
        "needs: two",
        "ZeroDivisionError: division by zero",
    ]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(results, "a cluster"))
    assert "needs: two" in console.export_text()


def test_no_act_begins_after_the_time(proof):
    (result,) = play([Act("one", lambda _: "seen")], proof, 0, lambda _: None)
    assert (result.state, result.text) == ("skipped", "no time left of 0 minutes")


def test_every_need_is_an_earlier_act():
    earlier = set()
    for act in ACTS:
        assert set(act.needs) <= earlier, act.name
        earlier.add(act.name)


def test_the_namespace_of_kfp_is_used_only_with_consent(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["test-cluster", "--single-user"])
    monkeypatch.setattr(command, "play", lambda *_: pytest.fail("nothing may be made"))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "test\n", ""))
    assert command.main() == 2
    said = capsys.readouterr().out
    assert "on the cluster of context 'test', in namespace kubeflow, which belongs to KFP" in said
    assert "IN_KUBEFLOW=1 allows it" in said


@pytest.mark.parametrize("single_user", [False, True])
def test_the_overlay_is_in_the_proof_s_namespace_with_the_pushed_image(tmp_path, digests, single_user):
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("kubectl is not installed")
    namespace = "kubeflow" if single_user else "crack-proof-1"
    proof = Proof(namespace, single_user, tmp_path)
    rendered = subprocess.run(
        [kubectl, "kustomize", str(installation._overlay(proof))], capture_output=True, text=True, check=True
    )
    objects = list(yaml.safe_load_all(rendered.stdout))
    assert {item["metadata"].get("namespace", namespace) for item in objects} == {namespace}
    assert [item["metadata"]["name"] for item in objects if item["kind"] == "Namespace"] == [namespace] * (
        not single_user
    )
    (mlflow,) = [item for item in objects if item["kind"] == "Deployment"]
    (container,) = mlflow["spec"]["template"]["spec"]["containers"]
    assert container["image"] == REFERENCE
    variables = {item["name"]: item["value"] for item in container["env"]}
    assert variables["MLFLOW_SERVER_ALLOWED_HOSTS"] == f"127.0.0.1:{proof.mlflow_port},mlflow:5000"
    assert variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    storage = {item["metadata"]["name"] for item in objects if item["kind"] == "StatefulSet"}
    assert installation._storage(proof) in storage


@pytest.mark.parametrize("act", [runs.refuse, runs.recurring_run, trouble.interrupt, trouble.no_node])
def test_every_parameter_file_of_the_proof_is_valid(proof, monkeypatch, act):
    class StopError(Exception):
        pass

    def keep(self, name, change=None):
        file = original(self, name, change)
        assert load_run_config(proof.folder / f"{name}.yaml").candidates
        raise StopError(file)

    original = Proof.params
    monkeypatch.setattr(Proof, "params", keep)
    with pytest.raises(StopError):
        act(proof)


def test_a_command_that_ends_in_another_way_is_shown():
    assert Ended(1, "one\n\nrefused: x\n").must(1, "refused") == "refused: x"
    with pytest.raises(FailedError, match="exit status 1 instead of 0: one / two"):
        Ended(1, "one\ntwo\n").must(0)
    with pytest.raises(FailedError, match=r"no \['champion'\]: one"):
        Ended(0, "one\n").must(0, "champion")


def test_another_message_of_the_step_notify_is_a_failure(proof, monkeypatch):
    log = "❌ crack-training, job 1: failed\nStep ingest: no objects\n"
    monkeypatch.setattr(Proof, "crack", lambda *_, **__: Ended(0, log))
    runs._must_notify(proof, "❌")
    with pytest.raises(FailedError, match="✅ crack-training, job"):
        runs._must_notify(proof, "✅")


def test_the_newest_run_s_status_is_measured(proof, monkeypatch):
    def workflow(created, **status):
        return {"metadata": {"creationTimestamp": created}, "status": status}

    older = workflow("2026-12-01T02:00:00Z", nodes={"a": {}})
    newer = workflow("2026-12-01T03:00:00Z", nodes={"a": {"name": "x" * 2**20}, "b": {}})
    items = [newer, older]
    monkeypatch.setattr(Proof, "kubectl", lambda *_, **__: json.dumps({"items": items}))
    assert runs._status_size(proof) == "2 nodes, 1.00 MiB"

    items.append(workflow("2026-12-01T04:00:00Z", compressedNodes="H4sI"))
    with pytest.raises(FailedError, match="compressed"):
        runs._status_size(proof)


def test_the_last_step_is_read_from_a_training_s_log(proof, monkeypatch):
    log = (
        "x INFO training resnet18 on 10 tiles\nx INFO step 8, train_loss 0.6\nx INFO wrote a checkpoint after step 12\n"
    )
    monkeypatch.setattr(Proof, "kubectl", lambda *_, **__: log)
    assert trouble._steps_done(proof, "pod") == 12


def test_the_reason_for_which_a_pod_waits_is_read_while_the_command_runs(proof, monkeypatch):
    code = "print('0:01 ingest waits: ErrImagePull: no (pod p)', flush=True); import time; time.sleep(60)"
    monkeypatch.setattr("tests.cluster.proof.COMMAND", (sys.executable, "-c", code))
    assert trouble._waits(proof, "kind", "ErrImagePull|ImagePullBackOff") == "waits: ErrImagePull: no (pod p)"
    monkeypatch.setattr("tests.cluster.proof.COMMAND", (sys.executable, "-c", "print('0:01 ingest: running')"))
    with pytest.raises(FailedError, match="no reason within 480 s: 0:01 ingest: running"):
        trouble._waits(proof, "kind", "Unschedulable")
