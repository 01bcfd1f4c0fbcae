"""Run a graph on this machine: start the embedded stack and the graph's process, show progress, copy the results.

The workdir contains `s3/` and `mlflow.db` (the embedded stack), `cache/`, and `runs/` with one folder for each run. The
links `run.log`, `report.html` and `summary.json` lead to the files of the latest run. After a drift check, the links
`drift.html` and `drift.json` lead to its results.
"""

import contextlib
import errno
import json
import os
import re
import shlex
import shutil
import signal
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from components.shared.errors import InputError
from components.shared.scratch import scratch_folder
from pipelines.local import embedded_stack
from pipelines.local.progress import EventFile, Timeline, display

# Names in the folder of a run. The graph's process reads the checked parameters from PARAMS. ARTIFACTS is the pipeline
# root of KFP.
LOG = "run.log"
PARAMS = "params.json"
ARTIFACTS = "artifacts"
EVENTS = "events.jsonl"

TRAINING_GRAPH = [sys.executable, "-m", "pipelines.local.graph_process", "crack-training"]
DRIFT_CHECK_GRAPH = [sys.executable, "-m", "pipelines.local.graph_process", "crack-drift-check"]

SECONDS_BETWEEN_LOOKS = 0.1

LINES_WITH_THE_CAUSE = 200
COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")
# KFP's words for a task that failed.
FAILED_TASK = re.compile(r"Task '?([\w-]+)'? finished with status FAILURE")
STARTED_TASK = "Executing task"
TRACEBACK = "Traceback (most recent call last):"
DISK_IS_FULL = os.strerror(errno.ENOSPC)
KILLED = (
    "if memory ran out, end other programs or lower batch_size; run the command again, which does not repeat the "
    "finished steps"
)


class RunError(RuntimeError):
    """A step or the run itself failed. The message gives the cause in one line, and the path of the log."""


@dataclass(frozen=True)
class Results:
    """Where a graph's results come from (a step), and how the files are named in the workdir.

    Attributes:
        step: Name of the step that has the output artifacts `page` and `summary`.
        page: File name of the page.
        summary: File name of the summary, JSON.
    """

    step: str
    page: str
    summary: str


TRAINING = Results("report", "report.html", "summary.json")
DRIFT_CHECK = Results("check", "drift.html", "drift.json")


@dataclass(frozen=True)
class FinishedRun:
    """The results of a successful run.

    Attributes:
        folder: Folder `workdir/runs/…` with the results, params.json, events.jsonl, run.log and artifacts/.
        summary: The content of the summary.
    """

    folder: Path
    summary: dict[str, Any]


def run_locally(
    workdir: Path, experiment: str, params: str, graph: list[str], console: Console, results: Results = TRAINING
) -> FinishedRun:
    """Run the graph until its end on the embedded stack. When this function ends, all its processes have ended.

    Args:
        workdir: Folder for all files. The caller has locked it with `embedded_stack.locked`.
        experiment: Name of the MLflow experiment. Its artifacts are in the S3 storage of the workdir.
        params: The run's parameters as JSON. They are written into the run's folder for the graph's process.
        graph: Command that runs the graph. The run's folder is added as its last argument.
        console: The console that shows the progress.
        results: The step and the file names of the graph's results.

    Raises:
        InputError: A step refused its input.
        RunError: A step or the graph's process failed for another reason.
        SystemExit: The process received SIGTERM or SIGHUP.
    """
    started = time.time()
    with _ended_by_signals(), embedded_stack.embedded_stack(workdir) as environment:
        folder = _new_run_folder(workdir)
        (folder / PARAMS).write_text(params, encoding="utf-8")
        for name in (LOG, results.page, results.summary):
            (workdir / name).unlink(missing_ok=True)
        _link_latest(workdir, folder, LOG)
        embedded_stack.prepare_mlflow(workdir, experiment)

        # KFP leaves a folder for every task in TMPDIR. The path must be short, because steps create sockets in it.
        with scratch_folder() as temporary:
            environment |= {"CRACK_EVENTS": str(folder / EVENTS), "TMPDIR": str(temporary)}
            timeline = _run_graph([*graph, str(folder)], folder, environment, Timeline(started), console)

        summary = _publish(folder, timeline, results)
        _link_latest(workdir, folder, results.page, results.summary)
        return FinishedRun(folder, summary)


def _run_graph(
    command: list[str], folder: Path, environment: dict[str, str], timeline: Timeline, console: Console
) -> Timeline:
    log = folder / LOG
    with (
        contextlib.closing(EventFile(folder / EVENTS)) as events,
        embedded_stack.guarded(command, log, environment) as process,
        display(console) as screen,
    ):
        running = True
        while running:
            # We poll before we read the events. So the last read comes after the process has written its last event.
            running = process.poll() is None
            for event in events.read():
                screen.show(timeline, timeline.apply(event))
            screen.show(timeline, None)
            if running:
                time.sleep(SECONDS_BETWEEN_LOOKS)

    if process.returncode:
        raise _failure(timeline, log, process.returncode)
    return timeline


