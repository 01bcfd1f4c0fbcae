"""Load a registered model version for the inspection of photos."""

from pathlib import Path

from components.inspect.tile_answers import Model, read_model
from components.shared.errors import InputError
from pipelines.registry.access import reached
from pipelines.registry.classify import checked_files, name_and_version, version_meant


def loaded_model(model_uri: str, workdir: Path | None, signed_by: Path | None) -> Model:
    """Fetch a registered model version, check its files, and load it. Its registry is not needed afterwards.

    Args:
        model_uri: Model URI of MLflow, such as `models:/crack-classifier@champion`.
        workdir: Folder of local runs. None means the MLflow server that MLFLOW_TRACKING_URI names.
        signed_by: PEM file of the public key that must verify the version's signature. None: no signature is needed.

    Raises:
        InputError: The URI does not name a registered version, the version's files are not the registered files, or a
            required signature is missing or wrong.
    """
    with reached(workdir, artifacts=True):
        uri = version_meant(model_uri)
        name, version = name_and_version(uri)
        if not version:
            raise InputError(
                f"{model_uri} is not a registered model version; give one such as models:/crack-classifier/1"
            )
        with checked_files(uri, signed_by) as folder:
            return read_model(name, version, Path(folder) / "artifacts")
