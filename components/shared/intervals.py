"""95 % intervals of numbers measured on images that come in groups (photos).

Tiles of one photo resemble each other, so groups are resampled, not images. The bootstrap gives the standard error; the
interval is a t interval on the scale on which such a number can be anything (log odds for a share, log for a loss), and
its degrees of freedom are fewer where a few groups decide the number. Percentiles of the bootstrap, and BCa, miss the
truth too often with a few dozen photos: `make simulate` shows what this one reaches.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.special import stdtrit

Scale = Literal["share", "signed", "loss", "difference"]
FEWEST = 6  # degrees of freedom, or all but one group: one wrong answer in one of twenty photos is no reason to despair
ROUNDING = 1e-12  # of the metrics' sums
MANY = 200  # groups; with more, no few of them decide and t is as good as normal
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


def leave_one_out(count: int) -> np.ndarray:
    """uint16 (count, count): every group drawn once but one; (0, count) for more than `MANY` groups."""
    return 1 - np.eye(count, dtype=np.uint16) if count <= MANY else np.empty((0, count), np.uint16)


def interval(value: float, draws: np.ndarray, without: np.ndarray, groups: int, scale: Scale) -> tuple[float, float]:
    """95 % interval of a number.

    Args:
        value: The number, on all groups.
        draws: float (resamples,), the number in each resample of `draw_groups`; NaN where undefined.
        without: float, the number in each resample of `leave_one_out`; may be empty.
        groups: How many there are, at least 2.
        scale: "share" within 0 to 1, "signed" within -1 to 1, "loss" not negative, or a "difference".

    Returns:
        Low and high end; both `value` where no draw differs from it.

    Source: t interval with the bootstrap's standard error on the transformed scale (Efron & Tibshirani 1993, 12.6);
        degrees of freedom after Satterthwaite (1946), 2 G / (k - 1) with the kurtosis k of the groups' influence, and
        at least `FEWEST`.
    """
    error = float(np.nanstd(draws)) * np.sqrt(groups / (groups - 1))
    if error < ROUNDING:
        return value, value
    there, slope, back = _SCALES[scale]
    reach = stdtrit(_degrees_of_freedom(without, groups), 0.975) * error * slope(value)
    return float(back(there(value) - reach)), float(back(there(value) + reach))


def _degrees_of_freedom(without: np.ndarray, groups: int) -> float:
    influence = without[~np.isnan(without)]
    influence = influence - influence.mean() if len(influence) else influence
    square = (influence**2).sum()
    if not square:
        return groups - 1.0
    kurtosis = len(influence) * (influence**4).sum() / square**2
    few = min(FEWEST, groups - 1)
    return float(np.clip(2 * len(influence) / max(kurtosis - 1, 1e-9), few, groups - 1))
