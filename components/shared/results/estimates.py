"""Metrics with 95 % intervals. Groups (photos) are resampled, not single images; see docs/statistics.md."""

from dataclasses import dataclass, replace

import numpy as np

from components.shared.results.intervals import draw_groups, group_codes, interval, one_twice
from components.shared.results.measurements import FEW_ERRORS, Estimate
from components.shared.results.metrics import (
    LOSSES,
    METRICS,
    RANKING,
    SCALES,
    UNDEFINED,
    compute_metrics,
    resampled_metrics,
)


def estimate_metrics(
    labels: np.ndarray,
    p_crack: np.ndarray,
    groups: np.ndarray,
    threshold: float = 0.5,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return every metric in METRICS with its 95 % interval by bootstrap over groups.

    A perfect metric, such as a recall of 1, would get the interval [1, 1]. Instead, its interval is computed as if the
    least certain answer of each class were wrong. `_with_one_error` says why.

    Args:
        labels: int (n,), 1 for crack.
        p_crack: float (n,), in [0, 1].
        groups: (n,), the group of each image; any values that `str` can convert.
        threshold: An image is called a crack if P(crack) >= threshold.
        resamples: Number of bootstrap resamples; with 0, no intervals are computed.
        seed: Seed of the resampling. Equal seeds give equal resamples.
    """
    labels = np.asarray(labels, np.int64)
    p_crack = np.asarray(p_crack, np.float64)
    drawn = _Draws.of(groups, resamples, seed)
    estimates = _estimate_all(labels, p_crack, drawn, threshold)

    faultless = [name for name, found in estimates.items() if found.low == found.value == 1 and name not in LOSSES]
    if faultless:
        decided, ranked = _with_one_error(labels, p_crack)
        # The added errors must not affect the shape of the interval. They were not observed, and we chose their groups
        # ourselves.
        shapeless = replace(drawn, twice=drawn.twice[:0])
        by_decision = _estimate_all(labels, decided, shapeless, threshold)
        by_rank = _estimate_all(labels, ranked, shapeless, threshold)
        for name in faultless:
            doubted = by_rank if name in RANKING else by_decision
            estimates[name] = Estimate(1.0, doubted[name].low, 1.0)

    errors = int(((p_crack >= threshold) != labels).sum())
    if few_errors(errors, len(labels), drawn.count):
        for name, found in estimates.items():
            if found.low is not None:
                estimates[name] = replace(found, note=FEW_ERRORS)
    return estimates


def few_errors(errors: float, images: int, groups: int) -> bool:
    """Return whether the number of errors is below the mean number of images in a group.

    If so, an interval may be too narrow. In our simulations, such intervals cover the true value in only 84 to 93 % of
    the cases, not in 95 %.
    """
    return errors * groups < images


@dataclass(frozen=True)
class _Draws:
    """The groups of the images, and how often each group is drawn in every resample.

    Attributes:
        codes: int64 (n,), the number of each image's group.
        count: Number of groups.
        bootstrap: uint16 (resamples, count), from `draw_groups`.
        twice: uint16 (count, count), from `one_twice`.
    """

    codes: np.ndarray
    count: int
    bootstrap: np.ndarray
    twice: np.ndarray

    @classmethod
    def of(cls, groups: np.ndarray, resamples: int, seed: int) -> "_Draws":
        codes, count = group_codes(groups)
        if count < 2:
            resamples = 0
        bootstrap = draw_groups(count, resamples, seed)
        twice = one_twice(count) if len(bootstrap) else bootstrap
        return cls(codes, count, bootstrap, twice)


def _estimate_all(labels: np.ndarray, p_crack: np.ndarray, drawn: _Draws, threshold: float) -> dict[str, Estimate]:
    values = compute_metrics(labels, p_crack, threshold)
    draws = resampled_metrics(labels, p_crack, drawn.codes, drawn.bootstrap, threshold)
    twice = resampled_metrics(labels, p_crack, drawn.codes, drawn.twice, threshold)

    estimates = {}
    for name in METRICS:
        estimates[name] = _estimate(name, values[name], draws[name], twice[name], drawn.count)
    return estimates


def _estimate(name: str, value: float, draws: np.ndarray, twice: np.ndarray, groups: int) -> Estimate:
    if np.isnan(value):
        return Estimate(value, note=f"undefined: {UNDEFINED[name]}")
    if not len(draws):
        return Estimate(value, note="no interval, because there is only one group" if groups == 1 else "")
    low, high = interval(value, draws, twice, groups, SCALES[name])
    return Estimate(value, low, high)


def _with_one_error(labels: np.ndarray, p_crack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two versions of P(crack), float64 (n,), in which the least certain answer of each class is wrong.

    A resample cannot contain an error that the images do not contain. So the bootstrap would give a model without
    errors the interval [1, 1]. In truth, such a model may make a few errors on other images, so we add one error in
    each class. The order of models stays correct: the interval of a model without errors never begins below the
    interval of a model with errors.

    The first array is for metrics of decisions. In it, the least certain answer of each class is reversed. The second
    array is for metrics of the ranking. In it, two values are swapped: the lowest P(crack) of a crack, and the highest
    P(crack) of an image without a crack.
    """
    cracks = np.flatnonzero(labels == 1)
    others = np.flatnonzero(labels == 0)
    decided = p_crack.copy()
    ranked = p_crack.copy()

    if len(cracks):
        lowest = cracks[np.argmin(p_crack[cracks])]
        decided[lowest] = 0.0
    if len(others):
        highest = others[np.argmax(p_crack[others])]
        decided[highest] = 1.0

    if len(cracks) and len(others):
        ranked[lowest] = p_crack[highest]
        ranked[highest] = p_crack[lowest]
    return decided, ranked
