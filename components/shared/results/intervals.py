"""Compute 95 % intervals of numbers that are measured on images in groups (photos).

Tiles of one photo resemble each other, so groups are resampled, not single images. The bootstrap gives the standard
error. The interval is a t interval on a transformed scale. If the distribution of the number has a longer tail on one
side, the interval is longer on this side. `docs/statistics.md` derives the interval, and `make simulate` measures how
often it covers the true value.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

Scale = Literal["share", "signed", "loss", "difference"]

# A standard error below this limit is only a rounding error in the sums of the metrics. The number itself is constant.
ROUNDING_ERROR = 1e-12

# With more groups than this, a single group has little influence, so skewness and kurtosis are not measured.
MAX_GROUPS_FOR_INFLUENCE = 1000

# Without a cap, one wrong photo would make the interval cover everything.
MAX_STANDARD_ERRORS = 3.0
MAX_TRANSFORMED_ERROR = 1.0
MAX_LOG_STRETCH = 1.5

# From the first term of Edgeworth's expansion at 97.5 %. For each unit of skewness / sqrt(groups), the interval gets
# longer by this many standard errors.
SKEWNESS_FACTOR = (1 + 2 * 1.96**2) / 6


@dataclass(frozen=True)
class _Transform:
    """A function with its derivative and its inverse. The function converts a number to an unbounded scale.

    On the unbounded scale, the random error of the number is almost normally distributed.
    """

    forward: Callable
    derivative: Callable
    backward: Callable


_TRANSFORMS: dict[Scale, _Transform] = {
    "share": _Transform(
        forward=lambda value: np.log(value / (1 - value)),
        derivative=lambda value: 1 / (value * (1 - value)),
        backward=lambda log_odds: 1 / (1 + np.exp(-log_odds)),
    ),
    "signed": _Transform(np.arctanh, lambda value: 1 / (1 - value * value), np.tanh),
    "loss": _Transform(np.log, lambda value: 1 / value, np.exp),
    "difference": _Transform(lambda value: value, lambda value: 1.0, lambda value: value),
}


def group_codes(groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the groups 0, 1, … in the order of their names.

    Args:
        groups: (n,), the group of each image; any values that `str` can convert.

    Returns:
        The number of each image's group, int64 (n,), and the count of groups.
    """
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return codes, len(names)


def draw_groups(count: int, resamples: int, seed: int) -> np.ndarray:
    """Make bootstrap resamples. Each resample draws `count` groups from `count` groups, with replacement.

    Returns:
        uint16 (resamples, count): how often each group is drawn in each resample.
    """
    rng = np.random.default_rng(seed)
    draws = np.empty((resamples, count), np.uint16)
    for row in draws:
        row[:] = np.bincount(rng.integers(count, size=count), minlength=count)
    return draws


def one_twice(count: int) -> np.ndarray:
    """Return one resample for each group: it draws this group twice and all other groups once.

    Returns:
        uint16 (count, count). With more than `MAX_GROUPS_FOR_INFLUENCE` groups it is empty: (0, count).
    """
    if count > MAX_GROUPS_FOR_INFLUENCE:
        return np.empty((0, count), np.uint16)
    return 1 + np.eye(count, dtype=np.uint16)


def interval(
    value: float, draws: np.ndarray, twice: np.ndarray, groups: int, scale: Scale, losses: float = math.inf
) -> tuple[float, float]:
    """Return the lower and upper end of a number's 95 % interval. If all draws are equal, both ends are `value`.

    Args:
        value: The number, measured on all groups.
        draws: float (resamples,), the number in each resample of `draw_groups`; NaN if it is undefined there.
        twice: float (groups,), the number in each resample of `one_twice`; may be empty.
        groups: Number of groups, at least 2.
        scale: Range of the number: "share" (0 to 1), "signed" (-1 to 1), "loss" (0 or more), "difference" (unlimited).
        losses: Only for a difference between two models: the sum of the losses of both models. A loss is, for example,
            1 - AUROC. If both models make few errors, these errors come from few photos, and other photos could move
            the difference further. So smaller losses give a longer interval, on the side of the longer tail.

    Source: t interval with the bootstrap's standard error on the transformed scale (Efron & Tibshirani 1993, 12.6);
        degrees of freedom from the kurtosis (Satterthwaite 1946); skewness by Edgeworth's expansion (Johnson 1978;
        Hall 1992, 3.10). We added the stretch by `losses` ourselves. See docs/statistics.md.
    """
    standard_error = float(np.nanstd(draws)) * np.sqrt(groups / (groups - 1))
    if standard_error < ROUNDING_ERROR:
        return value, value

    transform = _TRANSFORMS[scale]
    standard_error *= transform.derivative(value)
    if scale != "difference":
        # On this scale, a number that depends on one group alone has a standard error of about 1. With few groups, the
        # resamples can give a larger standard error, so we limit it.
        standard_error = min(standard_error, MAX_TRANSFORMED_ERROR)

    skewness, kurtosis = _shape(twice)
    degrees_of_freedom = min(groups - 1, 2 * groups / (kurtosis - 1))
    quantile = stdtrit(degrees_of_freedom, 0.975)
    tail = SKEWNESS_FACTOR * abs(skewness) / np.sqrt(groups)
    most = max(MAX_STANDARD_ERRORS, stdtrit(groups - 1, 0.975))

    short = standard_error * min(quantile, most)
    long = standard_error * min(quantile + tail, most)
    long *= np.exp(min(long / losses, MAX_LOG_STRETCH))
    down, up = (long, short) if skewness < 0 else (short, long)

    centre = transform.forward(value)
    return float(transform.backward(centre - down)), float(transform.backward(centre + up))


def _shape(twice: np.ndarray) -> tuple[float, float]:
    """Return skewness and kurtosis of the groups' influence on the number.

    The influence of a group is how much the number changes if this group is drawn twice. If `twice` is empty or
    constant, return the values of a normal distribution, 0 and 3.
    """
    if not len(twice):
        return 0.0, 3.0

    influence = twice - twice.mean()
    if not influence.any():
        return 0.0, 3.0

    influence = influence / influence.std()
    skewness = float((influence**3).mean())
    kurtosis = float((influence**4).mean())
    return skewness, max(1 + ROUNDING_ERROR, kurtosis)
