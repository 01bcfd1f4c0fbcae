"""Compute the champion's answers to the current test split. Write an empty table if there is no champion."""

import shutil
from pathlib import Path

import pandas as pd

from components.predict.config import PredictConfig
from components.shared.data.manifest import read_manifest, read_splits, rows_of
from components.shared.events import log
from components.shared.results.dossier import CALIBRATION
from components.shared.results.predictions import Predictions, empty_predictions, write_predictions
from components.shared.services import mlflow_runs
from components.shared.services.version_files import version_files


def predict_champion(manifest_path: str, splits_path: str, config: PredictConfig, folder: str) -> str:
    """Compute the champion's answers to the tiles of the test split that are new to the champion.

    A tile is new if neither the tile nor another tile of its group was in the champion's training or validation split.

    The champion's calibration.json is copied to the same folder, so that the gate can apply the champion's temperature
    and threshold to these answers.

    Args:
        manifest_path: The data set version's manifest.
        splits_path: Table (sample_id, split).
        config: Gives the batch size and the registered model's name.
        folder: Folder for a table of predictions, and calibration.json if there is a champion. The table has no
            rows if there is no champion, or if no test tile is new to the champion.

    Returns:
        The champion's model version, or "" if there is no champion.
    """
    version = mlflow_runs.version_by_alias(config.model_name, mlflow_runs.CHAMPION)
    if version is None:
        log.info("%s has no champion yet", config.model_name)
        nothing = empty_predictions()
        write_predictions(nothing.table, nothing.embeddings, folder)
        return ""

    with version_files(config.model_name, version) as fetched:
        answers = _answers(fetched, version, manifest_path, splits_path, config)
        write_predictions(answers.table, answers.embeddings, folder)
        shutil.copyfile(fetched / CALIBRATION, Path(folder) / CALIBRATION)
    return version


def _answers(fetched: Path, version: str, manifest_path: str, splits_path: str, config: PredictConfig) -> Predictions:
    manifest = read_manifest(manifest_path)
    splits = read_splits(splits_path)
    test_rows = rows_of(manifest, splits, "test").assign(split="test")
    trained_on = pd.read_parquet(fetched / "training_rows.parquet")

    rows = unknown_rows(test_rows, trained_on)
    log.info("champion version %s was not trained on %d of the %d test tiles", version, len(rows), len(test_rows))
    if rows.empty:
        return empty_predictions()

    # Imported here because a run without a champion does not need torch, which takes seconds.
    from components.predict.run import exact, run_network
    from components.predict.views import CLEAN
    from components.shared.data.versions import fetch_for_step
    from components.shared.network.saved_network import load_network

    network = load_network(fetched / "model")
    tiles = fetch_for_step(config, manifest)
    table, embeddings = run_network(network, rows.assign(**CLEAN), tiles, exact(config), f"champion, version {version}")
    return Predictions(table.assign(condition="after"), embeddings)


def unknown_rows(rows: pd.DataFrame, learnt: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose tile and group are both missing in `learnt`. The new index starts at 0.

    Args:
        rows: Table with sample_id and group_id.
        learnt: Table with sample_id and group_id of the tiles in a model version's training and validation splits.
    """
    known_tile = rows["sample_id"].isin(learnt["sample_id"])
    known_photo = rows["group_id"].isin(learnt["group_id"])
    return rows[~(known_tile | known_photo)].reset_index(drop=True)
