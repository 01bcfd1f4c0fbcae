"""Read and write MLflow. A pipeline job has one run, and each candidate has a child run. Tags identify the runs.

The server and its credentials come from MLflow's own environment variables.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from components.shared.errors import InputError
from components.shared.events import in_step
from components.shared.services import mlflow_failures

# Tags of runs and of registered model versions.
JOB = "crack.job"
CANDIDATE = "crack.candidate"
# Tags of registered model versions: the digest of the data set version, the gate's verdict, the result of the infra
# check ("passed", or the problem), the digest of all files (DIGEST), and the digest of the parts that decide the
# model's answers (CONTENT). MLflow writes ids and times into some files. So if a model is registered twice, the two
# versions have different values of DIGEST, but the same CONTENT.
DATASET = "crack.dataset"
VERDICT = "crack.verdict"
CHECKED = "crack.infra_check"
DIGEST = "crack.digest"
CONTENT = "crack.content"
# Tags of runs: the result of the comparison with the champion, the champion's model version, and the run's description.
AGAINST = "gate.champion"
AGAINST_VERSION = "gate.champion_version"
NOTE = MLFLOW_RUN_NOTE
# Aliases of registered model versions.
CHALLENGER = "challenger"
CHAMPION = "champion"
# By default, the server gives MLflow's client links to its S3 storage, and the client exchanges files directly with S3.
# This S3 storage can often be reached only from inside the cluster. So we send all files through the server.
THROUGH_THE_SERVER = {
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}
# MLflow's limits: the characters of a tag or description, the characters of a parameter, and the entries in one call.
LONGEST = 5000
LONGEST_PARAM = 6000
MOST_PER_CALL = {"metrics": 1000, "params": 100, "tags": 100}


def client() -> MlflowClient:
    """Return the client of the server named by MLFLOW_TRACKING_URI.

    Raises:
        InputError: The variable is not set, MLflow cannot use it, or the server does not answer or refuses this user.
            Without the variable, MLflow would write to the working directory. A command gives up after seconds, and a
            step after minutes.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise InputError("MLFLOW_TRACKING_URI is not set; set it to the MLflow server that stores runs and models")
    for name, value in THROUGH_THE_SERVER.items():
        os.environ.setdefault(name, value)
    return _client(uri)


@cache
def _client(uri: str) -> MlflowClient:
    try:
        answering = MlflowClient(uri)
    except UnsupportedModelRegistryStoreURIException as error:
        raise InputError(
            f"MLFLOW_TRACKING_URI is {mlflow_failures.without_password(uri)}, which MLflow cannot use; set it to the "
            "address of an MLflow server, such as https://mlflow.example.com"
        ) from error
    patience = mlflow_failures.STEP_PATIENCE_SECONDS if in_step() else 0.0
    mlflow_failures.require_answer(answering, patience)
    return answering


@contextmanager
def _explained() -> Iterator[None]:
    """Turn errors that a user can fix, such as a server that is down, into `InputError`."""
    with mlflow_failures.explained(os.environ.get("MLFLOW_TRACKING_URI", "")):
        yield


