"""Fetch the files of a registered model version, and check that nobody has changed them since the registration."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.store.artifact.models_artifact_repo import REGISTERED_MODEL_META_FILE_NAME

from components.shared.errors import InputError
from components.shared.events import log
from components.shared.hashing import folder_digest
from components.shared.services import mlflow_failures, mlflow_runs

READS = 2  # a single wrong read can be an error of the network


@contextlib.contextmanager
def version_files(name: str, version: str) -> Iterator[Path]:
    """Fetch a registered model version and check it, as `version_folder` does.

    Yields:
        The folder of its artifacts: `model/` (a saved-model folder), `calibration.json`, `training_rows.parquet`,
        `reference_profile.parquet`, `novelty.json` and the model card.
    """
    with version_folder(name, version) as folder:
        yield folder / "artifacts"


@contextlib.contextmanager
def version_folder(name: str, version: str) -> Iterator[Path]:
    """Fetch a registered model version as MLflow stores it. Compare its files with the digest from the registration.

    The files are in a bucket, and their digest is in MLflow. A person who can write only to the bucket could change the
    code or the weights of a version. The comparison shows such a change.

    Yields:
        The folder of the model version. Its files exist until the `with` block ends.

    Raises:
        InputError: The files cannot be read, or they are not the registered files.
    """
    expected = mlflow_runs.client().get_model_version(name, version).tags.get(mlflow_runs.DIGEST)
    if expected is None:
        log.warning("%s version %s was registered without a digest, so its files are not checked", name, version)

    # We choose the folder ourselves, because MLflow would not remove its own temporary folder.
    with tempfile.TemporaryDirectory() as scratch:
        for attempt in range(READS):
            folder = _download(name, version, Path(scratch) / str(attempt))
            found = version_digest(folder)
            if expected in (None, found):
                yield folder
                return
    raise InputError(
        f"the files of {name} version {version} are not the registered files, so they are not used: their "
        f"sha256 is {found}, not {expected}; restore the files from a backup, or delete this version in MLflow and run "
        "the pipeline again. Find out who changed the files: only people who can write to MLflow's bucket can do it"
    )


def version_digest(folder: Path) -> str:
    """Return the digest of a model version's files. The file that MLflow adds to a download does not count."""
    return folder_digest(folder, without=(REGISTERED_MODEL_META_FILE_NAME,))


def _download(name: str, version: str, folder: Path) -> Path:
    """Download a model version into a new folder, and return the folder of its files."""
    folder.mkdir()
    try:
        with mlflow_failures.explained(mlflow_runs.client().tracking_uri):
            return Path(download_artifacts(f"models:/{name}/{version}", dst_path=str(folder)))
    except InputError:
        raise
    except Exception as error:  # each kind of artifact storage raises its own errors
        raise InputError(
            f"the files of {name} version {version} cannot be read: {error}; restore them, or use another version"
        ) from error
