"""The way to a registry: that of a local run's workdir, or that of the MLflow server named by MLFLOW_TRACKING_URI."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from components.shared.errors import InputError
from components.shared.services import mlflow_runs
from pipelines.local.embedded_stack import embedded_stack, tracking_uri

QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # else it tries for minutes


@contextlib.contextmanager
def reached(workdir: Path | None, artifacts: bool = False) -> Iterator[MlflowClient]:
    """Reach a registry: that of a local run's workdir, else that of MLFLOW_TRACKING_URI.

    Args:
        workdir: Folder of local runs, or None.
        artifacts: Serve the workdir's S3 storage too, for models and pages.

    Raises:
        InputError: The workdir holds no runs; none is given and MLFLOW_TRACKING_URI is not set; or the server named by
            it does not answer, or does not permit this user what the block asks.
    """
    with contextlib.ExitStack() as stack:
        if workdir is not None:
            if not (workdir / "mlflow.db").exists():
                raise InputError(
                    f"workdir {workdir} holds no runs; `make run` or `crack-pipeline run-local` makes some"
                )
            settings = {"MLFLOW_TRACKING_URI": tracking_uri(workdir)}
            stack.enter_context(_set(stack.enter_context(embedded_stack(workdir)) if artifacts else settings))
        elif not os.environ.get("MLFLOW_TRACKING_URI"):
            raise InputError(
                "no registry is named: give --workdir of a local run, or set MLFLOW_TRACKING_URI to the MLflow server"
            )
        stack.enter_context(_set(QUIET))
        require_answer(mlflow_runs.client())
        stack.enter_context(_permitted())
        yield mlflow_runs.client()


def require_answer(client: MlflowClient) -> None:
    """Raise InputError, soon, where a server does not answer, or not to this user."""
    with _set({name: value for name, value in IMPATIENT.items() if name not in os.environ}):
        try:
            client.search_registered_models(max_results=1)
        except MlflowException as error:
            cause: BaseException = error
            while inner := cause.__cause__ or cause.__context__:  # requests wraps urllib3's words around the system's
                cause = inner
            told = f"the MLflow server at {client.tracking_uri} cannot be used: {cause}"
            raise InputError(
                f"{without_password(told)}; check MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and _PASSWORD, and the "
                "server's allowed hosts"
            ) from error


@contextlib.contextmanager
def _permitted() -> Iterator[None]:
    """Say of what a server refuses to this user that it is theirs to mend."""
    try:
        yield
    except MlflowException as error:
        if error.get_http_status_code() != 403:
            raise
        raise InputError(
            f"the MLflow server does not permit this: {error}; ask its administrator for the right"
        ) from error


def without_password(text: str) -> str:
    """The text with no user and password in its addresses."""
    return re.sub(r"//[^/@\s]*@", "//", text)


@contextlib.contextmanager
def _set(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables inside the block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
