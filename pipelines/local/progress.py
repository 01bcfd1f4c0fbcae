"""Collect the progress of a run's steps in a timeline, and show it on the screen.

Steps append events as JSON lines to one file (`components/shared/events.py`). In a local run, one step runs at a time.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

MARKS = {"running": "[cyan]…[/]", "done": "[green]✓[/]", "failed": "[red]✗[/]"}


@dataclass
class Step:
    """One step of the run.

    Attributes:
        name: Display name of the step, such as "train cnn".
        started: Unix time of the "started" event, in seconds.
        overhead: Seconds from the end of the previous step to the start of this step: orchestration and imports.
        state: running, done or failed.
        running: Seconds from the start to the last "running" event, the step's sign of life.
        work: Seconds from the start to the end of the step. None while the step runs.
        done: Number of finished units of work. `done` and `total` are 0 if the step reports no progress.
        total: Number of all units of work.
        note: The last note that the step reported.
        failure: The fields of the "failed" event: kind, type, message, traceback. None if there is no such event.
    """

    name: str
    started: float
    overhead: float
    state: str = "running"
    running: float = 0.0
    work: float | None = None
    done: int = 0
    total: int = 0
    note: str = ""
    failure: dict[str, str] | None = None


class Timeline:
    """The steps of a run in the order in which they started, and their messages. They are built from the events.

    Attributes:
        started: Unix time of the start of the run, in seconds.
        steps: Name of each step -> the step.
        information: The messages about how steps understood their input.
        warnings: The warnings.
        messages: Information and warnings together, in the order of arrival. A warning begins with "warning: ".
    """

    def __init__(self, started: float) -> None:
        self.started = started
        self.steps: dict[str, Step] = {}
        self.information: list[str] = []
        self.warnings: list[str] = []
        self.messages: list[str] = []
        self._last_end = started

    def apply(self, event: dict[str, Any]) -> Step | None:
        """Add one event and return its step, or None if the step has not started."""
        name = event["step"]
        kind = event["event"]
        if kind == "started":
            self.steps[name] = Step(name, started=event["time"], overhead=event["time"] - self._last_end)
        step = self.steps.get(name)
        if step is None:
            return None

        if kind == "running":
            step.running = event["seconds"]
        elif kind == "progress":
            step.done = event["done"]
            step.total = event["total"]
            step.note = event["note"] or step.note
        elif kind == "information":
            self.information.append(f"{name}: {event['message']}")
            self.messages.append(self.information[-1])
        elif kind == "warning":
            self.warnings.append(f"{name}: {event['message']}")
            self.messages.append(f"warning: {self.warnings[-1]}")
        elif kind == "metric":
            step.note = f"{event['name']} {event['value']:.4g}"
        elif kind in ("done", "failed"):
            step.state = kind
            step.work = event["time"] - step.started
            self._last_end = event["time"]

        if kind == "failed":
            step.failure = {key: event[key] for key in ("kind", "type", "message", "traceback")}
        return step

    def seconds(self) -> dict[str, dict[str, float]]:
        """Return a dict: name of each finished step -> seconds of its work, and seconds of the overhead before it."""
        seconds = {}
        for step in self.steps.values():
            if step.work is not None:
                seconds[step.name] = {"work": round(step.work, 2), "overhead": round(step.overhead, 2)}
        return seconds

    def unfinished(self) -> Step | None:
        """Return the first step that failed. If no step failed, return the first step that still runs, or None."""
        for state in ("failed", "running"):
            for step in self.steps.values():
                if step.state == state:
                    return step
        return None


class EventFile:
    """A file of events. Each call of `read` returns the events that were appended since the last call."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 (closed by close)
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        """Return the new events. An incomplete last line is kept for the next call."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [json.loads(line) for line in lines if line]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Display(Protocol):
    """An object that shows a timeline while the run adds events."""

    def __enter__(self) -> "Display": ...

    def __exit__(self, *error: Any) -> None: ...

    def show(self, timeline: Timeline, changed: Step | None) -> None:
        """Show the timeline.

        Args:
            timeline: The run's steps so far.
            changed: The step of the newest event. None if there is no new event.
        """


def display(console: Console) -> Display:
    """Return a live table for a terminal, or plain lines if the output is not a terminal."""
    return LiveTable(console) if console.is_terminal else PlainLines(console)


class _Messages:
    """Prints each message of a timeline once, unchanged: without colours, and without breaks in long lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = 0

    def print_new(self, timeline: Timeline) -> None:
        for message in timeline.messages[self._printed :]:
            self._console.print(message, highlight=False, markup=False, soft_wrap=True)
        self._printed = len(timeline.messages)


class PlainLines:
    """A display that prints plain lines: messages, and the state of the steps.

    A step gets a line when it starts, at each sign of life, and when it ends.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._messages = _Messages(console)
        self._printed: dict[str, tuple[str, float]] = {}

    def __enter__(self) -> "PlainLines":
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def show(self, timeline: Timeline, changed: Step | None) -> None:
        """Print new messages. Print a line if the step has a new state or has given a new sign of life."""
        self._messages.print_new(timeline)
        if changed is None or self._printed.get(changed.name) == (changed.state, changed.running):
            return

        line = f"{_clock(time.time() - timeline.started)}  {changed.name}: "
        if changed.work is not None:
            line += f"{changed.state} in {changed.work:.1f} s"
        elif not changed.running:
            line += changed.state
        else:
            line += f"still running, {changed.running:.0f} s"
            if changed.total:
                line += f", {changed.done} of {changed.total} {changed.note}".rstrip()

        self._printed[changed.name] = (changed.state, changed.running)
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class LiveTable:
    """A display with a table of the steps so far, and a bar for the running step. Messages appear above the table."""

    def __init__(self, console: Console) -> None:
        self._messages = _Messages(console)
        self._live = Live(console=console, refresh_per_second=4, vertical_overflow="visible")

    def __enter__(self) -> "LiveTable":
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def show(self, timeline: Timeline, changed: Step | None) -> None:
        """Print new messages, and draw the table again."""
        self._messages.print_new(timeline)
        now = time.time()
        table = Table(box=None, caption=f"{_clock(now - timeline.started)} elapsed", caption_justify="left")
        table.add_column("", no_wrap=True)
        table.add_column("step", no_wrap=True)
        table.add_column("seconds", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)  # progress bar
        table.add_column("", no_wrap=True)  # note

        for step in timeline.steps.values():
            seconds = step.work if step.work is not None else now - step.started
            row = [MARKS[step.state], step.name, f"{seconds:.1f}"]
            if step.state == "running" and step.total:
                table.add_row(*row, ProgressBar(step.total, step.done, width=24), step.note)
            else:
                table.add_row(*row)
        self._live.update(table)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:d}:{int(seconds) % 60:02d}"
