"""`crack-pipeline runs` with the test server, and what an interrupted `submit --wait` does with its run."""

import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.cluster.submit import submit
from pipelines.cluster.workflow_nodes import POD_NAME_FORMAT, newest_pods, read_pods
from tests.pipelines.argo_workflow import NAME, a_workflow, compressed


@pytest.fixture
def command(kfp, small, monkeypatch):
    """Call `crack-pipeline runs` with the small parameter file as environment "small"."""
    monkeypatch.setattr("pipelines.cli.options.PARAMS", small.parent)
    return lambda *arguments: CliRunner().invoke(app, ["runs", *arguments], env={"COLUMNS": "200"})


@pytest.fixture
def run_id(client, compiled, config, console):
    return submit(client, compiled, config, {}, console)


def test_the_list_shows_the_newest_runs_first(client, compiled, config, console, command, kfp):
    older = submit(client, compiled, config, {}, console)
    newer = submit(client, compiled, config, {"seed": 2}, console)
    kfp.runs[0]["state"] = "FAILED"
    shown = command("list", "small").output
    assert shown.index(newer) < shown.index(older)
    assert "pending" in shown
    assert "failed" in shown


def test_a_run_is_stopped_by_the_start_of_its_id_or_as_the_latest(command, kfp, run_id):
    assert command("stop", "small", run_id[:13]).exit_code == 0
    assert kfp.runs[0]["state"] == "CANCELING"
    assert "is being stopped" in command("stop", "small", "latest").output


def test_an_unknown_run_is_reported_with_what_to_do(command, run_id):
    done = command("stop", "small", "nobody")
    assert done.exit_code == 2
    assert 'has no run with an id that starts with "nobody"; `crack-pipeline runs list` shows the ids' in done.output


def test_a_run_is_followed_to_its_end(command, kfp, run_id):
    kfp.play(("RUNNING", {"train": "RUNNING"}), ("RUNNING", {"train": "RUNNING"}), ("FAILED", {"train": "FAILED"}))
    done = command("follow", "small", "latest", "--interval", "0.01")
    assert done.exit_code == 1
    assert "train cnn failed: the cause is unknown" in done.output


RETRIED = a_workflow(
    ("root-driver", "1", "Succeeded"),
    ("root.exit-handler-1.train-driver", "2", "Succeeded"),
    ("root.exit-handler-1.train.executor(0)", "3", "Failed"),
    ("root.exit-handler-1.train.executor(1)", "4", "Succeeded"),
    ("root.exit-handler-1.onExit.notify-driver", "5", "Succeeded"),
    ("root.exit-handler-1.onExit.notify.executor", "6", "Running"),
    pod_3={"templateName": "retry-system-container-impl"},
    pod_4={
        "templateName": "retry-system-container-impl",
        "resourcesDuration": {"cpu": 3600, "memory": 36_864, "nvidia.com/gpu": 1800},
    },
    pod_6={"startedAt": "2026-11-30T10:06:00Z", "finishedAt": None, "resourcesDuration": None},
)


def test_the_log_is_the_one_of_the_step_s_program_after_its_retry(command, kfp, run_id):
    kfp.workflow = RETRIED
    kfp.logs = {
        "crack-training-x-retry-system-container-impl-4": "learning\nlearnt\n",
        "crack-training-x-system-container-impl-6": "sent\n",
    }
    assert command("logs", "small", "latest", "train cnn").output == "learning\nlearnt\n\n"
    assert command("logs", "small", "latest", "notify").output == "sent\n\n"
    wrong = command("logs", "small", "latest", "train")
    assert (wrong.exit_code, 'has no step "train"; it has "' in wrong.output) == (2, True)
    early = command("logs", "small", "latest", "gate cnn")
    assert (early.exit_code, 'KFP shows no pod of step "gate cnn"' in early.output) == (2, True)


def test_the_numbers_of_attempts_in_a_node_s_name_are_no_part_of_the_task(client, kfp):
    """KFP's manifests let Argo repeat every template, so each part of a node's name ends with an attempt number."""
    kfp.workflow = a_workflow(
        ("(0).root(0).exit-handler-1(0).train-2-driver(0)", "1", "Succeeded"),
        ("(0).root(0).exit-handler-1(0).train-2(0).executor(0)", "2", "Failed"),
        ("(0).root(0).exit-handler-1(0).train-2(0).executor(1)", "3", "Running"),
    )
    pods = newest_pods(read_pods(client, "run-1"))
    assert set(pods) == {"train-2", "train-2-driver"}
    assert pods["train-2"].endswith("-3")


def test_the_pods_of_an_older_argo_are_named_by_their_nodes(client, kfp):
    kfp.workflow = RETRIED | {"metadata": {"name": NAME, "annotations": {POD_NAME_FORMAT: "v1"}}}
    assert newest_pods(read_pods(client, "run-1"))["notify"] == f"{NAME}-6"


def test_the_cost_counts_every_pod_by_step_and_resource_also_of_a_large_run(command, kfp, run_id):
    kfp.workflow = compressed(RETRIED)
    shown = command("cost", "small").output
    rows = {line.split("  ")[0]: line.split()[-5:] for line in shown.splitlines()[2:]}
    assert shown.splitlines()[1].split("  ")[0] == "step"
    assert rows["train cnn"] == ["2", "2.000", "1.500", "1.977", "0.500"]
    assert rows["KFP's drivers"] == ["3", "3.000", "1.500", "2.930", "0.000"]
    assert list(rows) == ["train cnn", "notify", "KFP's drivers", "all"]
    assert rows["notify"][0] == "1"
    assert rows["notify"][2:] == ["0.000", "0.000", "0.000"]


def test_a_run_without_a_workflow_is_reported(command, kfp, run_id):
    done = command("cost", "small")
    assert done.exit_code == 2
    assert f"does not show the workflow of run {run_id}, so its pods cannot be listed; look at http" in done.output


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("option", ["--stop-with-me", "--again"])
def test_an_interrupted_wait_stops_the_run_only_if_it_is_told_to(kfp, small, kind, option):
    arguments = ["submit", "--params", str(small), "--allow-tags", "--revision", "0", "--wait", option]
    code = f"from pipelines.cli.main import app; app({arguments!r})"
    waiting = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=os.environ
    )
    deadline = time.monotonic() + 300
    while not kfp.asked("GET .*/runs/") and time.monotonic() < deadline:
        time.sleep(0.1)
    waiting.send_signal(kind)
    output, _ = waiting.communicate(timeout=300)
    assert waiting.returncode == 130
    assert (kfp.runs[0]["state"] == "CANCELING") == (option == "--stop-with-me")
    assert ("is being stopped" in output) == (option == "--stop-with-me")
    assert ("the run continues" in output) == (option == "--again")
