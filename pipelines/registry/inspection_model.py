"""Load a registered model version for the inspection of photos."""

import re
from pathlib import Path

from components.inspect.tile_answers import Model, read_model
from components.shared.errors import InputError
from pipelines.registry.access import reached
from pipelines.registry.classify import checked_files, version_meant


def loaded_model(model_uri: str, workdir: Path | None) -> Model:
    """Fetch a registered model version, check its files, and load it. Its registry is not needed afterwards.

    Args:
        model_uri: Model URI of MLflow, such as `models:/crack-classifier@champion`.
        workdir: Folder of local runs. None means the MLflow server that MLFLOW_TRACKING_URI names.

    Raises:
        InputError: It is not a registered version, or its files are not the registered ones.
    """
    with reached(workdir, artifacts=True):
        version = version_meant(model_uri)
        match = re.fullmatch("models:/([^/@]+)/([0-9]+)", version)
        if match is None:
            raise InputError(
                f"{model_uri} is not a registered model version; give one such as models:/crack-classifier/1"
            )
        with checked_files(version) as folder:
            return read_model(match[1], match[2], Path(folder) / "artifacts")
