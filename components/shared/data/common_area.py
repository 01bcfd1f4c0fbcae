"""Measure how well two tiles agree in an area that both show."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# This share of the pixels counts as weak structure.
WEAK_SHARE = 0.7


def least_correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the lowest correlation of the parts of an area: its four quarters, and its weak structures.

    Two cuts of one photo agree everywhere. Two cracks of a similar shape agree only where they are, so we correlate
    each quarter. Two pairs of parallel joints can agree in each quarter, so we also correlate the concrete between
    strong structures.

    Args:
        first, second: float32 (H, W), the fine structure of the area in each of the two tiles.

    Returns:
        Pearson correlation, -1 to 1. A part without structure counts as 0.
    """
    return min(_correlation(one, other) for one, other in _parts(first, second))


def _parts(first: NDArray[np.float32], second: NDArray[np.float32]) -> Iterator[tuple[NDArray, NDArray]]:
    middle_row, middle_column = first.shape[0] // 2, first.shape[1] // 2
    for rows in (slice(middle_row), slice(middle_row, None)):
        for columns in (slice(middle_column), slice(middle_column, None)):
            yield first[rows, columns].ravel(), second[rows, columns].ravel()

    strength = np.maximum(np.abs(first), np.abs(second))
    weak = strength <= np.quantile(strength, WEAK_SHARE)
    yield first[weak], second[weak]


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the Pearson correlation of two parts, or 0 if one of them has no structure."""
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
