"""Drift of the robustness split against the training sample."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from components.drift.config import DriftConfig
from components.drift.drift_tests import compare, even_out, to_measurements, undefined, why_not
from components.drift.error_by_drift import drift_distance, error_by_distance, error_measurement
from components.drift.page import write_evidently, write_page, write_skipped
from components.drift.slices import compare_slices, slice_measurements
from components.shared.data.drift_profile import Profile, make_profile, write_profile
from components.shared.data.image import decode
from components.shared.data.image_features import FEATURES, describe_images
from components.shared.data.manifest import Manifest, read_manifest, read_splits, rows_of
from components.shared.data.shards import ShardReader
from components.shared.data.versions import fetch_for_step
from components.shared.errors import InputError
from components.shared.events import progress
from components.shared.hashing import file_digest
from components.shared.results.measurements import write_measurements
from components.shared.results.predictions import Predictions, read_predictions

REFERENCE, CURRENT = "train", "robustness"


def detect_drift(
    model: str,
    manifest_path: str,
    splits_path: str,
    predictions_path: str,
    config: DriftConfig,
    seed: int,
    out: dict[str, str],
) -> None:
    """Compare the robustness split with the training images that the candidate was predicted on.

    Args:
        model: The candidate's saved-model folder, which names the reference profile's network.
        manifest_path: The data set version's manifest.
        splits_path: Table (sample_id, split).
        predictions_path: The candidate's predictions folder.
        config: Samples, tests and limits.
        seed: Of the samples and permutations.
        out: Paths to write: "measurements", "page", "evidently" and "reference_profile", the training images' profile.

    Raises:
        InputError: Manifest, splits and predictions are not of one data set version.
    """
    manifest, predictions = read_manifest(manifest_path), read_predictions(predictions_path)
    rows_of(manifest, read_splits(splits_path), CURRENT)  # refuses splits of another version
    tables = {name: predictions.clean(name) for name in (REFERENCE, CURRENT)}
    reader = ShardReader(fetch_for_step(config, manifest))
    describe = partial(_profile, predictions, file_digest(f"{model}/model.safetensors"), manifest, reader)
    whole = describe(REFERENCE, np.arange(len(tables[REFERENCE])))
    write_profile(whole, out["reference_profile"])
    groups = tables[CURRENT]["group_id"].to_numpy(str)
    why = why_not(whole.groups, groups)
    if why:
        write_measurements(undefined(why, len(groups)), out["measurements"])
        for name in ("page", "evidently"):
            write_skipped(out[name], f"Drift of {config.candidate}", why)
        return
    kept = even_out(whole.groups, groups, seed, config.sample)
    reference, current = whole.rows(kept[0]), describe(CURRENT, kept[1])
    shifts = compare(reference, current, config, seed)
    wrong = _wrong(tables[CURRENT].iloc[kept[1]])
    distance = drift_distance(reference.features[list(FEATURES)], current.features[list(FEATURES)])
    slices = compare_slices(whole, current, config, seed)
    rows = [*to_measurements(shifts, len(wrong)), *slice_measurements(slices), error_measurement(distance, wrong)]
    write_measurements(rows, out["measurements"])
    sides = {"sample of the training split": reference, "robustness split": current}
    write_page(out["page"], config, shifts, sides, slices, error_by_distance(distance, wrong))
    if config.evidently:
        progress(0, 1, "drawing Evidently's report")
    write_evidently(out["evidently"], reference.features, current.features, shifts, config)


def _profile(
    predictions: Predictions, model: str, manifest: Manifest, reader: ShardReader, split: str, chosen: np.ndarray
) -> Profile:
    table, version = predictions.clean(split).iloc[chosen], manifest.table.set_index("sample_id")
    unknown = set(table["sample_id"]) - set(version.index)
    if unknown:
        raise InputError(
            f"the predictions name {len(unknown)} images that the data set does not have; run predict again"
        )
    features = describe_images(_images(version.loc[table["sample_id"]], reader, split))
    embeddings = predictions.embeddings_of(split)[chosen]
    slices = table[["source", "surface"]]
    return make_profile(table["group_id"].to_numpy(), features, table["p_crack"].to_numpy(), embeddings, slices, model)


def _wrong(table: pd.DataFrame) -> np.ndarray:
    return (table["p_crack"].to_numpy() >= 0.5) != (table["label"].to_numpy() == 1)


def _images(rows: pd.DataFrame, reader: ShardReader, split: str) -> Iterator[np.ndarray]:
    for done, row in enumerate(rows.itertuples(), start=1):
        yield decode(reader.read(row.shard, int(row.offset), int(row.size)))
        if done % 100 == 0 or done == len(rows):
            progress(done, len(rows), f"describing {split} images")
