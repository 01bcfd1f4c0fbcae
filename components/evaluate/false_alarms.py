"""Measure false alarms on sound concrete, for each source in which no tile has a crack."""

from dataclasses import replace

import pandas as pd

from components.evaluate.config import EvaluateConfig
from components.evaluate.triage_measures import HELD_OUT
from components.shared.results.calibration import Calibration
from components.shared.results.estimates import estimate_metrics
from components.shared.results.false_alarms import PER_M2, PER_PHOTO, sound_sources
from components.shared.results.group_kind import count_unknown_photos
from components.shared.results.measurements import Estimate, Measurement
from components.shared.results.predictions import Predictions
from components.shared.results.slices import Slice

NO_SCALE = "train.tile_mm, the side of a tile in millimetres, is not given"
MM_PER_M = 1000


def measure_false_alarms(
    predictions: Predictions, calibration: Calibration, config: EvaluateConfig
) -> list[Measurement]:
    """Return the false alarms per photo and per square metre, on sources of sound concrete.

    A source is sound concrete if none of its tiles in the predictions has the label crack. The predictions have all
    tiles of the splits in HELD_OUT, and a sample of the training tiles.

    Each source of sound concrete is measured on each split in HELD_OUT that has tiles of this source. A tile is called
    a crack if the calibrated P(crack) is at least the operating threshold. If the photos or the size of a tile are not
    known, the number is NaN, and the note gives the reason.
    """
    rows = []
    sound = sound_sources(predictions.embedded())
    for split in HELD_OUT:
        for source, tiles in predictions.clean(split).groupby("source", sort=True):
            if source in sound:
                part = Slice.of(source=source)
                for name, estimate in _estimates(tiles, calibration, config).items():
                    rows.append(Measurement.of(name, estimate, len(tiles), split, part))
    return rows


def _estimates(tiles: pd.DataFrame, calibration: Calibration, config: EvaluateConfig) -> dict[str, Estimate]:
    groups = tiles["group_id"].to_numpy()
    p_crack = calibration.p_crack(tiles["logit_0"].to_numpy(), tiles["logit_1"].to_numpy())
    estimates = estimate_metrics(
        tiles["label"].to_numpy(), p_crack, groups, calibration.threshold, config.resamples, config.bootstrap_seed
    )
    specificity = estimates["specificity"]

    photos = len(set(groups))
    unknown = count_unknown_photos(groups)
    per_photo = Estimate(float("nan"), note=f"the photos of {unknown} of {photos} groups are not known")
    if unknown == 0:
        per_photo = _alarms(specificity, len(tiles) / photos)

    per_m2 = Estimate(float("nan"), note=NO_SCALE)
    if config.tile_mm is not None:
        per_m2 = _alarms(specificity, (MM_PER_M / config.tile_mm) ** 2)
    return {PER_PHOTO: per_photo, PER_M2: per_m2}


def _alarms(specificity: Estimate, tiles: float) -> Estimate:
    """Return the expected number of false alarms, (1 - specificity) * `tiles`, with its interval."""
    alarms = replace(specificity, value=(1 - specificity.value) * tiles)
    if specificity.low is None or specificity.high is None:
        return alarms
    return replace(alarms, low=(1 - specificity.high) * tiles, high=(1 - specificity.low) * tiles)
