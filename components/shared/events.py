"""Write a step's log and its progress events.

A step writes events as JSON lines to the file that the environment variable CRACK_EVENTS names. A local run reads this
file to show the progress. On a cluster, there is no such file, and people read the log.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger("crack")

SECONDS_BETWEEN_SIGNS_OF_LIFE = 20

_current_step = ""
_last_progress = ""


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
    global _last_progress
    _last_progress = f"{done} of {total} {note}".rstrip()
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


@contextmanager
def signs_of_life() -> Iterator[None]:
    """Report again and again that the step's process is alive, until the `with` block ends.

    The time between two reports is SECONDS_BETWEEN_SIGNS_OF_LIFE.

    A local run shows each report on the screen. On a cluster, the log contains each report, with the last progress.
    """
    started = time.monotonic()
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(SECONDS_BETWEEN_SIGNS_OF_LIFE):
            seconds = time.monotonic() - started
            log.info("still running, %.0f s%s", seconds, _last_progress and f", {_last_progress}")
            emit("running", seconds=round(seconds, 3))

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def join_step(name: str) -> None:
    """Write a step's name into all later events, and start the log.

    If a step trains in several processes, each process calls this function.
    """
    global _current_step, _last_progress
    _current_step = name
    _last_progress = ""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
