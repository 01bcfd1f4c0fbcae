"""Write a step's log and its progress events.

A step writes events as JSON lines to the file that the environment variable CRACK_EVENTS names. A local run reads this
file to show the progress.
"""

import json
import logging
import os
import time
from typing import Any

log = logging.getLogger("crack")

_current_step = ""


def emit(event: str, **fields: Any) -> None:
    """Append one event to the file that CRACK_EVENTS names. If the variable is not set, do nothing.

    Each event is one line, and each line is written in one call. So several steps can write to the same file.
    """
    path = os.environ.get("CRACK_EVENTS")
    if not path:
        return

    line = json.dumps({"event": event, "step": _current_step, "time": time.time(), **fields})
    with open(path, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def progress(done: int, total: int, note: str = "") -> None:
    """Report that the running step has finished `done` of `total` units of work."""
    emit("progress", done=done, total=total, note=note)


def metric(name: str, value: float) -> None:
    """Report a number to the people who watch the step."""
    emit("metric", name=name, value=float(value))


def warn(message: str) -> None:
    """Warn the user about a problem that does not stop the run. A local run also shows the warning on the screen."""
    log.warning("%s", message)
    emit("warning", message=message)


def inform(message: str) -> None:
    """Tell the user how a step understood its input. A local run also shows the message on the screen."""
    log.info("%s", message)
    emit("information", message=message)


def in_step() -> bool:
    """Return True if this process runs a step. Return False if it runs a user's command."""
    return bool(_current_step)


def join_step(name: str) -> None:
    """Write a step's name into all later events, and start the log. A process that a step starts also calls this."""
    global _current_step
    _current_step = name
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
