"""A new MLflow store for a test. To create a store takes seconds, so we create one and copy it for each test."""

import functools
import tempfile
from pathlib import Path

from pipelines.local.embedded_stack import DATABASE


def new_mlflow_store(folder: Path) -> str:
    """Write an empty MLflow store into a folder, and return its URI."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / DATABASE
    database.write_bytes(_empty_store())
    return f"sqlite:///{database}"


@functools.cache
def _empty_store() -> bytes:
    from mlflow.tracking import MlflowClient

    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / DATABASE
        MlflowClient(f"sqlite:///{database}").search_experiments()
        return database.read_bytes()
