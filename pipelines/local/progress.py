"""What a run's steps report of themselves, as a timeline and on the screen.

Steps append events as JSON lines to one file (`components/shared/step.py`); steps of a local run follow one another.
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
QUIET = 20  # seconds without a line before a running step is mentioned again, where there is no live table


@dataclass
class Step:
    """One step of the run.

    Attributes:
        name: As people name it, such as "train cnn".
        started: Unix time of its "started" event, in seconds.
        overhead: Seconds from the end of the step before to its start: orchestration and imports.
        state: running, done or failed.
        work: Seconds from its start to its end; None while it runs.
        done: Units of work finished, of `total`; both 0 where the step tells none.
        total: Units of work in all.
        note: The last thing it said.
        failure: The fields of its "failed" event: kind, type, message, traceback.
    """

    name: str
    started: float
    overhead: float
    state: str = "running"
    work: float | None = None
    done: int = 0
    total: int = 0
    note: str = ""
    failure: dict[str, str] | None = None


class Timeline:
    """The run's steps in their order, from their events."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.steps: dict[str, Step] = {}
        self.warnings: list[str] = []
        self._last_end = started

    def apply(self, event: dict[str, Any]) -> Step | None:
        """Take in one event; return its step, None for an event of no known step."""
        name, at = event["step"], event["time"]
        if event["event"] == "started":
            self.steps[name] = Step(name, at, at - self._last_end)
        step = self.steps.get(name)
        if step is None:
            return None
        if event["event"] == "progress":
            step.done, step.total, step.note = event["done"], event["total"], event["note"] or step.note
        elif event["event"] == "warning":
            self.warnings.append(f"{name}: {event['message']}")
        elif event["event"] == "metric":
            step.note = f"{event['name']} {event['value']:.4g}"
        elif event["event"] in ("done", "failed"):
            step.state, step.work = event["event"], at - step.started
            self._last_end = at
        if event["event"] == "failed":
            step.failure = {key: event[key] for key in ("kind", "type", "message", "traceback")}
        return step

    def seconds(self) -> dict[str, dict[str, float]]:
        """Return each finished step's own work and the overhead before it, in seconds."""
        return {
            step.name: {"work": round(step.work, 2), "overhead": round(step.overhead, 2)}
            for step in self.steps.values()
            if step.work is not None
        }

    def unfinished(self) -> Step | None:
        """Return the first step that failed or, where none says so, that ended without a word."""
        for state in ("failed", "running"):
            for step in self.steps.values():
                if step.state == state:
                    return step
        return None


class EventFile:
    """Reads what was appended to the file since the last look."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 (closed by close)
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        """Return the events whose lines are complete."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        return [json.loads(line) for line in lines if line]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Display(Protocol):
    """Shows a timeline while it grows."""

    def __enter__(self) -> "Display": ...

    def __exit__(self, *error: Any) -> None: ...

    def show(self, timeline: Timeline, changed: Step | None) -> None:
        """Show the timeline, after an event of the `changed` step or (None) as time passes."""


def display(console: Console) -> Display:
    """Return a live table for a terminal, lines for anything else."""
    return LiveTable(console) if console.is_terminal else PlainLines(console)


class PlainLines:
    """One line when a step starts, one when it ends, and now and then one on how far it is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, str] = {}
        self._last = 0.0

    def __enter__(self) -> "PlainLines":
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def show(self, timeline: Timeline, changed: Step | None) -> None:
        """Print the changed step's state where it is new, its progress where nothing was said for a while."""
        if changed is None:
            return
        now = time.time()
        line = f"{_clock(now - timeline.started)}  {changed.name}: {changed.state}"
        if self._said.get(changed.name) != changed.state:
            line += f" in {changed.work:.1f} s" if changed.work is not None else ""
        elif changed.total and now - self._last > QUIET:
            line += f", {changed.done} of {changed.total} {changed.note}".rstrip()
        else:
            return
        self._said[changed.name], self._last = changed.state, now
        self._console.print(line, highlight=False, markup=False)


class LiveTable:
    """A table of the steps so far, with a bar for the running one."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, vertical_overflow="visible")

    def __enter__(self) -> "LiveTable":
        self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)

    def show(self, timeline: Timeline, changed: Step | None) -> None:
        """Draw the table anew."""
        now = time.time()
        table = Table(box=None, caption=f"{_clock(now - timeline.started)} elapsed", caption_justify="left")
        for name, justify in (("", "left"), ("step", "left"), ("seconds", "right"), ("", "left"), ("", "left")):
            table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for step in timeline.steps.values():
            spent = step.work if step.work is not None else now - step.started
            bar = ProgressBar(step.total, step.done, width=24) if step.state == "running" and step.total else ""
            table.add_row(MARKS[step.state], step.name, f"{spent:.1f}", bar, step.note if bar else "")
        self._live.update(table)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:d}:{int(seconds) % 60:02d}"
