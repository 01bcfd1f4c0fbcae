"""Measure how much the robustness split differs from a sample of the training split."""

from collections.abc import Iterator

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
IMAGES_PER_PROGRESS_LINE = 100


def detect_drift(
    model: str,
    manifest_path: str,
    splits_path: str,
    predictions_path: str,
    config: DriftConfig,
    seed: int,
    out: dict[str, str],
) -> None:
    """Compare the robustness split with the sample of the training split that the predict step chose.

    Args:
        model: The candidate's saved-model folder. The sha256 of the weights is stored in the reference profile.
        manifest_path: The data set version's manifest.
        splits_path: Table (sample_id, split).
        predictions_path: The candidate's predictions folder.
        config: Samples, tests and limits.
        seed: Seed of the samples and permutations.
        out: Paths to write: "measurements", "page", "evidently", and "reference_profile" (the profile of the
            training sample).

    Raises:
        InputError: Manifest, splits and predictions belong to different data set versions.
    """
    manifest = read_manifest(manifest_path)
    rows_of(manifest, read_splits(splits_path), CURRENT)  # Raises if the splits belong to another data set version.
    weights = file_digest(f"{model}/model.safetensors")
    reader = ShardReader(fetch_for_step(config, manifest))
    profiles = _Profiles(manifest, read_predictions(predictions_path), reader, weights)

    training = profiles.of(REFERENCE)
    write_profile(training, out["reference_profile"])

    table = profiles.predictions.clean(CURRENT)
    groups = table["group_id"].to_numpy(str)
    why = why_not(training.groups, groups)
    if why:
        write_measurements(undefined(why, len(groups)), out["measurements"])
        sides = "reference images: training split; current images: robustness split"
        for page in ("page", "evidently"):
            write_skipped(out[page], f"Drift of {config.candidate}", f"{why} ({sides})")
        return

    kept = even_out(training.groups, groups, seed, config.sample)
    reference = training.rows(kept.reference)
    current = profiles.of(CURRENT, kept.current)
    wrong = _wrong(table.iloc[kept.current])
    _report(training, reference, current, wrong, config, seed, out)


def _report(
    training: Profile,
    reference: Profile,
    current: Profile,
    wrong: np.ndarray,
    config: DriftConfig,
    seed: int,
    out: dict[str, str],
) -> None:
    """Compare the current images with the reference. Write the measurements, the page and Evidently's report.

    Slices are compared with `training`, the whole training sample. All other tests use the smaller sample `reference`.
    """
    image_features = list(FEATURES)
    shifts = compare(reference, current, config, seed)
    slices = compare_slices(training, current, config, seed)
    distance = drift_distance(reference.features[image_features], current.features[image_features])

    rows = to_measurements(shifts, len(wrong))
    rows += slice_measurements(slices)
    rows.append(error_measurement(distance, wrong))
    write_measurements(rows, out["measurements"])

    sides = {"sample of the training split": reference, "robustness split": current}
    write_page(out["page"], config, shifts, sides, slices, error_by_distance(distance, wrong))

    if config.evidently:
        progress(0, 1, "drawing Evidently's report")
    write_evidently(out["evidently"], reference.features, current.features, shifts, config)


class _Profiles:
    """Computes drift profiles of the splits for which a candidate has predictions."""

    def __init__(self, manifest: Manifest, predictions: Predictions, reader: ShardReader, weights: str):
        self.version = manifest.table.set_index("sample_id")
        self.predictions = predictions
        self.reader = reader
        self.weights = weights

    def of(self, split: str, chosen: np.ndarray | None = None) -> Profile:
        """Return the drift profile of a split. If `chosen` (int64) is given, use only the images at these indices."""
        table = self.predictions.clean(split)
        if chosen is None:
            chosen = np.arange(len(table))
        table = table.iloc[chosen]

        unknown = set(table["sample_id"]) - set(self.version.index)
        if unknown:
            raise InputError(
                f"the predictions contain {len(unknown)} images that are not in the data set version; run the "
                "step predict again"
            )

        features = describe_images(self._images(self.version.loc[table["sample_id"]], split))
        return make_profile(
            groups=table["group_id"].to_numpy(),
            image_features=features,
            p_crack=table["p_crack"].to_numpy(),
            embeddings=self.predictions.embeddings_of(split)[chosen],
            slices=table[["source", "surface"]],
            model=self.weights,
        )

    def _images(self, rows: pd.DataFrame, split: str) -> Iterator[np.ndarray]:
        for done, row in enumerate(rows.itertuples(), start=1):
            yield decode(self.reader.read(row.shard, int(row.offset), int(row.size)))
            if done % IMAGES_PER_PROGRESS_LINE == 0 or done == len(rows):
                progress(done, len(rows), f"describing {split} images")


def _wrong(table: pd.DataFrame) -> np.ndarray:
    says_crack = table["p_crack"].to_numpy() >= 0.5
    is_crack = table["label"].to_numpy() == 1
    return says_crack != is_crack
