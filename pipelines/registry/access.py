"""Connect to the model registry of local runs, or of the MLflow server that MLFLOW_TRACKING_URI names."""

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

WITHOUT_PROGRESS_BARS = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# By default, MLflow's client tries for minutes to reach a server that does not answer.
SHORT_WAIT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


@contextlib.contextmanager
def reached(workdir: Path | None, artifacts: bool = False) -> Iterator[MlflowClient]:
    """Connect to the registry of a workdir, or of the MLflow server that MLFLOW_TRACKING_URI names.

    Args:
        workdir: Folder of local runs. None means the MLflow server.
        artifacts: True also serves the S3 storage of the workdir, which contains models and pages.

    Raises:
        InputError: The workdir has no runs. Or no workdir is given and MLFLOW_TRACKING_URI is not set. Or the server
            does not answer, or it does not allow this user to do what the `with` block does.
    """
    with contextlib.ExitStack() as stack:
        if workdir is not None:
            if not (workdir / "mlflow.db").exists():
                raise InputError(
                    f"workdir {workdir} has no runs; start one with `make run` or `crack-pipeline run-local`"
                )
            settings = {"MLFLOW_TRACKING_URI": tracking_uri(workdir)}
            if artifacts:
                settings = stack.enter_context(embedded_stack(workdir))
            stack.enter_context(_environment(settings))
        elif not os.environ.get("MLFLOW_TRACKING_URI"):
            raise InputError(
                "no model registry is given; give the --workdir of local runs, or set MLFLOW_TRACKING_URI to the "
                "MLflow server"
            )

        stack.enter_context(_environment(WITHOUT_PROGRESS_BARS))
        require_answer(mlflow_runs.client())
        stack.enter_context(_explaining_refusals())
        yield mlflow_runs.client()


def require_answer(client: MlflowClient) -> None:
    """Raise InputError, after a short wait, if a server does not answer or does not accept this user."""
    wait = {name: value for name, value in SHORT_WAIT.items() if name not in os.environ}
    with _environment(wait):
        try:
            client.search_registered_models(max_results=1)
        except MlflowException as error:
            message = f"the MLflow server at {client.tracking_uri} cannot be used: {_first_cause(error)}"
            raise InputError(
                f"{without_password(message)}; check MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME, "
                "MLFLOW_TRACKING_PASSWORD and the server's allowed hosts"
            ) from error


def _first_cause(error: BaseException) -> BaseException:
    """Return the first cause of an error. If requests or urllib3 raise it, the cause is from the operating system."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


@contextlib.contextmanager
def _explaining_refusals() -> Iterator[None]:
    """Turn the answer of a server that refuses this user (status 403) into an InputError."""
    try:
        yield
    except MlflowException as error:
        if error.get_http_status_code() != 403:
            raise
        raise InputError(
            f"the MLflow server does not allow this user to do that: {error}; ask its administrator for the right"
        ) from error


def without_password(text: str) -> str:
    """Return the text, but without the user names and passwords in its addresses."""
    return re.sub(r"//[^/@\s]*@", "//", text)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables inside the `with` block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
