"""Measure how many tiles need review, and how many cracks nobody looks at, on all splits except train."""

from dataclasses import replace

import numpy as np
import pandas as pd

from components.evaluate.config import EvaluateConfig
from components.shared.results.calibration import Calibration, ReviewBand
from components.shared.results.estimates import estimate_metrics
from components.shared.results.measurements import Estimate, Measurement
from components.shared.results.predictions import Predictions
from components.shared.results.triage import MISSED_SHARE, REVIEW_SHARE

HELD_OUT = ("val", "test", "robustness")
NOTHING_PASSES = "a person looks at every tile below the threshold, so no crack can be missed"


def measure_triage(predictions: Predictions, calibration: Calibration, config: EvaluateConfig) -> list[Measurement]:
    """Return, for each split in HELD_OUT, the share of tiles that need review and the share of missed cracks.

    Both shares have intervals, by bootstrap over photos. The band was chosen on the validation split, so the share of
    missed cracks on the validation split is too low.
    """
    assert calibration.band
    rows = []
    for split in HELD_OUT:
        table = predictions.clean(split)
        if len(table):
            p_crack = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
            review = _review_share(table, p_crack, calibration.band, config)
            missed = _missed_share(table, p_crack, calibration.band, config)
            rows.append(Measurement.of(REVIEW_SHARE, review, len(table), split))
            rows.append(Measurement.of(MISSED_SHARE, missed, len(table), split))
    return rows


def _review_share(table: pd.DataFrame, p_crack: np.ndarray, band: ReviewBand, config: EvaluateConfig) -> Estimate:
    """Return the share of the tiles that need review.

    We compute the share as an accuracy, because `estimate_metrics` then also computes the interval. For this, every
    label is 1. A tile that needs review has the answer 1, and counts as right.
    """
    needs_review = band.contains(p_crack).astype(np.float64)
    asked = np.ones(len(table), np.int64)
    groups = table["group_id"].to_numpy()
    return estimate_metrics(asked, needs_review, groups, 0.5, config.resamples, config.bootstrap_seed)["accuracy"]


def _missed_share(table: pd.DataFrame, p_crack: np.ndarray, band: ReviewBand, config: EvaluateConfig) -> Estimate:
    """Return the share of the cracks that are below the band: 1 minus the recall at the lower end of the band."""
    if not band.is_certified:
        return Estimate(0.0, note=NOTHING_PASSES)

    labels = table["label"].to_numpy()
    groups = table["group_id"].to_numpy()
    found = estimate_metrics(labels, p_crack, groups, band.low, config.resamples, config.bootstrap_seed)["recall"]
    if found.low is None or found.high is None:
        return replace(found, value=1 - found.value)
    return replace(found, value=1 - found.value, low=1 - found.high, high=1 - found.low)
