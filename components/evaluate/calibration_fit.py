"""Fit the temperature and choose the operating threshold on the validation split."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from components.evaluate.config import ThresholdConfig
from components.shared.errors import InputError
from components.shared.results.calibration import Calibration
from components.shared.results.intervals import draw_groups, group_codes
from components.shared.results.metrics import SMALLEST_P

TEMPERATURE_RANGE = (0.05, 20.0)

# The thresholds of the operating curve, in log odds. They are P(crack) from 0.0003 to 0.9997.
CURVE_LOG_ODDS = (-8.0, 8.0)
CURVE_POINTS = 161

# With more resamples, the bands in the figure would look the same.
MAX_CURVE_RESAMPLES = 400


def calibrate(val: pd.DataFrame, config: ThresholdConfig) -> Calibration:
    """Fit the temperature, and then choose the threshold for the calibrated P(crack).

    Args:
        val: The answers on the validation split after fine-tuning, without corruptions. The columns are label, logit_0
            and logit_1.
        config: The rule for the threshold.

    Raises:
        InputError: One of the two classes has no tiles in the validation split.
    """
    labels = val["label"].to_numpy()
    if set(labels) != {0, 1}:
        raise InputError(
            f"the validation split has {int((labels == 0).sum())} tiles without cracks and {int((labels == 1).sum())} "
            "tiles with cracks, but a threshold can only be chosen with tiles of both classes; add tiles, or raise "
            "split.val"
        )

    logit_0 = val["logit_0"].to_numpy()
    logit_1 = val["logit_1"].to_numpy()
    temperature = fit_temperature(labels, logit_1 - logit_0)
    p_crack = Calibration(temperature).p_crack(logit_0, logit_1)
    threshold, rule = choose_threshold(labels, p_crack, config)
    return Calibration(temperature, threshold, rule)


def fit_temperature(labels: np.ndarray, margin: np.ndarray) -> float:
    """Return the temperature with the lowest negative log-likelihood, within TEMPERATURE_RANGE.

    As in Platt's method, the target of a tile without a crack is slightly above 0, and the target of a crack is
    slightly below 1. With the targets 0 and 1, the best temperature on a validation split without errors would be 0.
    This would mean infinite confidence.

    Args:
        labels: int (n,), both classes present.
        margin: float (n,), logit_1 minus logit_0 of each tile.

    Source: Guo et al. 2017, section 4.2 (temperature scaling); Platt 1999, section 2.2 (targets).
    """
    cracks = int(labels.sum())
    others = len(labels) - cracks
    target = np.where(labels == 1, (cracks + 1) / (cracks + 2), 1 / (others + 2))

    def loss(log_temperature: float) -> float:
        scaled = margin / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - target * scaled))

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURE_RANGE), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def choose_threshold(
    labels: np.ndarray, p_crack: np.ndarray, config: ThresholdConfig, weights: np.ndarray | None = None
) -> tuple[float, str]:
    """Choose the threshold by the configured rule. Return the threshold, and the rule in words.

    All thresholds between two neighbouring values of P(crack) give the same decisions. So we choose the middle of the
    two values, in log odds. If several thresholds are equally good, we choose the lowest threshold, because it finds
    the most cracks.

    Args:
        labels: int (n,), with at least one crack.
        p_crack: float (n,), calibrated.
        config: The rule.
        weights: float (n,), above 0. A tile with the weight 2 counts like two tiles. By default, all weights are 1.

    Source: docs/statistics.md, "Operating threshold".
    """
    if config.rule == "fixed":
        return config.value, f"fixed at {config.value:g}"

    # `hits[i]` counts the cracks with P(crack) >= scores[i]. `alarms[i]` counts the tiles without a crack that have
    # P(crack) >= scores[i].
    scores, block = np.unique(p_crack, return_inverse=True)
    counts = np.ones(len(labels)) if weights is None else weights
    cracks = np.bincount(block, counts * labels)
    others = np.bincount(block, counts * (1 - labels))
    hits = np.cumsum(cracks[::-1])[::-1]
    alarms = np.cumsum(others[::-1])[::-1]
    missed = hits[0] - hits

    if config.rule == "recall_floor":
        cost = np.where(hits / hits[0] >= config.recall, config.missed_crack_cost * missed + alarms, np.inf)
        rule = (
            f"lowest cost on the validation split, with a recall of at least {config.recall:g}. "
            f"A missed crack costs as much as {config.missed_crack_cost:g} false alarms"
        )
    else:
        cost = -2 * hits / (hits[0] + hits + alarms)
        rule = "highest F1 on the validation split"

    best = int(np.argmin(cost))
    below = scores[best - 1] if best else 0.0
    return _middle(below, scores[best]), rule


def _middle(below: float, above: float) -> float:
    """Return the middle of two values of P(crack), in log odds. The result is > `below` and <= `above`."""
    log_odds = logit(np.clip([below, above], SMALLEST_P, 1 - SMALLEST_P))
    return float(np.clip(expit(log_odds.mean()), np.nextafter(below, 1), above))


@dataclass(frozen=True)
class Band:
    """A metric, such as recall, at many thresholds. Each value has a 95 % interval.

    In 95 % of the resamples, the value is between `low` and `high`. A resample draws whole photos, not single tiles.
    All fields are float64 (points,).
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class OperatingCurve:
    """Recall, false alarms and cost on the validation split at each threshold.

    Attributes:
        thresholds: float64 (points,), calibrated P(crack) in rising order.
        recall: Of all tiles with a crack, the share that is called a crack.
        false_alarms: Of all tiles without a crack, the share that is called a crack.
        cost: The cost per 100 tiles. A false alarm costs 1, and a missed crack costs `missed_crack_cost`.
        chosen_low, chosen_high: In 95 % of the resamples, the rule chooses a threshold between these two. Both are NaN
            if there are no resamples.
    """

    thresholds: np.ndarray
    recall: Band
    false_alarms: Band
    cost: Band
    chosen_low: float
    chosen_high: float