def _failure(timeline: Timeline, log: Path, status: int) -> Exception:
    """Return the error that says which step failed, why, and what to do."""
    step = timeline.unfinished()
    if step is not None and step.failure is not None:
        return _reported_failure(step.name, step.failure, log)

    lines = _plain_lines(log)
    place = f'step "{step.name}"' if step is not None else _failed_task(lines)
    if any(DISK_IS_FULL in line for line in lines):
        free = shutil.disk_usage(log.parent).free
        return InputError(
            f"{place or 'the run'}: the disk is full, and {free} bytes are free at {log.parent}; free some space, and "
            "run again"
        )

    number = _signal_number(status)
    if number:
        name = signal.Signals(number).name
        return RunError(f"{place or 'the run'}: the process of the run was ended by {name}; {KILLED}; the log is {log}")
    exception = _exception(lines)
    if place and exception:
        return RunError(f"{place} ended early; the last exception in its log is {exception}; the log is {log}")
    if place:
        return RunError(f"{place} ended without an error message; {KILLED}; the log is {log}")
    cause = lines[-1].strip() if lines else "the process of the run ended without an error message"
    return RunError(f"{cause} (exit status {status}); the log is {log}")


def _reported_failure(name: str, failure: dict[str, str], log: Path) -> Exception:
    error: Exception
    if failure["kind"] == "input":
        error = InputError(f'step "{name}": {failure["message"]}')
    else:
        error = RunError(f'step "{name}": {failure["type"]}: {failure["message"]}; the log is {log}')
    error.add_note(failure["traceback"])
    return error


def _plain_lines(log: Path) -> list[str]:
    """Return the last non-empty lines of a log, without the codes that set a terminal's colours."""
    text = COLOUR_CODE.sub("", log.read_text(encoding="utf-8", errors="replace"))
    return [line.rstrip() for line in text.splitlines() if line.strip()][-LINES_WITH_THE_CAUSE:]


def _failed_task(lines: list[str]) -> str:
    """Return the failed task as words for a message, such as `step "train-cnn"`. Return "" if there is none.

    The lines are from KFP's log. We need this log if a step failed before it reported its start.
    """
    for line in lines:
        match = FAILED_TASK.search(line)
        if match:
            return f'step "{match[1]}"'
    return ""


def _exception(lines: list[str]) -> str:
    """Return the last exception that the failed task printed, such as `NameError: …`. Return "" if there is none."""
    found, indentation = "", None
    for line in lines:
        text = line.lstrip()
        spaces = len(line) - len(text)
        if STARTED_TASK in line:
            found = ""
        elif FAILED_TASK.search(line):
            break
        elif text == TRACEBACK:
            indentation = spaces
        elif indentation is not None and spaces <= indentation:  # the frames of a traceback are indented further
            found, indentation = text, None
    return found


def _signal_number(status: int) -> int:
    """Return the number of the signal that ended the guard (status < 0) or its command (status > 128).

    If no signal ended them, return 0.
    """
    if status < 0:
        return -status
    return status - 128 if status > 128 else 0


def _new_run_folder(workdir: Path) -> Path:
    runs = workdir.resolve() / "runs"
    runs.mkdir(exist_ok=True)

    folder = runs / time.strftime("%Y-%m-%dT%H-%M-%S")
    while folder.exists():  # an earlier run started in the same second
        folder = folder.with_name(folder.name + "-1")
    folder.mkdir()
    return folder


def _link_latest(workdir: Path, folder: Path, *names: str) -> None:
    for name in names:
        (workdir / name).symlink_to(Path("runs") / folder.name / name)


def _publish(folder: Path, timeline: Timeline, results: Results) -> dict[str, Any]:
    """Copy the results into the run's folder. Add times, information and warnings to the summary, and return it."""
    page = _artifact(folder, results.step, "page")
    (folder / results.page).write_bytes(page.read_bytes())

    summary = json.loads(_artifact(folder, results.step, "summary").read_text(encoding="utf-8"))
    summary["seconds"] = timeline.seconds()
    summary["information"] = timeline.information
    summary["warnings"] = timeline.warnings
    summary["seconds_total"] = round(time.time() - timeline.started, 2)
    (folder / results.summary).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _artifact(folder: Path, step: str, output: str) -> Path:
    found = list((folder / ARTIFACTS).glob(f"*/{step}/{output}"))
    if len(found) != 1:
        raise RunError(f"the run succeeded, but its step {step} wrote no {output}; the log is {folder / LOG}")
    return found[0]


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the run in the same way as Ctrl-C."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        # An ignored signal, such as SIGHUP under nohup, stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve_mlflow_ui(workdir: Path, port: int, console: Console) -> None:
    """Serve MLflow's pages for the workdir on the loopback interface until a signal arrives.

    Raises:
        InputError: The workdir has no runs yet, or the port is in use.
        RuntimeError: A server ended, or it did not start.
    """
    embedded_stack.require_runs(workdir)
    embedded_stack.require_free(port)

    log = workdir / "mlflow-ui.log"
    with _ended_by_signals(), embedded_stack.embedded_stack(workdir) as environment:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", embedded_stack.LOOPBACK, "--port", str(port)),
            # Without this option, uvicorn imports files of the current folder instead of libraries.
            *("--uvicorn-opts", f"--app-dir={shlex.quote(sysconfig.get_path('purelib'))}"),
            *("--backend-store-uri", environment["MLFLOW_TRACKING_URI"]),
            *("--default-artifact-root", embedded_stack.MLFLOW_ARTIFACTS, "--no-serve-artifacts"),
        ]
        with embedded_stack.guarded(command, log, environment) as server:
            embedded_stack.wait_for_port(port, server, log)
            console.print(f"MLflow: http://{embedded_stack.LOOPBACK}:{port} (Ctrl-C ends it)", highlight=False)
            server.wait()
            raise RuntimeError(f"MLflow's server ended with exit status {server.returncode}; the log is {log}")
