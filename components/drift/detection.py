"""Drift of the robustness split against the training sample."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from components.drift.comparison import Side, compare, even_out, to_measurements, undefined, why_not
from components.drift.config import DriftConfig
from components.drift.errors import drift_distance, error_by_distance, error_measurement
from components.drift.features import FEATURES, describe_images
from components.drift.pages import write_evidently, write_page, write_skipped
from components.shared.image import decode
from components.shared.manifest import read_manifest, read_splits, rows_of
from components.shared.measurements import write_measurements
from components.shared.predictions import Predictions, read_predictions
from components.shared.runtime import InputError, progress
from components.shared.shards import ShardReader, fetch
from components.shared.storage import Store

REFERENCE, CURRENT = "train", "robustness"


def detect_drift(
    manifest_path: str, splits_path: str, predictions_path: str, config: DriftConfig, seed: int, out: dict[str, str]
) -> None:
    """Compare the robustness split with the training images that the candidate was predicted on.

    Args:
        manifest_path: The data set version's manifest.
        splits_path: Table (sample_id, split).
        predictions_path: The candidate's predictions folder.
        config: Samples, tests and limits.
        seed: Of the samples and permutations.
        out: Paths to write: "measurements", "page" and "evidently".

    Raises:
        InputError: Manifest, splits and predictions are not of one data set version.
    """
    manifest, predictions = read_manifest(manifest_path), read_predictions(predictions_path)
    rows_of(manifest, read_splits(splits_path), CURRENT)  # refuses splits of another version
    tables = [predictions.clean(name) for name in (REFERENCE, CURRENT)]
    reference_groups, current_groups = (table["group_id"].to_numpy() for table in tables)
    why = why_not(reference_groups, current_groups)
    if why:
        write_measurements(undefined(why, len(tables[1])), out["measurements"])
        for name in ("page", "evidently"):
            write_skipped(out[name], config.candidate, why)
        return
    kept = even_out(reference_groups, current_groups, seed, config.sample)
    version = manifest.table.set_index("sample_id")
    reader = ShardReader(fetch(Store(config.store), manifest.digest, config.cache, config.cache_size))
    reference = _side(predictions, REFERENCE, kept[0], version, reader)
    current = _side(predictions, CURRENT, kept[1], version, reader)
    shifts = compare(reference, current, config, seed)
    distance = drift_distance(reference.features[list(FEATURES)], current.features[list(FEATURES)])
    rows = [*to_measurements(shifts, len(current.groups)), error_measurement(distance, current.wrong)]
    write_measurements(rows, out["measurements"])
    write_page(out["page"], config, shifts, (reference, current), error_by_distance(distance, current.wrong))
    _write_evidently(out["evidently"], config, reference.features, current.features)


def _side(predictions: Predictions, split: str, chosen: np.ndarray, version: pd.DataFrame, reader: ShardReader) -> Side:
    table = predictions.clean(split).iloc[chosen]
    unknown = set(table["sample_id"]) - set(version.index)
    if unknown:
        raise InputError(
            f"the predictions name {len(unknown)} images that the data set does not have; run predict again"
        )
    features = describe_images(_images(version.loc[table["sample_id"]], reader, split))
    p_crack = table["p_crack"].to_numpy()
    features = features.assign(p_crack=p_crack, confidence=np.maximum(p_crack, 1 - p_crack))
    wrong = (p_crack >= 0.5) != (table["label"].to_numpy() == 1)
    return Side(table["group_id"].to_numpy(), features, predictions.embeddings_of(split)[chosen], wrong)


def _images(rows: pd.DataFrame, reader: ShardReader, split: str) -> Iterator[np.ndarray]:
    for done, row in enumerate(rows.itertuples(), start=1):
        yield decode(reader.read(row.shard, int(row.offset), int(row.size)))
        if done % 100 == 0 or done == len(rows):
            progress(done, len(rows), f"describing {split} images")


def _write_evidently(path: str, config: DriftConfig, reference: pd.DataFrame, current: pd.DataFrame) -> None:
    if config.evidently:
        progress(0, 1, "drawing Evidently's report")
        write_evidently(path, reference, current)
    else:
        write_skipped(path, config.candidate, "Evidently's report is switched off (drift.evidently)")