def operating_curve(
    labels: np.ndarray, p_crack: np.ndarray, groups: np.ndarray, config: ThresholdConfig, resamples: int, seed: int
) -> OperatingCurve:
    """Return recall, false alarms and cost at many thresholds, with their uncertainty over photos.

    Args:
        labels: int (n,), both classes present.
        p_crack: float (n,), calibrated.
        groups: (n,), the group id of each tile.
        config: The rule and the cost of a missed crack.
        resamples: Number of bootstrap resamples of groups; may be 0. At most MAX_CURVE_RESAMPLES are drawn.
        seed: Seed of the resampling.
    """
    codes, count = group_codes(groups)
    if count < 2:
        resamples = 0
    draws = draw_groups(count, min(resamples, MAX_CURVE_RESAMPLES), seed).astype(np.float64)
    thresholds = expit(np.linspace(*CURVE_LOG_ODDS, CURVE_POINTS))

    hits = np.empty((count, CURVE_POINTS))
    alarms = np.empty((count, CURVE_POINTS))
    for point, threshold in enumerate(thresholds):
        called = p_crack >= threshold
        hits[:, point] = np.bincount(codes, called & (labels == 1), count)
        alarms[:, point] = np.bincount(codes, called & (labels == 0), count)
    cracks = np.bincount(codes, labels == 1, count)[:, None]
    others = np.bincount(codes, labels == 0, count)[:, None]
    costs = config.missed_crack_cost * (cracks - hits) + alarms

    low, high = _chosen_range(labels, p_crack, codes, draws, config)
    return OperatingCurve(
        thresholds=thresholds,
        recall=_band(hits, cracks, draws),
        false_alarms=_band(alarms, others, draws),
        cost=_band(100 * costs, cracks + others, draws),
        chosen_low=low,
        chosen_high=high,
    )


def _band(tops: np.ndarray, bottoms: np.ndarray, draws: np.ndarray) -> Band:
    """Return a ratio at each threshold, and its range in the resamples.

    The ratio is the sum of `tops` over the groups, divided by the sum of `bottoms`. `tops` is (groups, points),
    `bottoms` is (groups, 1), and `draws` is (resamples, groups).
    """
    value = tops.sum(axis=0) / bottoms.sum(axis=0)
    if not len(draws):
        return Band(value, value, value)
    with np.errstate(invalid="ignore"):
        resampled = (draws @ tops) / (draws @ bottoms)
    low, high = np.nanpercentile(resampled, (2.5, 97.5), axis=0)
    return Band(value, low, high)


def _chosen_range(
    labels: np.ndarray, p_crack: np.ndarray, codes: np.ndarray, draws: np.ndarray, config: ThresholdConfig
) -> tuple[float, float]:
    """Return two thresholds. In 95 % of the resamples, the rule chooses a threshold between them.

    Both are NaN if there are no resamples.
    """
    chosen = []
    for draw in draws:
        weights = draw[codes]
        drawn = weights > 0
        if labels[drawn].any():
            chosen.append(choose_threshold(labels[drawn], p_crack[drawn], config, weights[drawn])[0])

    if not chosen:
        return float("nan"), float("nan")
    low, high = np.percentile(chosen, (2.5, 97.5))
    return float(low), float(high)
