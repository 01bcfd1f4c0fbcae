"""Today's champion on today's test split; an empty table where there is no champion."""

import shutil
from pathlib import Path

import pandas as pd

from components.predict.config import PredictConfig
from components.shared.data.manifest import read_manifest, read_splits, rows_of
from components.shared.events import log
from components.shared.results.dossier import CALIBRATION
from components.shared.results.predictions import Predictions, empty_predictions, write_predictions
from components.shared.services import mlflow_runs


def predict_champion(manifest_path: str, splits_path: str, config: PredictConfig, folder: str) -> str:
    """Predict the test split with the registered model's champion, less what the champion learnt from.

    Beside the predictions goes the champion's calibration.json, so that it is judged as it is deployed.

    Args:
        manifest_path: The data set version's manifest.
        splits_path: Table (sample_id, split).
        config: Batch, precision and the registered model's name.
        folder: Gets the predictions, and calibration.json where there is a champion; the table is empty where there is
            none, or where it learnt from every test image or its photo.

    Returns:
        The champion's version, "" where there is none.
    """
    version = mlflow_runs.version_by_alias(config.model_name, mlflow_runs.CHAMPION)
    if version is None:
        log.info("%s has no champion yet", config.model_name)
        write_predictions(empty_predictions().table, empty_predictions().embeddings, folder)
        return ""
    with mlflow_runs.version_files(config.model_name, version) as fetched:
        answers = _answers(fetched, version, manifest_path, splits_path, config)
        write_predictions(answers.table, answers.embeddings, folder)
        shutil.copyfile(fetched / CALIBRATION, Path(folder) / CALIBRATION)
    return version


def _answers(fetched: Path, version: str, manifest_path: str, splits_path: str, config: PredictConfig) -> Predictions:
    manifest, splits = read_manifest(manifest_path), read_splits(splits_path)
    test = rows_of(manifest, splits, "test").assign(split="test")
    rows = unknown_rows(test, pd.read_parquet(fetched / "training_rows.parquet"))
    log.info("champion, version %s: %d of %d test images are new to it", version, len(rows), len(test))
    if rows.empty:
        return empty_predictions()
    # late: without a champion there is nothing to import torch for
    from components.predict.run import exact, run_network
    from components.predict.views import CLEAN
    from components.shared.data.versions import fetch_for_step
    from components.shared.network.checkpoint import load_network

    network = load_network(fetched / "model")
    tiles = fetch_for_step(config, manifest)
    note = f"champion, version {version}"
    table, embeddings = run_network(network, rows.assign(**CLEAN), tiles, exact(config), note)
    return Predictions(table.assign(condition="after"), embeddings)


def unknown_rows(rows: pd.DataFrame, learnt: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of which neither the image nor the photo is among those learnt from, index from 0.

    Args:
        rows: sample_id, group_id.
        learnt: sample_id, group_id of a version's training and validation splits.
    """
    known = rows["sample_id"].isin(learnt["sample_id"]) | rows["group_id"].isin(learnt["group_id"])
    return rows[~known].reset_index(drop=True)
