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


def test_the_log_is_the_one_of_the_step_s_program_after_its_retry(command, kfp, run_id):
    kfp.logs = {"pod-8": "learning\nlearnt\n"}
    kfp.play(
        ("RUNNING", {"train": "RUNNING", "executor": "RUNNING", "executor(0)": "FAILED", "executor(1)": "RUNNING"})
    )
    task, retry, first, second = kfp.scenes[0]["run_details"]["task_details"]
    task |= {"pod_name": "node-1", "child_tasks": [{"pod_name": "node-2"}]}
    retry |= {"pod_name": "node-2", "child_tasks": [{"pod_name": "pod-7"}, {"pod_name": "pod-8"}]}
    first |= {"pod_name": "pod-7"}
    second |= {"pod_name": "pod-8"}
    assert command("logs", "small", "latest", "train cnn").output == "learning\nlearnt\n\n"
    wrong = command("logs", "small", "latest", "train")
    assert (wrong.exit_code, 'has no step "train"; it has "' in wrong.output) == (2, True)
    early = command("logs", "small", "latest", "gate cnn")
    assert (early.exit_code, 'KFP shows no pod of step "gate cnn"' in early.output) == (2, True)


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
