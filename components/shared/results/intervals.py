"""95 % intervals of numbers measured on images that come in groups (photos).

Tiles of one photo resemble each other, so groups are resampled, not images. The bootstrap gives the standard error; the
interval is a t interval on the scale on which such a number can be anything (log odds for a share, log for a loss).

A good model errs on few photos, and then the standard error is too small more often than too large. How much so is told
by the groups' pulls on the number, which `one_twice` measures: their kurtosis lowers the degrees of freedom, their
skewness lengthens the interval on the side of the long tail. Percentiles of the bootstrap, BCa and the bootstrap-t miss
the truth far more often with a few dozen photos; `make simulate` shows what this interval reaches.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.special import stdtrit

Scale = Literal["share", "signed", "loss", "difference"]
ROUNDING = 1e-12  # of the metrics' sums
MANY = 1000  # groups; with more, no single one matters
MOST = 3.0  # standard errors, where Student's t of that many groups is less: one wrong photo leaves not all possible
FARTHEST = 1.5  # reach over losses: one wrong photo in a small slice does not make a difference of 1 likely
SKEW = (1 + 2 * 1.96**2) / 6  # Edgeworth's term: standard errors, times skewness, over the root of the groups
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


def interval(
    value: float, draws: np.ndarray, twice: np.ndarray, groups: int, scale: Scale, losses: float = math.inf
) -> tuple[float, float]:
    """95 % interval of a number.

    Args:
        value: The number, on all groups.
        draws: float (resamples,), the number in each resample of `draw_groups`; NaN where undefined.
        twice: float, the number in each resample of `one_twice`; may be empty.
        groups: How many there are, at least 2.
        scale: "share" within 0 to 1, "signed" within -1 to 1, "loss" not negative, or a "difference".
        losses: Of a difference, what the two lose together, such as the sum of 1 - AUROC. Two that lose little do so on
            few photos, and what others would make them differ by is larger as those make them lose more. So on the side
            of the long tail the standard error is the one that goes with the upper end of the losses.

    Returns:
        Low and high end; both `value` where no draw differs from it.

    Source: t interval with the bootstrap's standard error on the transformed scale (Efron & Tibshirani 1993, 12.6);
        degrees of freedom by Satterthwaite 1946, from the kurtosis; the skewness by Edgeworth's expansion (Johnson
        1978; Hall 1992, 3.10), on the long side only. The standard error under the largest losses is our own, in the
        spirit of a score test.
    """
    error = float(np.nanstd(draws)) * np.sqrt(groups / (groups - 1))
    if error < ROUNDING:
        return value, value
    there, slope, back = _SCALES[scale]
    error *= slope(value)
    if scale != "difference":
        error = min(error, 1.0)  # that of a number made by one group alone; resamples of few groups can give more
    skewness, kurtosis = _shape(twice)
    quantile = stdtrit(min(groups - 1, 2 * groups / (kurtosis - 1)), 0.975)
    tail = SKEW * abs(skewness) / np.sqrt(groups)
    short, long = error * np.minimum([quantile, quantile + tail], max(MOST, stdtrit(groups - 1, 0.975)))
    long *= np.exp(min(long / losses, FARTHEST))
    down, up = (long, short) if skewness < 0 else (short, long)
    return float(back(there(value) - down)), float(back(there(value) + up))


def _shape(twice: np.ndarray) -> tuple[float, float]:
    """Skewness and kurtosis; of a normal distribution where there are no values or all are equal."""
    pulls = twice - twice.mean() if len(twice) else twice
    if not pulls.any():
        return 0.0, 3.0
    pulls = pulls / pulls.std()
    return float((pulls**3).mean()), max(1 + ROUNDING, float((pulls**4).mean()))
