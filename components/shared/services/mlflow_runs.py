"""MLflow: one run per pipeline job, a child run per candidate, found again by their tags whichever step asks.

The server and its credentials come from MLflow's own environment variables.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_RUN_NOTE

from components.shared.errors import InputError

JOB, CANDIDATE = "crack.job", "crack.candidate"  # tags of runs and of registered versions
# tags of registered versions: the data set's digest, "passed", and "passed" or what the infra check found wrong
DATASET, VERDICT, CHECKED = "crack.dataset", "crack.verdict", "crack.infra_check"
AGAINST, AGAINST_VERSION = "gate.champion", "gate.champion_version"  # tags of runs: how it compares, and with whom
NOTE = MLFLOW_RUN_NOTE  # tag of a run: its description, Markdown
LONGEST = 5000  # characters of a tag or a description, MLflow's limit
CHALLENGER, CHAMPION = "challenger", "champion"  # aliases
_PER_CALL, _PARAM_LENGTH = {"metrics": 1000, "params": 100, "tags": 100}, 6000  # the tracking API's limits


def client() -> MlflowClient:
    """Return the client of the server named by MLFLOW_TRACKING_URI.

    Raises:
        InputError: The variable is not set; MLflow would silently write to the working directory.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise InputError("MLFLOW_TRACKING_URI is not set; it names the MLflow server that keeps runs and models")
    return _client(uri)


@cache
def _client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


def every(search: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """Yield all that one of the client's searches finds, page after page."""
    token = None
    while True:
        page = search(*arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def job_run(experiment: str, job: str) -> str:
    """Return the id of the pipeline job's run, made where it is missing."""
    return _find_or_create(experiment, {JOB: job, CANDIDATE: ""}, f"crack-training {job[:8]}")


def candidate_run(experiment: str, job: str, candidate: str) -> str:
    """Return the id of a candidate's run under its job's run, made where it is missing.

    A run that the platform made for this step, and named by MLFLOW_RUN_ID, becomes the candidate's, under the parent
    that the platform gave it.
    """
    given = os.environ.get("MLFLOW_RUN_ID")
    tags = {JOB: job, CANDIDATE: candidate}
    if given and not _runs(experiment_id(experiment), tags):
        found = client().get_run(given)
        if found.data.tags.get(CANDIDATE, candidate) == candidate:  # else it is the whole pipeline's run
            parent = found.data.tags.get(MLFLOW_PARENT_RUN_ID) or job_run(experiment, job)
            set_tags(given, {**tags, MLFLOW_PARENT_RUN_ID: parent})
            return given
    return _find_or_create(experiment, {**tags, MLFLOW_PARENT_RUN_ID: job_run(experiment, job)}, candidate)


def _find_or_create(experiment: str, tags: dict[str, str], name: str) -> str:
    place = experiment_id(experiment)
    existing = _runs(place, tags)
    if existing:
        return existing[0].info.run_id
    created = client().create_run(place, tags={**tags, MLFLOW_RUN_NAME: name})
    first = _runs(place, tags)[0].info.run_id
    if first != created.info.run_id:  # two steps made one at the same time: the older is everyone's
        client().delete_run(created.info.run_id)
    return first


def _runs(place: str, tags: dict[str, str]) -> list[Run]:
    query = " and ".join(f"tags.`{key}` = '{tags[key]}'" for key in (JOB, CANDIDATE))
    runs = client().search_runs([place], query, max_results=10)
    return sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))


def experiment_id(name: str) -> str:
    """Return the id of an experiment, made where it is missing."""
    found = client().get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    try:
        return client().create_experiment(name)
    except MlflowException:  # made by another step in between
        found = client().get_experiment_by_name(name)
        if found is None:
            raise
        return found.experiment_id


def end_job(experiment: str, job: str, status: str) -> None:
    """End every run of a pipeline job that is still running, as "FINISHED" or "FAILED"."""
    query = f"tags.`{JOB}` = '{job}' and attributes.status = 'RUNNING'"
    for run in client().search_runs([experiment_id(experiment)], query):
        client().set_terminated(run.info.run_id, status)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested parameters into MLflow's flat ones: {"a": {"b": 1}} -> {"a.b": "1"}."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)[:_PARAM_LENGTH]
    return flat


