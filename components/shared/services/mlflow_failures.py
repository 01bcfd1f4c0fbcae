"""Explain to the user why a request to MLflow failed. MLflow is a server or a local SQLite file."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from components.shared.errors import InputError
from components.shared.events import log

# If a server does not answer, MLflow's client tries again for minutes by default.
SHORT_WAIT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
# A server on a busy node can need longer than SHORT_WAIT. No person waits for a step, so a step can wait longer.
STEP_PATIENCE_SECONDS = 180.0
SECONDS_BETWEEN_TRIES = 5.0
SQLITE_IS_LOCKED = "database is locked"


def require_answer(client: MlflowClient, patience: float = 0.0) -> None:
    """Raise InputError if a server does not answer or does not accept this user.

    Args:
        client: The client of the server.
        patience: If the connection fails, we try again for this number of seconds. If the server refuses this user, we
            do not try again.
    """
    wait = {name: value for name, value in SHORT_WAIT.items() if name not in os.environ}
    deadline = time.monotonic() + patience
    with environment(wait):
        while True:
            try:
                client.search_registered_models(max_results=1)
                return
            except MlflowException as error:
                explanation = _explanation(error, client.tracking_uri)
                if time.monotonic() > deadline or not isinstance(_first_cause(error), OSError):
                    raise explanation from error
                log.warning("%s. Trying again", explanation)
                time.sleep(SECONDS_BETWEEN_TRIES)


@contextmanager
def explained(tracking_uri: str) -> Iterator[None]:
    """Turn the errors of a failed connection and of a locked SQLite file into `InputError`."""
    try:
        yield
    except MlflowException as error:
        connection_failed = isinstance(_first_cause(error), OSError)
        if connection_failed or SQLITE_IS_LOCKED in str(error):
            raise _explanation(error, tracking_uri) from error
        raise


def require_active(experiment: Experiment, tracking_uri: str) -> None:
    """Raise InputError if an experiment was deleted. MLflow still finds the experiment, but refuses new runs in it."""
    if experiment.lifecycle_stage == "deleted":
        raise InputError(
            f"the MLflow experiment {experiment.name!r} was deleted; restore it with `MLFLOW_TRACKING_URI="
            f"{without_password(tracking_uri)} mlflow experiments restore --experiment-id {experiment.experiment_id}`, "
            "or name another experiment with the parameter `experiment`"
        )


def _explanation(error: MlflowException, tracking_uri: str) -> InputError:
    if SQLITE_IS_LOCKED in str(error):
        return InputError(
            f"the MLflow store {tracking_uri} is locked by another process; wait until that process ends, or end it, "
            "and run the command again"
        )
    message = f"the MLflow server at {tracking_uri} cannot be used: {_first_cause(error)}"
    return InputError(
        f"{without_password(message)}; check MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, and the server's allowed hosts"
    )


def _first_cause(error: BaseException) -> BaseException:
    """Return the first error in the chain of causes, such as the system error behind an error of a library."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def without_password(text: str) -> str:
    """Return a text without user names and passwords in its addresses."""
    return re.sub(r"//[^/@\s]*@", "//", text)


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables inside the block. Afterwards, restore the environment."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