def every(search: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """Call a search method of the client, such as `search_runs`, page by page. Yield the results of all pages."""
    token = None
    while True:
        page = search(*arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


@_explained()
def job_run(experiment: str, job: str) -> str:
    """Return the id of the pipeline job's run. Create the run if it does not exist."""
    return _find_or_create(experiment, {JOB: job, CANDIDATE: ""}, f"crack-training {job[:8]}")


@_explained()
def candidate_run(experiment: str, job: str, candidate: str) -> str:
    """Return the id of a candidate's run, a child of the job's run. Create the run if it does not exist.

    Kubeflow may create an MLflow run for a step and write the run's id to MLFLOW_RUN_ID. If the candidate has no run
    yet, this run becomes the run of the candidate, and keeps the parent that Kubeflow set.
    """
    given = os.environ.get("MLFLOW_RUN_ID")
    tags = {JOB: job, CANDIDATE: candidate}

    if given and not _runs(experiment_id(experiment), tags):
        given_tags = client().get_run(given).data.tags
        belongs_to_candidate = given_tags.get(CANDIDATE, candidate) == candidate
        if belongs_to_candidate:
            parent = given_tags.get(MLFLOW_PARENT_RUN_ID) or job_run(experiment, job)
            set_tags(given, {**tags, MLFLOW_PARENT_RUN_ID: parent})
            return given

    return _find_or_create(experiment, {**tags, MLFLOW_PARENT_RUN_ID: job_run(experiment, job)}, candidate)


def _find_or_create(experiment: str, tags: dict[str, str], name: str) -> str:
    place = experiment_id(experiment)
    existing = _runs(place, tags)
    if existing:
        return existing[0].info.run_id

    created = client().create_run(place, tags={**tags, MLFLOW_RUN_NAME: name}).info.run_id
    oldest = _runs(place, tags)[0].info.run_id
    if oldest != created:
        # Two steps made a run at the same time. All steps use the older run.
        client().delete_run(created)
    return oldest


def _runs(place: str, tags: dict[str, str]) -> list[Run]:
    """Return the runs of an experiment that have this job and this candidate in their tags, the oldest first."""
    query = f"tags.`{JOB}` = '{tags[JOB]}' and tags.`{CANDIDATE}` = '{tags[CANDIDATE]}'"
    runs = client().search_runs([place], query, max_results=10)
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def experiment_id(name: str) -> str:
    """Return the id of an experiment. Create the experiment if it does not exist.

    Raises:
        InputError: The experiment was deleted.
    """
    found = client().get_experiment_by_name(name)
    if found is not None:
        mlflow_failures.require_active(found, client().tracking_uri)
        return found.experiment_id

    try:
        return client().create_experiment(name)
    except MlflowException:
        # Another step may have made the experiment in the meantime.
        found = client().get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


@_explained()
def end_job(experiment: str, job: str, status: str) -> None:
    """End all unfinished MLflow runs of a pipeline job. Each run gets the final status `status`, such as "FAILED"."""
    query = f"tags.`{JOB}` = '{job}' and attributes.status = 'RUNNING'"
    for run in client().search_runs([experiment_id(experiment)], query):
        client().set_terminated(run.info.run_id, status)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested parameters as MLflow's flat parameters: {"a": {"b": 1}} -> {"a.b": "1"}."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)[:LONGEST_PARAM]
    return flat


@_explained()
def log_entries(
    run_id: str,
    metrics: Sequence[Metric] = (),
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
    synchronous: bool = True,
) -> None:
    """Log any number of entries. The caller may log the same entries again.

    Args:
        run_id: Id of the run.
        metrics: Metrics, each with its step and time.
        params: Parameters. The value of a parameter must not change.
        tags: Tags. The value of a tag may change.
        synchronous: If it is false, the function returns immediately, and a thread logs the entries.
    """
    for kind, entries in (("metrics", metrics), ("params", params), ("tags", tags)):
        most = MOST_PER_CALL[kind]
        for start in range(0, len(entries), most):
            batch: dict[str, Any] = {kind: entries[start : start + most]}
            client().log_batch(run_id, **batch, synchronous=synchronous)


def log_params(run_id: str, values: Mapping[str, Any]) -> None:
    """Log nested parameters as MLflow's flat parameters (see `flatten`)."""
    log_entries(run_id, params=[Param(key, value) for key, value in flatten(values).items()])


def set_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set a run's tags."""
    log_entries(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def log_values(run_id: str, values: Mapping[str, float]) -> None:
    """Log metrics that have one value each, with step 0 and the current time."""
    now_in_milliseconds = int(time.time() * 1000)
    log_entries(run_id, metrics=[Metric(key, value, now_in_milliseconds, 0) for key, value in values.items()])


def log_history(run_id: str, history: list[dict[str, float]], synchronous: bool = True) -> None:
    """Log metrics that have a value at each of many steps, such as the loss of every epoch.

    Args:
        run_id: Id of the run.
        history: Each entry contains "step", "time" (seconds since 1970) and the metrics at this step.
        synchronous: If it is false, the function returns immediately, and a thread logs the entries.
    """
    metrics = []
    for entry in history:
        milliseconds = int(entry["time"] * 1000)
        for key, value in entry.items():
            if key not in ("step", "time"):
                metrics.append(Metric(key, float(value), milliseconds, int(entry["step"])))

    log_entries(run_id, metrics=metrics, synchronous=synchronous)


@_explained()
def log_dossier(
    experiment: str, job: str, candidate: str, dossier: Path, values: Mapping[str, float], tags: Mapping[str, str]
) -> None:
    """Store a candidate's dossier, its most important numbers and its verdict in the candidate's MLflow run."""
    run_id = candidate_run(experiment, job, candidate)
    log_values(run_id, values)
    set_tags(run_id, tags)
    client().log_artifacts(run_id, str(dossier), "dossier")


@_explained()
def log_report(experiment: str, job: str, documents: Mapping[str, str], outcome: str) -> None:
    """Store documents (file name -> text) in the job's run, and the outcome (Markdown) as the run's description."""
    run_id = job_run(experiment, job)
    for name, text in documents.items():
        client().log_text(run_id, text, name)
    set_tags(run_id, {NOTE: outcome})


@_explained()
def version_by_alias(name: str, alias: str) -> str | None:
    """Return the number of the model version that has an alias. Return None if no version has this alias."""
    try:
        return str(client().get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


@_explained()
def version_by_content(name: str, content: str) -> str | None:
    """Return the number of the oldest model version with this content, or None if there is none."""
    found = client().search_model_versions(f"name = '{name}' and tags.`{CONTENT}` = '{content}'")
    if not found:
        return None
    return str(min(int(version.version) for version in found))


@_explained()
def put(write: Callable[..., Any], *row: str) -> None:
    """Set an alias or a tag of a registered model. Other processes may set the same alias or tag at the same time.

    MLflow has a row in its database for each alias and each tag. It checks whether the row exists, and then inserts or
    updates the row. If two processes insert at the same time, the server refuses one insert. At the second attempt, the
    row exists, so MLflow updates it.

    Args:
        write: The method of MLflow's client that sets the alias or the tag.
        row: The arguments of this method.
    """
    try:
        write(*row)
    except MlflowException as error:
        violates_constraint = error.error_code == "BAD_REQUEST"
        if not violates_constraint:
            raise
        write(*row)
