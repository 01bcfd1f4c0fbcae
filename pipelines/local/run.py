"""A run of the graph on this machine: the embedded stack, the graph in a process of its own, its progress, its results.

Under the workdir: `s3/` and `mlflow.db` (the embedded stack), `cache/`, and one folder per run in `runs/`. At its top,
`run.log`, `report.html` and `summary.json` are links to the latest run's.
"""

import contextlib
import json
import signal
import sys
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

LOG = "run.log"
PARAMS = "params.json"  # in the run's folder: the checked parameters, read by pipelines/local/graph_process.py
ARTIFACTS = "artifacts"  # in the run's folder: KFP's pipeline root
GRAPH = [sys.executable, "-m", "pipelines.local.graph_process"]
TRAINING_GRAPH, DRIFT_CHECK_GRAPH = [*GRAPH, "crack-training"], [*GRAPH, "crack-drift-check"]
POLL = 0.1  # seconds


class RunError(RuntimeError):
    """A step or the run itself broke down; the message gives the cause in one line and the log's path."""


@dataclass(frozen=True)
class Results:
    """Where a graph leaves its results, and what they are called in the run's folder and at the workdir's top.

    Attributes:
        step: The step whose artifacts `page` and `summary` they are.
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
    """What a successful run leaves.

    Attributes:
        folder: `workdir/runs/…`, with the results, params.json, events.jsonl, run.log and artifacts/.
        summary: The content of the summary.
    """

    folder: Path
    summary: dict[str, Any]


def run_locally(
    workdir: Path, experiment: str, params: str, graph: list[str], console: Console, results: Results = TRAINING
) -> FinishedRun:
    """Run the graph to its end on the embedded stack; whatever was started has ended when this returns or raises.

    Args:
        workdir: Folder that keeps everything, made where it is missing.
        experiment: MLflow experiment, created with its artifacts in the workdir's S3 storage.
        params: The run's parameters as JSON, put into the run's folder for the graph's process.
        graph: Command that runs the graph, to be given the run's folder as its last argument.
        console: Where progress is drawn.
        results: What the graph leaves.

    Raises:
        InputError: The workdir is in use, or a step refused what it was given.
        RunError: A step or the graph's process failed otherwise.
        SystemExit: SIGTERM or SIGHUP came.
    """
    started = time.time()
    with _ended_by_signals(), embedded_stack.locked(workdir), embedded_stack.embedded_stack(workdir) as environment:
        folder = _new_run_folder(workdir)
        (folder / PARAMS).write_text(params, encoding="utf-8")
        for name in (LOG, results.page, results.summary):
            (workdir / name).unlink(missing_ok=True)
        _link_latest(workdir, folder, LOG)
        embedded_stack.prepare_mlflow(workdir, experiment)
        # short, because sockets are made in it, and gone with the run: KFP leaves a folder there for every task
        with scratch_folder() as temporary:
            settings = environment | {"CRACK_EVENTS": str(folder / "events.jsonl"), "TMPDIR": str(temporary)}
            timeline = _run_graph([*graph, str(folder)], folder, settings, Timeline(started), console)
        summary = _publish(folder, timeline, results)
        _link_latest(workdir, folder, results.page, results.summary)
        return FinishedRun(folder, summary)


def _run_graph(
    command: list[str], folder: Path, environment: dict[str, str], timeline: Timeline, console: Console
) -> Timeline:
    log = folder / LOG
    with (
        contextlib.closing(EventFile(folder / "events.jsonl")) as events,
        embedded_stack.guarded(command, log, environment) as process,
        display(console) as screen,
    ):
        running = True
        while running:
            running = process.poll() is None  # asked first, so that the last look comes after the last event
            for event in events.read():
                screen.show(timeline, timeline.apply(event))
            screen.show(timeline, None)
            if running:
                time.sleep(POLL)
    if process.returncode:
        raise _failure(timeline, log, process.returncode)
    return timeline


def _failure(timeline: Timeline, log: Path, status: int) -> Exception:
    step = timeline.unfinished()
    if step is None:
        return RunError(f"{_last_line(log)} (exit status {status}); the log is {log}")
    if step.failure is None:
        return RunError(f'step "{step.name}" ended without a word, as when memory runs out; the log is {log}')
    cause = step.failure
    error: Exception
    if cause["kind"] == "input":
        error = InputError(f'step "{step.name}": {cause["message"]}')
    else:
        error = RunError(f'step "{step.name}": {cause["type"]}: {cause["message"]}; the log is {log}')
    error.add_note(cause["traceback"])
    return error


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "the graph's process ended without a word")


def _new_run_folder(workdir: Path) -> Path:
    runs = workdir.resolve() / "runs"
    runs.mkdir(exist_ok=True)
    folder = runs / time.strftime("%Y-%m-%dT%H-%M-%S")
    while folder.exists():  # a run that failed within the second
        folder = folder.with_name(folder.name + "-1")
    folder.mkdir()
    return folder


def _link_latest(workdir: Path, folder: Path, *names: str) -> None:
    for name in names:
        (workdir / name).symlink_to(Path("runs") / folder.name / name)


def _publish(folder: Path, timeline: Timeline, results: Results) -> dict[str, Any]:
    """Put the results at the top of the run's folder, with the times that only the run knows."""
    page, summary_file = (_artifact(folder, results.step, output) for output in ("page", "summary"))
    summary = json.loads(summary_file.read_text(encoding="utf-8"))
    summary["seconds"] = timeline.seconds()
    summary["warnings"] = timeline.warnings
    summary["seconds_total"] = round(time.time() - timeline.started, 2)
    (folder / results.page).write_bytes(page.read_bytes())
    (folder / results.summary).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _artifact(folder: Path, step: str, output: str) -> Path:
    found = list((folder / ARTIFACTS).glob(f"*/{step}/{output}"))
    if len(found) != 1:
        raise RunError(f"the graph ended well, but its step {step} left no {output}; the log is {folder / LOG}")
    return found[0]


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the run in order, as Ctrl-C does."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    # a signal that is ignored, as SIGHUP is under nohup, stays ignored
    caught = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def serve_mlflow_ui(workdir: Path, port: int, console: Console) -> None:
    """Serve MLflow's pages for the workdir on the loopback interface until a signal comes.

    Raises:
        InputError: The workdir holds no runs yet, or the port is taken.
        RuntimeError: A server did not start or ended.
    """
    if not (workdir / "mlflow.db").exists():
        raise InputError(f"workdir {workdir} holds no runs; `make run` or `crack-pipeline run-local` makes some")
    embedded_stack.require_free(port)
    log = workdir / "mlflow-ui.log"
    with _ended_by_signals(), embedded_stack.embedded_stack(workdir) as environment:
        where = ["--host", embedded_stack.LOOPBACK, "--port", str(port), "--workers", "1"]
        storage = ["--backend-store-uri", environment["MLFLOW_TRACKING_URI"], "--no-serve-artifacts"]
        artifacts = ["--default-artifact-root", embedded_stack.MLFLOW_ARTIFACTS]
        command = [sys.executable, "-m", "mlflow", "server", *where, *storage, *artifacts]
        with embedded_stack.guarded(command, log, environment) as server:
            embedded_stack.wait_for_port(port, server, log)
            console.print(f"MLflow: http://{embedded_stack.LOOPBACK}:{port} (Ctrl-C ends it)", highlight=False)
            server.wait()
            raise RuntimeError(f"MLflow's server ended with exit status {server.returncode}; the log is {log}")
