"""95 % intervals of numbers measured on images that come in groups (photos).

Tiles of one photo resemble each other, so groups are resampled, not images. The bootstrap gives the standard error. The
interval is a t interval on a transformed scale, longer on the side of the long tail. `docs/statistics.md` derives it,
and `make simulate` measures how often it covers the truth.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

Scale = Literal["share", "signed", "loss", "difference"]

# A standard error below this is rounding in the metrics' sums: nothing varies.
ROUNDING_ERROR = 1e-12

# With more groups than this, no single group matters, so the shape of their influence is not measured.
MAX_GROUPS_FOR_INFLUENCE = 1000

# Without a cap, one wrong photo would make the interval cover everything.
MAX_STANDARD_ERRORS = 3.0
MAX_TRANSFORMED_ERROR = 1.0
MAX_LOG_STRETCH = 1.5

# First term of Edgeworth's expansion at 97.5 %: standard errors per unit of skewness / sqrt(groups).
SKEWNESS_FACTOR = (1 + 2 * 1.96**2) / 6


@dataclass(frozen=True)
class _Transform:
    """A scale without ends, on which errors are about normal: the way to it, its derivative, and the way back."""

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
        groups: (n,), the group of each image; anything that has a text.

    Returns:
        int64 (n,), the number of each image's group, and how many groups there are.
    """
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return codes, len(names)


def draw_groups(count: int, resamples: int, seed: int) -> np.ndarray:
    """Draw `count` of `count` groups with replacement, `resamples` times.

    Returns:
        uint16 (resamples, count): how often each group is drawn in each resample.
    """
    rng = np.random.default_rng(seed)
    draws = np.empty((resamples, count), np.uint16)
    for row in draws:
        row[:] = np.bincount(rng.integers(count, size=count), minlength=count)
    return draws


def one_twice(count: int) -> np.ndarray:
    """Return resamples in which each group in turn is drawn twice, and all others once.

    Returns:
        uint16 (count, count); (0, count) for more than `MAX_GROUPS_FOR_INFLUENCE` groups.
    """
    if count > MAX_GROUPS_FOR_INFLUENCE:
        return np.empty((0, count), np.uint16)
    return 1 + np.eye(count, dtype=np.uint16)


def interval(
    value: float, draws: np.ndarray, twice: np.ndarray, groups: int, scale: Scale, losses: float = math.inf
) -> tuple[float, float]:
    """Return the 95 % interval of a number, low and high end; both are `value` where no draw differs from it.

    Args:
        value: The number, on all groups.
        draws: float (resamples,), the number in each resample of `draw_groups`; NaN where undefined.
        twice: float, the number in each resample of `one_twice`; may be empty.
        groups: Number of groups, at least 2.
        scale: "share" within 0 to 1, "signed" within -1 to 1, "loss" not negative, or a "difference".
        losses: Of a difference between two models, the sum of what both lose, such as the sum of 1 - AUROC. When both
            models make few errors, those errors come from few photos, and other photos could move the difference
            further. So the side of the long tail is longer where the losses are small.

    Source: t interval with the bootstrap's standard error on the transformed scale (Efron & Tibshirani 1993, 12.6);
        degrees of freedom from the kurtosis (Satterthwaite 1946); skewness by Edgeworth's expansion (Johnson 1978;
        Hall 1992, 3.10). The stretch by `losses` is our own. See docs/statistics.md.
    """
    standard_error = float(np.nanstd(draws)) * np.sqrt(groups / (groups - 1))
    if standard_error < ROUNDING_ERROR:
        return value, value

    transform = _TRANSFORMS[scale]
    standard_error *= transform.derivative(value)
    if scale != "difference":
        # One group alone can make a number with a standard error of 1. Resamples of few groups can exceed it.
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
    """Skewness and kurtosis of the groups' influence on the number; a normal distribution's where nothing is known."""
    if not len(twice):
        return 0.0, 3.0

    influence = twice - twice.mean()
    if not influence.any():
        return 0.0, 3.0

    influence = influence / influence.std()
    skewness = float((influence**3).mean())
    kurtosis = float((influence**4).mean())
    return skewness, max(1 + ROUNDING_ERROR, kurtosis)
