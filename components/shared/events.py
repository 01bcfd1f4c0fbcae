"""A step's log and its progress events.

A step writes events as JSON lines to the file named by CRACK_EVENTS. The local run draws its progress from that file.
"""

import json
import logging
import os
import time
from typing import Any

log = logging.getLogger("crack")

_current_step = ""


def emit(event: str, **fields: Any) -> None:
    """Append one event to the file named by CRACK_EVENTS, if set; a write is one line, so steps may share it."""
    path = os.environ.get("CRACK_EVENTS")
    if path:
        line = json.dumps({"event": event, "step": _current_step, "time": time.time(), **fields})
        with open(path, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def progress(done: int, total: int, note: str = "") -> None:
    """Report that `done` of `total` units of the running step's work are finished."""
    emit("progress", done=done, total=total, note=note)


def metric(name: str, value: float) -> None:
    """Report a number worth a person's glance while the step runs."""
    emit("metric", name=name, value=float(value))


def warn(message: str) -> None:
    """Tell the run's user of something that did not stop it; a local run repeats it at its end."""
    log.warning("%s", message)
    emit("warning", message=message)


def join_step(name: str) -> None:
    """Log and emit events in a step's name; for the processes that a step starts."""
    global _current_step
    _current_step = name
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
