"""Run a step's work, report its progress, and store the cause of a failure.

KFP tells the exit handler that a step failed, but not why. So a failing step writes its name and its error message to
`runs/<job>/errors/` in the store, and the `notify` step reads them there.
"""

import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from components.shared.errors import InputError
from components.shared.events import emit, join_step, log, signs_of_life
from components.shared.processors import limit_threads
from components.shared.services.records import write_record
from components.shared.services.s3_failures import s3_errors_explained
from components.shared.services.store import Store


@contextmanager
def step(name: str, job: str, store: str) -> Iterator[None]:
    """Report a step's start, signs of life, end and failure.

    If the step fails, store the cause and raise the error again.

    Before the step starts, the number of its threads is limited to the number of processors that the pod may use.

    Args:
        name: The step's display name, such as "train cnn".
        job: The pipeline job's id.
        store: The storage root, `s3://BUCKET/PREFIX`.
    """
    limit_threads()
    join_step(name)
    started = time.perf_counter()
    emit("started")

    try:
        with signs_of_life(), s3_errors_explained():
            yield
    except BaseException as error:
        cause = _cause_of(error)
        emit("failed", **cause, traceback=traceback.format_exc())
        _store_cause(name, cause, job, store)
        raise

    _delete_cause(name, job, store)
    emit("done", seconds=round(time.perf_counter() - started, 3))


def _cause_of(error: BaseException) -> dict[str, str]:
    """Return the kind, type and message of an error. Only an `InputError` keeps a message of several lines."""
    message = str(error)
    if isinstance(error, InputError):
        return {"kind": "input", "type": type(error).__name__, "message": message}

    lines = message.strip().splitlines()
    first_line = lines[0] if lines else ""
    return {"kind": "crash", "type": type(error).__name__, "message": first_line or type(error).__name__}


def _cause_key(name: str, job: str) -> str:
    return f"runs/{job}/errors/{re.sub('[^a-z0-9]+', '-', name.lower())}.json"


def _delete_cause(name: str, job: str, store: str) -> None:
    """Delete the error that an earlier attempt of this step stored. KFP repeats steps that fail."""
    try:
        Store(store).delete([_cause_key(name, job)])
    except Exception as error:  # the step itself has succeeded
        log.warning("the stored error of an earlier attempt of this step could not be deleted: %s", error)


def _store_cause(name: str, cause: dict[str, str], job: str, store: str) -> None:
    try:
        write_record(Store(store), _cause_key(name, job), {"step": name, **cause})
    except Exception as error:  # the user must see the step's own error, not this one
        log.warning("the error of this step could not be written to the store: %s", error)
