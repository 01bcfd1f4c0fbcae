"""Measure how well two tiles agree in an area that both show."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

# This share of the pixels counts as weak structure.
WEAK_SHARE = 0.7


def agreement(area: NDArray[np.float32], template: NDArray[np.float32], least: float = 0.0) -> float:
    """Find the place where a part of one tile fits best into a slightly larger part of another tile.

    Args:
        area: float32 (H, W), the fine structure of the larger part.
        template: float32 (h, w), the fine structure of the smaller part.
        least: Lowest correlation of interest. If the whole template has a lower correlation, its parts are not
            compared.

    Returns:
        `least_correlation` at the best place. It is 0 if the template has no structure, or if the correlation of the
        whole template is below `least`.

    Source: Lewis, "Fast normalized cross-correlation", 1995. We use OpenCV's `matchTemplate`.
    """
    if template.std() == 0:
        return 0.0
    correlations = np.nan_to_num(cv2.matchTemplate(area, template, cv2.TM_CCOEFF_NORMED), posinf=0, neginf=0)
    if correlations.max() < least:
        return 0.0
    y, x = np.unravel_index(correlations.argmax(), correlations.shape)
    return least_correlation(area[y : y + template.shape[0], x : x + template.shape[1]], template)


def least_correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Compare five parts of an area between two tiles, and return the lowest of the five correlations.

    The parts are the four quarters of the area, and the pixels with weak structure in the whole area.

    If two tiles show the same place, they agree everywhere. If they show different cracks of a similar shape, they
    agree only along the cracks, so we correlate each quarter. If both tiles show a pair of parallel joints, all
    quarters can agree. So we also correlate the concrete between strong structures.

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
