"""A local run with a toy graph: its results and its errors, and that all processes have ended after it."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from components.ingest.sources.uri import absolute_sources
from components.shared.errors import InputError
from pipelines.local.embedded_stack import free_port, locked, prepare_mlflow, tracking_uri
from tests.local.toy_run import GRAPH

TOY_RUN = Path(__file__).parent / "toy_run.py"


def start(workdir: Path, behaviour: str, environment: dict[str, str] | None = None, **where) -> subprocess.Popen:
    command = [sys.executable, str(TOY_RUN), str(workdir), behaviour]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | (environment or {}), **pipes, **where)


def run(workdir: Path, behaviour: str, environment: dict[str, str] | None = None, **where) -> tuple[int, str, str]:
    process = start(workdir, behaviour, environment, **where)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def processes_of(workdir: Path) -> list[str]:
    """Command lines of the living processes whose command line or environment names the workdir."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
            names_it = str(workdir).encode() in words + (folder / "environ").read_bytes()
        except OSError:
            continue
        if names_it and int(folder.name) != os.getpid():
            found.append(words.replace(b"\0", b" ").decode())
    return found


def pid_of(command: list[str]) -> int:
    """The id of the process that runs exactly this command."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_text().split("\0")[:-1] == command:
                return int(folder.name)
    raise AssertionError(command)


def wait_until(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.mark.parametrize(("behaviour", "version"), [("succeed", "1"), ("refuse", None)])
def test_results_stand_in_the_run_folder_and_at_the_top(tmp_path: Path, behaviour: str, version: str | None) -> None:
    status, out, err = run(tmp_path, behaviour)

    assert (status, err) == (0, "")
    assert "train toy: done in" in out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["registration"] == {"version": version}
    assert summary["tracking"] == f"sqlite:///{tmp_path}/mlflow.db"
    spent = summary["seconds"]["train toy"]
    assert 0 <= spent["work"] < 5
    assert 0 < spent["overhead"] < summary["seconds_total"] - spent["work"]
    (folder,) = (tmp_path / "runs").iterdir()
    for name in ("report.html", "summary.json", "run.log"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert "notified of SUCCEEDED" in (tmp_path / "run.log").read_text()
    assert (tmp_path / "s3/crack/store/seen").read_bytes() == b"by the step"
    assert processes_of(tmp_path) == []


def test_a_silent_step_shows_on_the_screen_and_in_its_log_that_it_still_runs(tmp_path: Path) -> None:
    status, out, err = run(tmp_path, "silent")

    assert (status, err) == (0, "")
    assert re.search(r"train toy: still running, \d s, 1 of 2 half\n", out)
    assert re.search(r"INFO\]: still running, \d s, 1 of 2 half\n", (tmp_path / "run.log").read_text())


def folder_with_broken_modules(folder: Path) -> Path:
    """A current folder whose files have the names of modules that the guard, a step and MLflow's server import."""
    folder.mkdir()
    for name in ("subprocess", "boto3", "fastapi", "uvicorn"):
        (folder / f"{name}.py").write_text("this_is_no_library\n")
    return folder


def test_a_run_does_not_depend_on_the_callers_environment(tmp_path: Path) -> None:
    nothing_listens = "http://127.0.0.1:9"
    temporary = tmp_path / "temporary files"
    temporary.mkdir()
    hostile = {
        "AWS_REGION": "x",
        "AWS_PROFILE": "nobody",
        "AWS_SESSION_TOKEN": "expired",
        "AWS_ENDPOINT_URL": nothing_listens,
        "AWS_CONFIG_FILE": "/nowhere",
        "MLFLOW_TRACKING_URI": nothing_listens,
        "MLFLOW_REGISTRY_URI": nothing_listens,
        "MLFLOW_RUN_ID": "unknown",
        "KFP_ENDPOINT": nothing_listens,
        "CRACK_EVENTS": "/nowhere/events.jsonl",
        "LOCAL_BUCKET": "other",
        "RCLONE_READ_ONLY": "true",
        "HTTP_PROXY": nothing_listens,
        "HTTPS_PROXY": nothing_listens,
        "http_proxy": nothing_listens,
        "ALL_PROXY": nothing_listens,
        "TMPDIR": str(temporary),
        "LC_ALL": "C",
        "PYTHONIOENCODING": "ascii",
        "NO_COLOR": "1",
        "COLUMNS": "20",
    }

    here = folder_with_broken_modules(tmp_path / "here")
    status, out, err = run(tmp_path / "my wörkdir", "succeed", hostile, cwd=here)

    assert (status, err) == (0, "")
    assert "train toy: done in" in out
    assert (tmp_path / "my wörkdir/s3/crack/store/seen").read_bytes() == b"by the step"
    assert list(temporary.iterdir()) == []


