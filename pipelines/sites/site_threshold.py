"""Fit a calibration and a threshold for a site on one half of its photos, and measure them on the other half."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, logit

from components.evaluate.calibration_fit import choose_threshold
from components.evaluate.config import ThresholdConfig
from components.shared.hashing import digest
from components.shared.results.intervals import Scale, draw_groups, group_codes, interval, one_twice
from components.shared.results.measurements import Estimate
from components.shared.results.metrics import SMALLEST_P

FEWEST_OF_A_CLASS = 10  # labelled tiles in each half
RESAMPLES = 2000


@dataclass(frozen=True)
class SiteThreshold:
    """A calibration and a threshold for a site.

    Attributes:
        slope, shift: The site's P(crack) is expit(slope * logit(P(crack) of the model) + shift).
        threshold: A tile is called a crack if the model's P(crack) is at least this number.
        fitted, measured: Number of tiles in each half.
        rows: Name of a metric -> two estimates on the half that is used for measuring. The first uses the model's own
            threshold and calibration, and the second uses the site's.
    """

    slope: float
    shift: float
    threshold: float
    fitted: int
    measured: int
    rows: dict[str, tuple[Estimate, Estimate]]


def fit_and_measure(labelled: pd.DataFrame, recall: float) -> SiteThreshold | str:
    """Fit a calibration and a threshold on one half of the photos, and measure them on the other half.

    Args:
        labelled: One row for each labelled tile: photo, p_crack, called, label (0, 1) and weight (how often it counts).
        recall: Recall that the threshold must reach on the half that is used for fitting.

    Returns:
        The calibration and threshold, or the reason why there are none.
    """
    half = labelled["photo"].map(half_of_photos(labelled["photo"]))
    fit, rest = labelled[half == 0], labelled[half == 1]
    fewest = min(_rarer_class(fit), _rarer_class(rest))
    if fewest < FEWEST_OF_A_CLASS:
        return (
            f"each half of the photos needs at least {FEWEST_OF_A_CLASS} labelled tiles of each class, but one half "
            f"has {fewest}"
        )

    labels, weights = fit["label"].to_numpy(), fit["weight"].to_numpy()
    slope, shift = _recalibrate(labels, _log_odds(fit), weights)
    if slope <= 0:
        return "at this site, tiles with a higher P(crack) have cracks less often, so no threshold helps"

    config = ThresholdConfig(recall=recall)
    chosen, _ = choose_threshold(labels, expit(slope * _log_odds(fit) + shift), config, weights)
    threshold = float(expit((logit(chosen) - shift) / slope))
    rows = _measure(rest, expit(slope * _log_odds(rest) + shift), threshold)
    return SiteThreshold(slope, shift, threshold, len(fit), len(rest), rows)


def half_of_photos(photos: pd.Series) -> dict[str, int]:
    """Return a dict: photo -> its half, 0 or 1.

    The photos are sorted by the hash of their names. Then they go to half 0 and half 1 in turn.
    """
    ordered = sorted(photos.unique(), key=lambda photo: digest("half", photo))
    return {photo: number % 2 for number, photo in enumerate(ordered)}


def _rarer_class(tiles: pd.DataFrame) -> int:
    return int(np.bincount(tiles["label"], minlength=2).min())


def _log_odds(tiles: pd.DataFrame) -> np.ndarray:
    return logit(np.clip(tiles["p_crack"].to_numpy(), SMALLEST_P, 1 - SMALLEST_P))


def _recalibrate(labels: np.ndarray, log_odds: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return the slope and the shift that have the lowest weighted negative log-likelihood.

    The target of the fit is slightly below 1 for crack, and slightly above 0 for no_crack.

    Source: Platt 1999, section 2.2.
    """
    cracks = int(labels.sum())
    others = len(labels) - cracks
    target = np.where(labels == 1, (cracks + 1) / (cracks + 2), 1 / (others + 2))

    def loss(parameters: np.ndarray) -> float:
        scaled = parameters[0] * log_odds + parameters[1]
        return float(np.average(np.logaddexp(0, scaled) - target * scaled, weights=weights))

    slope, shift = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(shift)


def _measure(tiles: pd.DataFrame, recalibrated: np.ndarray, threshold: float) -> dict[str, tuple[Estimate, Estimate]]:
    labels = tiles["label"].to_numpy()
    weights = tiles["weight"].to_numpy()
    photos = tiles["photo"].to_numpy()
    own_p = tiles["p_crack"].to_numpy()
    own_call = tiles["called"].to_numpy()
    site_call = own_p >= threshold

    def share(values: np.ndarray, rows: np.ndarray, scale: Scale) -> Estimate:
        return _weighted_mean(values[rows], weights[rows], photos[rows], scale)

    cracks, others, everything = labels == 1, labels == 0, np.ones(len(labels), bool)
    own_error, site_error = (own_p - labels) ** 2, (recalibrated - labels) ** 2
    return {
        "recall": (share(own_call, cracks, "share"), share(site_call, cracks, "share")),
        "false-alarm rate": (share(own_call, others, "share"), share(site_call, others, "share")),
        "Brier score": (share(own_error, everything, "loss"), share(site_error, everything, "loss")),
    }


def _weighted_mean(values: np.ndarray, weights: np.ndarray, photos: np.ndarray, scale: Scale) -> Estimate:
    """Return a weighted mean with its 95 % interval by bootstrap over photos.

    If all values are equal (all 0 or all 1), every resample would give the same mean, and the interval would have no
    width. So for the interval, we change the value of one tile of average weight: 0 becomes 1, or 1 becomes 0.
    """
    codes, count = group_codes(photos)
    tops = np.bincount(codes, weights * values, count)
    bottoms = np.bincount(codes, weights, count)
    value = float(tops.sum() / bottoms.sum())
    if count < 2:
        return Estimate(value)

    all_alike = value in (0.0, 1.0)
    if all_alike:
        tops[0] += weights.mean() if value == 0 else -weights.mean()

    draws = draw_groups(count, RESAMPLES, seed=0)
    twice = one_twice(count)
    measured = float(tops.sum() / bottoms.sum())
    resampled = (draws @ tops) / (draws @ bottoms)
    low, high = interval(measured, resampled, (twice @ tops) / (twice @ bottoms), count, scale)
    if all_alike:
        low, high = (0.0, high) if value == 0 else (low, 1.0)
    return Estimate(value, low, high)
