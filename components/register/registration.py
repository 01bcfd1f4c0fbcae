"""Register the winner in MLflow as `challenger`."""

import base64
import importlib.metadata
import shutil
import tempfile
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from components.register.config import RegisterConfig
from components.shared import tracking
from components.shared.checkpoint import read_info
from components.shared.manifest import read_manifest, read_splits, rows_of
from components.shared.runtime import log
from components.shared.shards import ShardReader, fetch
from components.shared.storage import Store

ALIAS = "challenger"
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", "image")]),
    outputs=Schema([ColSpec("double", "p_crack"), ColSpec("string", "label"), ColSpec("double", "threshold")]),
)
REQUIREMENTS = (
    "boto3", "mlflow", "numpy", "opencv-python-headless", "pandas", "pillow", "pyarrow", "pydantic", "safetensors",
    "timm", "torch", "torchvision",
)  # fmt: skip


def register_winner(
    model_folder: str, dossier: str, manifest_path: str, splits_path: str, config: RegisterConfig, job: str
) -> dict:
    """Register a candidate's model as a new version with the alias `challenger`.

    Registering the same job again returns the version that is already there.

    Args:
        model_folder: The winner's saved model.
        dossier: The winner's dossier.
        manifest_path: The data set version's manifest; the input example is made of its tiles.
        splits_path: Table (sample_id, split).
        config: The registered model's name.
        job: The pipeline job's id.

    Returns:
        The record of the registration: registered, name, version, alias, candidate, reasons.
    """
    client = tracking.client()
    version = tracking.version_by_job(config.model_name, job)
    if version is None:
        run_id = tracking.candidate_run(config.experiment, job, config.candidate)
        example = _example(manifest_path, splits_path, config)
        version = _log_version(run_id, Path(model_folder), Path(dossier), example, config)
        tags = {
            tracking.JOB: job,
            tracking.CANDIDATE: config.candidate,
            "crack.dataset": read_info(model_folder).dataset_digest,
            "crack.verdict": "passed",
        }
        for key, value in tags.items():
            client.set_model_version_tag(config.model_name, version, key, value)
    client.set_registered_model_alias(config.model_name, ALIAS, version)
    log.info("registered %s version %s as %s", config.model_name, version, ALIAS)
    return {
        "registered": True,
        "name": config.model_name,
        "version": version,
        "alias": ALIAS,
        "candidate": config.candidate,
        "reasons": [],
    }


def _log_version(run_id: str, model: Path, dossier: Path, example: pd.DataFrame, config: RegisterConfig) -> str:
    with tempfile.TemporaryDirectory() as scratch, mlflow.start_run(run_id=run_id):
        code = Path(scratch) / "components"
        here = Path(__file__).parents[1]
        shutil.copytree(here / "shared", code / "shared", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(here / "__init__.py", code)
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={"model": str(model), "calibration": str(dossier / "calibration.json")},
            code_paths=[str(code)],
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=[f"{name}=={importlib.metadata.version(name)}" for name in REQUIREMENTS],
            registered_model_name=config.model_name,
        )
    return str(logged.registered_model_version)


def _example(manifest_path: str, splits_path: str, config: RegisterConfig) -> pd.DataFrame:
    manifest, splits = read_manifest(manifest_path), read_splits(splits_path)
    reader = ShardReader(fetch(Store(config.store), manifest.digest, config.cache, config.cache_size))
    rows = rows_of(manifest, splits, "test").head(config.examples)
    tiles = [reader.read(row.shard, row.offset, row.size) for row in rows.itertuples()]
    return pd.DataFrame({"image": [base64.b64encode(tile).decode() for tile in tiles]})
