"""Check that MLflow can be used: it must answer, store special characters, and store artifacts."""

import os
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.artifacts import load_text
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from components.shared.errors import InputError
from components.shared.services import mlflow_runs
from components.shared.services.mlflow_failures import SHORT_WAIT, environment, require_answer
from pipelines.cluster.kubernetes_view import WarnedError

# The gate step writes this character into a tag. A database without UTF-8 refuses it.
DIFFICULT_TAG = "✗"
ARTIFACT = "doctor.txt"


def check_mlflow(model: str, experiment: str) -> str:
    """Check that MLflow answers and stores special characters and artifacts. Return the registered model's aliases.

    Raises:
        InputError: MLflow cannot be used.
        WarnedError: MLflow can be used, but this account cannot delete artifacts.
    """
    client = mlflow_runs.client()
    require_answer(client)
    with _short_wait(), _run_for_trying(client, experiment) as run:
        _check_tag(client, run)
        _check_artifact(client, run)

    found = client.search_registered_models(f"name = '{model}'")
    if not found:
        return f'it answers; no model "{model}" yet: the first run that passes the gate registers it'

    aliases = found[0].aliases
    named = ", ".join(f"{alias} is version {version}" for alias, version in sorted(aliases.items()))
    return f'it answers; "{model}": {named or "no alias yet"}'


@contextmanager
def _short_wait() -> Iterator[None]:
    """Inside the block, MLflow's client gives up after seconds and not after minutes."""
    with environment({name: value for name, value in SHORT_WAIT.items() if name not in os.environ}):
        yield


@contextmanager
def _run_for_trying(client: MlflowClient, experiment: str) -> Iterator[str]:
    """Create a run, yield its id, and delete the run after the block.

    If the pipeline's experiment exists, the run is in this experiment, because an account may have rights only there.
    """
    found = client.get_experiment_by_name(experiment)
    temporary = ""
    try:
        if not found:
            temporary = client.create_experiment(f"doctor-{uuid.uuid4().hex}")
        run = client.create_run(found.experiment_id if found else temporary, tags={"crack.doctor": "made by doctor"})
    except MlflowException as error:
        raise InputError(f"MLflow answers, but this account cannot make a run: {error}; give it more rights") from error

    try:
        try:
            yield run.info.run_id
        finally:
            client.delete_run(run.info.run_id)
    finally:
        if temporary:
            client.delete_experiment(temporary)


def _check_tag(client: MlflowClient, run: str) -> None:
    """Write a tag with a character outside ASCII, and read it back."""
    try:
        client.set_tag(run, "crack.doctor", DIFFICULT_TAG)
        tag = client.get_run(run).data.tags["crack.doctor"]
    except MlflowException as error:
        raise InputError(
            f'MLflow could not store a run with "{DIFFICULT_TAG}" in a tag: {error}; check the account\'s rights, and '
            "that MLflow's database has the encoding UTF8 (PostgreSQL: CREATE DATABASE … ENCODING 'UTF8')"
        ) from error
    if tag != DIFFICULT_TAG:
        raise InputError(f'MLflow stored "{DIFFICULT_TAG}" in a tag as "{tag}"; give its database the encoding UTF8')


def _check_artifact(client: MlflowClient, run: str) -> None:
    """Write an artifact, read it back and delete it. Steps write models and pages in the same way."""
    place = client.get_run(run).info.artifact_uri
    content = secrets.token_hex(16)
    advice = (
        "check the free disk space and the logs of the MLflow server and of its S3 server, and check the rights of the "
        "MLflow server's S3 key"
    )
    try:
        client.log_text(run, content, ARTIFACT)
        back = load_text(f"{place}/{ARTIFACT}")
    except Exception as error:  # from MLflow, its HTTP library, S3's client or the operating system
        raise InputError(
            f"MLflow answers, but its artifact store {place} cannot be written and read: {error}; {advice}"
        ) from error
    if back != content:
        raise InputError(f"MLflow's artifact store {place} returned other bytes than we wrote; {advice}")

    try:
        get_artifact_repository(place).delete_artifacts(ARTIFACT)
    except Exception as error:
        raise WarnedError(
            f"a run works, but MLflow could not delete {place}/{ARTIFACT}: {error}; give this account the right to "
            "delete artifacts"
        ) from error
