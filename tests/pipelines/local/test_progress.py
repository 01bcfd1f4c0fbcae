"""A run's timeline from its events: times of work and overhead, failed steps, and lines that are not complete yet."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.local.progress import EventFile, LiveTable, PlainLines, Timeline


def event(name: str, step: str, time: float, **fields) -> dict:
    return {"event": name, "step": step, "time": time, **fields}


FAILURE = {"kind": "crash", "type": "OSError", "message": "disk full", "traceback": "…"}


def timeline_of(*events: dict, started: float = 100.0) -> Timeline:
    timeline = Timeline(started)
    for each in events:
        timeline.apply(each)
    return timeline


def test_work_and_overhead_are_told_apart() -> None:
    timeline = timeline_of(
        event("started", "ingest", 104),
        event("done", "ingest", 110),
        event("started", "train cnn", 117.5),
        event("done", "train cnn", 147.5),
        event("started", "evaluate cnn", 150),
    )
    assert timeline.seconds() == {
        "ingest": {"work": 6, "overhead": 4},
        "train cnn": {"work": 30, "overhead": 7.5},
    }


def test_the_cause_is_the_first_failure_that_nobody_made_good() -> None:
    timeline = timeline_of(
        event("started", "ingest", 101),
        event("failed", "ingest", 102, **FAILURE),
        event("started", "ingest", 103),
        event("done", "ingest", 104),
        event("started", "train", 105),
        event("failed", "train", 106, **{**FAILURE, "message": "the cause"}),
        event("started", "notify", 107),
        event("failed", "notify", 108, **FAILURE),
    )
    step = timeline.unfinished()
    assert step is not None
    assert step.failure == {**FAILURE, "message": "the cause"}


def test_a_step_that_ended_without_a_word_is_found_and_a_good_run_has_none() -> None:
    silent = timeline_of(event("started", "train", 101)).unfinished()
    assert silent is not None
    assert (silent.name, silent.failure) == ("train", None)
    assert timeline_of(event("started", "a", 101), event("done", "a", 102)).unfinished() is None


def test_a_half_written_line_is_read_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = EventFile(path)
    with path.open("a") as file:
        file.write(json.dumps(event("started", "ingest", 1)) + '\n{"event": "do')
        file.flush()
        assert [each["event"] for each in events.read()] == ["started"]
        assert events.read() == []
        file.write('ne", "step": "ingest", "time": 2}\n')
        file.flush()
        assert [each["event"] for each in events.read()] == ["done"]
    events.close()


@pytest.mark.parametrize("kind", [PlainLines, LiveTable])
def test_the_screen_names_steps_and_states(kind: type) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=kind is LiveTable, width=100)
    timeline = Timeline(0)
    with kind(console) as screen:
        for each in (
            event("started", "ingest", 1),
            event("progress", "ingest", 2, done=1, total=4, note="reading"),
            event("progress", "ingest", 3, done=2, total=4, note="reading"),
            event("information", "ingest", 4, message="walls: the layout is [folders]"),
            event("warning", "ingest", 4, message="walls: 3 files were skipped"),
            event("done", "ingest", 5),
        ):
            screen.show(timeline, timeline.apply(each))
        screen.show(timeline, None)
    shown = text.getvalue()
    assert "ingest" in shown
    assert "4.0" in shown
    for message in ("ingest: walls: the layout is [folders]", "warning: ingest: walls: 3 files were skipped"):
        assert shown.count(message) == 1
    if kind is PlainLines:
        states = [line.partition("  ")[2] for line in shown.splitlines()]
        assert [state for state in states if state] == ["ingest: running", "ingest: done in 4.0 s"]


def test_a_running_step_prints_a_line_at_each_sign_of_life() -> None:
    out = io.StringIO()
    timeline, lines = Timeline(100.0), PlainLines(Console(file=out, width=100))
    for each in (
        event("started", "train cnn", 100),
        event("running", "train cnn", 120, seconds=20),
        event("progress", "train cnn", 130, done=29, total=60, note="steps"),
        event("progress", "train cnn", 131, done=30, total=60, note="steps"),
        event("running", "train cnn", 140, seconds=40),
        event("done", "train cnn", 150),
    ):
        lines.show(timeline, timeline.apply(each))
    assert [line.split("  ")[1] for line in out.getvalue().splitlines()] == [
        "train cnn: running",
        "train cnn: still running, 20 s",
        "train cnn: still running, 40 s, 30 of 60 steps",
        "train cnn: done in 50.0 s",
    ]