def test_the_users_error_is_one_line_and_no_older_result_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("of a run before")

    status, _, err = run(tmp_path, "input")

    assert status == 2
    assert err == 'error: step "train toy": rate must be positive, got -1; set train.rate\n'
    assert not (tmp_path / "summary.json").exists()
    assert "notified of FAILED" in (tmp_path / "run.log").read_text()
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        ("crash", 'step "train toy": ZeroDivisionError: division by zero'),
        (
            "killed",
            'step "train toy" ended without an error message; if memory ran out, end',
        ),
        ("crash early", 'step "train" ended early; the last exception in its log is NameError: no such name; the log'),
        ("killed early", 'step "train" ended without an error message; if memory ran out, end other'),
        ("broken", "the graph itself is broken"),
    ],
)
def test_a_crash_names_step_cause_and_log(tmp_path: Path, behaviour: str, cause: str) -> None:
    status, _, err = run(tmp_path, behaviour)

    assert status == 1
    assert err.startswith(f"error: {cause}")
    assert err.rstrip().endswith("run.log")
    assert len(err.splitlines()) == 1
    assert processes_of(tmp_path) == []


def test_a_full_disk_is_named_as_such(tmp_path: Path) -> None:
    status, _, err = run(tmp_path, "disk full")

    assert status == 2
    assert err.startswith('error: step "train toy": the disk is full, and ')
    assert err.endswith("free some space, and run again\n")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("killed", ["graph", "guard"])
def test_a_killed_graph_or_guard_names_the_step_the_cause_and_what_to_do(tmp_path: Path, killed: str) -> None:
    process = start(tmp_path, "hang")
    wait_until(lambda: any("hanging" in file.read_text() for file in tmp_path.glob("runs/*/events.jsonl")))
    graph = pid_of([*GRAPH, str(next((tmp_path / "runs").iterdir()))])
    guard = int(Path(f"/proc/{graph}/stat").read_text().split()[3])

    os.kill(graph if killed == "graph" else guard, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    if killed == "guard":
        os.killpg(graph, signal.SIGKILL)  # then no process is left to end the graph

    assert process.returncode == 1
    assert err.startswith(
        'error: step "train toy": the process of the run was ended by SIGKILL; if memory ran out, end'
    )
    assert "run the command again, which does not repeat the finished steps; the log is " in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_outlives_the_run(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "hang")
    log = tmp_path / "runs"
    wait_until(lambda: any("hanging" in file.read_text() for file in log.glob("*/events.jsonl")))
    assert len(processes_of(tmp_path)) > 4  # the run, two guards, rclone, the graph, its step and the step's own child

    process.send_signal(number)
    process.communicate(timeout=120)

    if number == signal.SIGKILL:
        wait_until(lambda: not processes_of(tmp_path))
    else:
        assert process.returncode == 128 + number
        assert processes_of(tmp_path) == []


def test_a_workdir_serves_one_run_at_a_time(tmp_path: Path) -> None:
    again = locked(tmp_path / "new" / "workdir")
    refused = pytest.raises(InputError, match=rf"in use by process {os.getpid()};.*--workdir")
    with locked(tmp_path / "new" / "workdir"), refused, again:
        pass
    with locked(tmp_path / "new" / "workdir"):
        pass


def test_a_workdir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=f"{path} is not a folder; choose another"), locked(path):
            pass


def test_data_paths_hold_in_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles.zip").touch()
    monkeypatch.chdir(tmp_path)
    assert absolute_sources("tiles") == str(tmp_path / "tiles")
    assert absolute_sources("synthetic://?images=5") == "synthetic://?images=5"
    assert absolute_sources("tiles,tiles.zip?source=b") == f"{tmp_path}/tiles,{tmp_path}/tiles.zip?source=b"
    with pytest.raises(InputError, match="nowhere does not exist"):
        absolute_sources("nowhere")


def test_mlflow_ui_opens_the_runs_and_their_artifacts_until_it_is_ended(tmp_path: Path) -> None:
    port = free_port()
    crack_pipeline = Path(sys.executable).with_name("crack-pipeline")
    command = [str(crack_pipeline), "mlflow-ui", "--workdir", str(tmp_path), "--port", str(port)]
    prepare_mlflow(tmp_path, "crack-training")
    client = MlflowClient(tracking_uri(tmp_path))
    run = client.create_run(client.get_experiment_by_name("crack-training").experiment_id).info
    kept = tmp_path / "s3" / run.artifact_uri.removeprefix("s3://") / "report.html"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"the report")

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=folder_with_broken_modules(tmp_path / "here"), **pipes)
    assert process.stdout.readline() == f"MLflow: http://127.0.0.1:{port} (Ctrl-C ends it)\n"
    server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    server.request("GET", f"/get-artifact?path=report.html&run_uuid={run.run_id}")
    assert server.getresponse().read() == b"the report"
    second = subprocess.run(command, capture_output=True, text=True)
    assert (second.returncode, second.stderr) == (2, f"error: port {port} is in use; choose another with --port\n")

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    assert processes_of(tmp_path) == []
