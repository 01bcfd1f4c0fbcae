"""Compute the mean of values that were measured on single images, and the interval of this mean."""

from typing import NamedTuple

import numpy as np

from components.shared.results.intervals import Scale, draw_groups, group_codes, interval, one_twice


class MeanInterval(NamedTuple):
    """A mean and the two ends of its 95 % interval. The ends are None if there is only one group."""

    value: float
    low: float | None
    high: float | None


def mean_interval(values: np.ndarray, groups: np.ndarray, resamples: int, scale: Scale) -> MeanInterval:
    """Return the mean of values, and its 95 % interval by bootstrap over groups.

    Args:
        values: float (n,).
        groups: (n,) group of each value.
        resamples: Number of bootstrap resamples.
        scale: The range of the mean. "share" is 0 to 1, "signed" is -1 to 1, "loss" is 0 or more, and "difference" is
            any number.
    """
    mean = float(values.mean())
    codes, count = group_codes(groups)
    if count < 2:
        return MeanInterval(mean, None, None)

    sums = np.bincount(codes, values, count)
    sizes = np.bincount(codes, minlength=count)

    def means(times_drawn: np.ndarray) -> np.ndarray:
        times = times_drawn.astype(float)
        return (times @ sums) / (times @ sizes)

    draws = means(draw_groups(count, resamples, seed=0))
    twice = means(one_twice(count))
    low, high = interval(mean, draws, twice, count, scale)
    return MeanInterval(mean, low, high)
