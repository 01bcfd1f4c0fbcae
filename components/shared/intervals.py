"""95 % intervals of numbers measured on images that come in groups (photos).

Tiles of one photo resemble each other, so groups are resampled, not images. The bootstrap gives the standard error; the
interval is a t interval on the scale on which such a number can be anything (log odds for a share, log for a loss).

A good model errs on few photos, and the next photo is worse than all G seen with a chance of 1 in G + 1, which no
resample knows. So the end on the side of the long tail is that of the sample in which the group that pulls hardest to
that side stands once more. Percentiles of the bootstrap, BCa and the bootstrap-t miss the truth far more often with a
few dozen photos; `make simulate` shows what this interval reaches.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.special import stdtrit

Scale = Literal["share", "signed", "loss", "difference"]
ROUNDING = 1e-12  # of the metrics' sums
MANY = 1000  # groups; with more, no single one matters
_SCALES: dict[Scale, tuple[Callable, Callable, Callable]] = {  # to the scale, its derivative, and back
    "share": (lambda v: np.log(v / (1 - v)), lambda v: 1 / (v * (1 - v)), lambda z: 1 / (1 + np.exp(-z))),
    "signed": (np.arctanh, lambda v: 1 / (1 - v * v), np.tanh),
    "loss": (np.log, lambda v: 1 / v, np.exp),
    "difference": (lambda v: v, lambda v: 1.0, lambda z: z),
}


def group_codes(groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the groups 0, 1, … in the order of their names: int64 (n,) and how many there are."""
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    return codes, len(names)


def draw_groups(count: int, resamples: int, seed: int) -> np.ndarray:
    """uint16 (resamples, count): how often each group is drawn when as many groups are drawn with replacement."""
    rng = np.random.default_rng(seed)
    draws = np.empty((resamples, count), np.uint16)
    for row in draws:
        row[:] = np.bincount(rng.integers(count, size=count), minlength=count)
    return draws


def one_twice(count: int) -> np.ndarray:
    """uint16 (count, count): every group drawn once, but one of them twice; (0, count) for more than `MANY` groups."""
    return 1 + np.eye(count, dtype=np.uint16) if count <= MANY else np.empty((0, count), np.uint16)


def interval(value: float, draws: np.ndarray, twice: np.ndarray, groups: int, scale: Scale) -> tuple[float, float]:
    """95 % interval of a number.

    Args:
        value: The number, on all groups.
        draws: float (resamples,), the number in each resample of `draw_groups`; NaN where undefined.
        twice: float, the number in each resample of `one_twice`; may be empty.
        groups: How many there are, at least 2.
        scale: "share" within 0 to 1, "signed" within -1 to 1, "loss" not negative, or a "difference".

    Returns:
        Low and high end; both `value` where no draw differs from it.

    Source: t interval with the bootstrap's standard error on the transformed scale (Efron & Tibshirani 1993, 12.6).
        The group once more is our own, after the failure more of Agresti & Coull (1998).
    """
    error = float(np.nanstd(draws)) * np.sqrt(groups / (groups - 1))
    if error < ROUNDING:
        return value, value
    there, slope, back = _SCALES[scale]
    reach = stdtrit(groups - 1, 0.975) * error * slope(value)
    skew = ((twice - value) ** 3).sum()
    low = twice.min() if skew < 0 else value
    high = twice.max() if skew > 0 else value
    return float(back(there(low) - reach)), float(back(there(high) + reach))
