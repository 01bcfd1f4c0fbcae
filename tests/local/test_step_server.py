import os
import subprocess
import sys

import pytest

from pipelines.local import step_server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with step_server.step_server(tmp_path_factory.mktemp("s"), libraries=["json"]):
        yield


def run_step(*, end: str, mark: str) -> subprocess.CompletedProcess:
    command = [
        *(sys.executable, "-m", step_server.STEP_CLIENT, "train", "tests.local.toy_executor"),
        *("--executor_input", '{"inputs": {}, "outputs": {}}'),
    ]
    environment = {**os.environ, "END": end, "MARK": mark}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("end", "status"), [("0", 0), ("3", 3), ("killed", 137)])
def test_a_step_ends_as_its_own_process_would(server, end, status):
    run = run_step(end=end, mark="first")
    assert run.returncode == status, run.stderr
    assert '{"inputs": {}, "outputs": {}}' in run.stdout
    assert ("at exit" in run.stdout) == (end != "killed")


def test_each_step_has_the_environment_of_its_client(server):
    for mark in ("one", "two"):
        assert f"MARK={mark}" in run_step(end="0", mark=mark).stdout


def test_a_step_that_raises_shows_its_error(server):
    run = run_step(end="no number", mark="")
    assert run.returncode == 1
    assert "ValueError" in run.stderr
    assert run_step(end="0", mark="").returncode == 0


def test_a_server_that_has_ended_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(step_server.ADDRESS, str(tmp_path / "steps"))
    run = run_step(end="0", mark="")
    assert run.returncode == 1
    assert "the server that starts the steps has ended" in run.stderr
