"""Connect to the model registry of local runs, or of the MLflow server that MLFLOW_TRACKING_URI names."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from components.shared.errors import InputError
from components.shared.services import mlflow_runs
from components.shared.services.mlflow_failures import environment, require_answer
from pipelines.local.embedded_stack import embedded_stack, require_runs, tracking_uri

WITHOUT_PROGRESS_BARS = {
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@contextlib.contextmanager
def reached(workdir: Path | None, artifacts: bool = False) -> Iterator[MlflowClient]:
    """Connect to the registry of a workdir, or of the MLflow server that MLFLOW_TRACKING_URI names.

    Args:
        workdir: Folder of local runs. None means the MLflow server.
        artifacts: True: also start the S3 server of the workdir, which has the models and pages.

    Raises:
        InputError: The workdir has no runs, or neither a workdir nor MLFLOW_TRACKING_URI is given. Or the server does
            not answer. Or the `with` block makes a request that the server does not allow this user to make.
    """
    with contextlib.ExitStack() as stack:
        if workdir is not None:
            require_runs(workdir)
            settings = {"MLFLOW_TRACKING_URI": tracking_uri(workdir)}
            if artifacts:
                settings = stack.enter_context(embedded_stack(workdir))
            stack.enter_context(environment(settings))
        elif not os.environ.get("MLFLOW_TRACKING_URI"):
            raise InputError(
                "no model registry is given; give the --workdir of local runs, or set MLFLOW_TRACKING_URI to the "
                "MLflow server"
            )

        stack.enter_context(environment(WITHOUT_PROGRESS_BARS))
        require_answer(mlflow_runs.client())
        stack.enter_context(_explaining_refusals())
        yield mlflow_runs.client()


@contextlib.contextmanager
def _explaining_refusals() -> Iterator[None]:
    """If the server refuses a request of this user (status 403), raise an InputError that says what to do."""
    try:
        yield
    except MlflowException as error:
        if error.get_http_status_code() != 403:
            raise
        raise InputError(
            f"the MLflow server does not allow this user to make the request: {error}; ask the administrator of the "
            "server for the permission"
        ) from error
