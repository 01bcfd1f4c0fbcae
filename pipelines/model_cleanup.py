"""Find and delete models in MLflow that nothing uses: failed versions, and the files of models without a version.

A registration leaves such models behind if it was killed, or if another registration of the same model ran at the same
time. We look only at models of this project, because other projects may use the same MLflow server.
"""

import datetime
from collections.abc import Iterable, Iterator

from mlflow.entities.model_registry import ModelVersion
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from components.shared.services.mlflow_runs import CHECKED, JOB, every
from pipelines.store_cleanup import Leftover, experiments

FAILED_VERSION = "failed version"
MODEL_FILES = "model files"


def find_models(client: MlflowClient, since: datetime.datetime) -> list[Leftover]:
    """Return failed model versions, and the files of models without a version.

    A version counts as failed if it did not pass the check of its answers at registration, and has no alias.

    Args:
        client: Client of the MLflow server.
        since: Versions and files that were created at this time or later are not returned.
    """
    leftovers = []
    used = set()
    for version in _versions(client):
        changed = _time(version.creation_timestamp)
        is_ours = JOB in version.tags
        if not is_ours or version.tags.get(CHECKED) == "passed" or version.aliases or changed >= since:
            used.add(version.source)
        else:
            name = f"{version.name}/{version.version}"
            leftovers.append(Leftover(FAILED_VERSION, name, (), 0, changed))

    for place in experiments(client):
        for model in every(client.search_logged_models, [place]):
            changed = _time(model.creation_timestamp)
            is_used = f"models:/{model.model_id}" in used
            if JOB in model.tags and not is_used and changed < since:
                files = dict(_files(get_artifact_repository(model.artifact_location)))
                leftovers.append(Leftover(MODEL_FILES, model.model_id, tuple(files), sum(files.values()), changed))
    return leftovers


def delete_models(client: MlflowClient, leftovers: Iterable[Leftover]) -> None:
    """Delete what `find_models` found: the versions first, because they point at the files."""
    leftovers = list(leftovers)
    for leftover in leftovers:
        if leftover.kind == FAILED_VERSION:
            client.delete_model_version(*leftover.name.rsplit("/", 1))

    for leftover in leftovers:
        if leftover.kind == MODEL_FILES:
            model = client.get_logged_model(leftover.name)
            client.delete_logged_model(leftover.name)
            get_artifact_repository(model.artifact_location).delete_artifacts()


def _versions(client: MlflowClient) -> Iterator[ModelVersion]:
    """Yield all versions of all models, with their aliases. A search alone does not return the aliases."""
    for model in every(client.search_registered_models):
        aliased = {int(number) for number in model.aliases.values()}
        for version in every(client.search_model_versions, f"name = '{model.name}'"):
            if int(version.version) in aliased:
                version = client.get_model_version(version.name, str(version.version))
            yield version


def _files(repository: ArtifactRepository, folder: str | None = None) -> Iterator[tuple[str, int]]:
    """Yield the path and the size in bytes of each file below a folder of artifacts."""
    for found in repository.list_artifacts(folder):
        if found.is_dir:
            yield from _files(repository, found.path)
        else:
            yield found.path, found.file_size or 0


def _time(milliseconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
