"""The frame around a step's work.

KFP tells an exit handler nothing of a failure but its existence, so a failing step leaves its name and message under
`runs/<job>/errors/` in the store, where `notify` reads them.
"""

import json
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from components.shared.errors import InputError
from components.shared.events import emit, join_step, log
from components.shared.services.store import Store


@contextmanager
def step(name: str, job: str, store: str) -> Iterator[None]:
    """Frame a step: log and emit its start, end and failure; keep a failure's cause in the store, then raise it on.

    Args:
        name: Step as people name it, such as "train cnn".
        job: The pipeline job's id.
        store: The storage root, `s3://BUCKET/PREFIX`.
    """
    join_step(name)
    started = time.perf_counter()
    emit("started")
    try:
        yield
    except BaseException as error:
        cause = {
            "step": name,
            "kind": "input" if isinstance(error, InputError) else "crash",
            "type": type(error).__name__,
            "message": _first_line(error) if not isinstance(error, InputError) else str(error),
        }
        emit(
            "failed", **{key: value for key, value in cause.items() if key != "step"}, traceback=traceback.format_exc()
        )
        _keep_failure(cause, job, store)
        raise
    _forget_failure(name, job, store)
    emit("done", seconds=round(time.perf_counter() - started, 3))


def _cause_key(name: str, job: str) -> str:
    return f"runs/{job}/errors/{re.sub('[^a-z0-9]+', '-', name.lower())}.json"


def _forget_failure(name: str, job: str, store: str) -> None:
    """Delete the cause that an earlier attempt of this step left, such as a pod that was preempted."""
    try:
        Store(store).delete([_cause_key(name, job)])
    except Exception as error:  # the step itself has succeeded
        log.warning("could not delete the cause of an earlier attempt: %s", error)


def _keep_failure(cause: dict[str, str], job: str, store: str) -> None:
    try:
        Store(store).put_bytes(_cause_key(cause["step"], job), json.dumps(cause).encode())
    except Exception as error:  # the step's own error is what the user must see
        log.warning("could not store the cause of the failure: %s", error)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