def log_entries(
    run_id: str,
    metrics: Sequence[Metric] = (),
    params: Sequence[Param] = (),
    tags: Sequence[RunTag] = (),
    synchronous: bool = True,
) -> None:
    """Log any number of entries; logging the same again is allowed.

    Args:
        run_id: The run.
        metrics: Values, each with its step and time.
        params: A param may not get another value.
        tags: A tag may.
        synchronous: False returns at once and logs in a thread.
    """
    for kind, entries in (("metrics", metrics), ("params", params), ("tags", tags)):
        for start in range(0, len(entries), _PER_CALL[kind]):
            batch: dict[str, Any] = {kind: entries[start : start + _PER_CALL[kind]]}
            client().log_batch(run_id, **batch, synchronous=synchronous)


def log_params(run_id: str, values: Mapping[str, Any]) -> None:
    """Log nested parameters, flattened."""
    log_entries(run_id, params=[Param(key, value) for key, value in flatten(values).items()])


def set_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Set a run's tags."""
    log_entries(run_id, tags=[RunTag(key, value) for key, value in tags.items()])


def log_values(run_id: str, values: Mapping[str, float]) -> None:
    """Log metrics that have one value each, at step 0, as of now."""
    now = int(time.time() * 1000)
    log_entries(run_id, metrics=[Metric(key, value, now, 0) for key, value in values.items()])


def log_history(run_id: str, history: list[dict[str, float]], synchronous: bool = True) -> None:
    """Log curves.

    Args:
        run_id: The run.
        history: Each entry holds "step", "time" (seconds since 1970) and the metrics at that step.
        synchronous: False returns at once and logs in a thread.
    """
    metrics = [
        Metric(key, float(value), int(entry["time"] * 1000), int(entry["step"]))
        for entry in history
        for key, value in entry.items()
        if key not in ("step", "time")
    ]
    log_entries(run_id, metrics=metrics, synchronous=synchronous)


def log_dossier(
    experiment: str, job: str, candidate: str, dossier: Path, values: Mapping[str, float], tags: Mapping[str, str]
) -> None:
    """Keep a candidate's dossier, its headline numbers and its verdict with its MLflow run."""
    run_id = candidate_run(experiment, job, candidate)
    log_values(run_id, values)
    set_tags(run_id, tags)
    client().log_artifacts(run_id, str(dossier), "dossier")


def log_report(experiment: str, job: str, documents: Mapping[str, str], outcome: str) -> None:
    """Keep documents (file name -> text) with the job's run, and its outcome, Markdown, as the run's description."""
    run_id = job_run(experiment, job)
    for name, text in documents.items():
        client().log_text(run_id, text, name)
    set_tags(run_id, {NOTE: outcome})


def version_by_alias(name: str, alias: str) -> str | None:
    """Return the version of a registered model that bears an alias, or None."""
    try:
        return str(client().get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def version_by_run(name: str, run_id: str) -> str | None:
    """Return the version of a registered model that was made of a run's model, or None."""
    found = client().search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    return str(min(int(version.version) for version in found)) if found else None


def put(write: Callable[..., Any], *row: str) -> None:
    """Set an alias or a tag of a registered model, though somebody else sets the same one at this moment.

    MLflow looks whether the row is there, and then inserts or updates it. Of two who insert at once one is refused; by
    then the row is there, so that its second try is an update.

    Args:
        write: The client's method.
        row: Its arguments.
    """
    try:
        write(*row)
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":  # what the store makes of a constraint that does not hold
            raise
        write(*row)


@contextmanager
def version_files(name: str, version: str) -> Iterator[Path]:
    """Fetch a registered version, for the time of the block.

    Yields:
        The folder of its artifacts: `model/` (a saved-model folder), `calibration.json`, `training_rows.parquet` and,
        where drift left one, `reference_profile.parquet`.
    """
    from mlflow.artifacts import download_artifacts

    with tempfile.TemporaryDirectory() as folder:  # MLflow's own choice would stay for ever
        yield Path(download_artifacts(f"models:/{name}/{version}", dst_path=folder)) / "artifacts"
