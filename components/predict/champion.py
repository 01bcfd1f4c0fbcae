"""Today's champion on today's test split; an empty table where there is no champion."""

from pathlib import Path

from components.predict.config import PredictConfig
from components.shared import tracking
from components.shared.manifest import read_manifest, read_splits, rows_of
from components.shared.predictions import empty_predictions, write_predictions
from components.shared.runtime import log


def predict_champion(manifest_path: str, splits_path: str, config: PredictConfig, folder: str) -> str:
    """Predict the test split with the registered model's champion.

    Args:
        manifest_path: The data set version's manifest.
        splits_path: Table (sample_id, split).
        config: Batch, precision and the registered model's name.
        folder: Gets predictions.parquet and embeddings.npy.

    Returns:
        The champion's version, "" where there is none.
    """
    version = tracking.version_by_alias(config.model_name, "champion")
    if version is None:
        log.info("%s has no champion yet", config.model_name)
        nobody = empty_predictions()
        write_predictions(nobody.table, nobody.embeddings, folder)
        return ""
    from components.predict.prediction import (
        run_network,
    )  # late: without a champion there is nothing to import torch for
    from components.shared.checkpoint import load_network
    from components.shared.shards import fetch
    from components.shared.storage import Store

    network = load_network(tracking.download_model(config.model_name, version))
    manifest, splits = read_manifest(manifest_path), read_splits(splits_path)
    tiles = fetch(Store(config.store), manifest.digest, config.cache, config.cache_size)
    rows = rows_of(manifest, splits, "test").assign(split="test")
    table, embeddings = run_network(network, rows, Path(tiles), config, f"champion, version {version}")
    write_predictions(table.assign(condition="after"), embeddings, folder)
    return version
