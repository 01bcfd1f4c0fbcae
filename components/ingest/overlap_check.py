"""Compare the pixels of two tiles, to check whether the tiles are overlapping cuts of one photo."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from components.ingest.duplicates import Turn, turn_images
from components.shared.data.common_area import agreement

# A tile whose longer side has more pixels is made smaller before it is compared.
MAX_SIDE = 512
# The standard deviation of a Gaussian blur, and the side of the square of a mean filter, in pixels. Only structures
# between these two sizes are compared. Finer structures change with JPEG and a shift by half a pixel. Coarser
# structures are similar in all tiles with light from one side.
FINE_BLUR, COARSE_SIDE = 1.2, 21
# In grey levels. Where the contrast is lower, the structure is mostly noise, so we do not amplify it further.
LOWEST_CONTRAST = 2.0
# How far the shift of a candidate can be wrong, as a share of the tile's shorter side.
SHIFT_ERROR = 0.04
# The shared area must be at least this share of the smaller tile.
MIN_SHARED = 0.12


class Overlap(NamedTuple):
    """How well two tiles agree in the area that both show.

    Attributes:
        correlation: The result of `agreement` for the area that both tiles show, -1 to 1. It is 0 if this area is too
            small, or if the correlation of the whole area is too low.
        shared: Size of the area that both tiles show, divided by the size of the smaller tile, 0 to 1.
    """

    correlation: float
    shared: float


NO_OVERLAP = Overlap(0.0, 0.0)


def fine_structure(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Remove the coarse and the finest structures from a tile's grey levels, and make the contrast equal everywhere.

    If the contrast were not equal, two dark cracks of a similar shape would correlate, even in different concrete.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns:
        float32 (H, W). A tile with a side of more than `MAX_SIDE` pixels is made smaller.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = MAX_SIDE / max(grey.shape)
    if scale < 1:
        grey = np.asarray(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    levels = grey.astype(np.float32)
    structure = cv2.GaussianBlur(levels, (0, 0), FINE_BLUR) - cv2.blur(levels, (COARSE_SIDE, COARSE_SIDE))
    variance = cv2.blur(structure * structure, (COARSE_SIDE, COARSE_SIDE))
    return np.asarray(structure / np.sqrt(variance + LOWEST_CONTRAST**2), np.float32)


def compare(
    first: NDArray[np.float32], second: NDArray[np.float32], turn: Turn, shift: NDArray[np.float64], least: float
) -> Overlap:
    """Lay the second tile over the first one, and correlate the area that both show.

    The argument `shift` is not exact. So we try all shifts that are near it, and take the best one.

    Args:
        first, second: float32 (H, W), from `fine_structure`.
        turn, shift: How to turn and shift the second tile, as in `overlaps.Candidates`.
        least: As in `agreement`.
    """
    turned = turn_images(second[None], turn)[0]
    side = min(first.shape)
    height, width = turned.shape
    corner = shift * side - np.array([turn.columns_reversed * width, turn.rows_reversed * height])
    left, top = np.rint(corner).astype(int).tolist()
    error = max(2, round(SHIFT_ERROR * side))

    # The template is the part of the second tile that stays inside the first tile under all shifts nearby.
    x0, y0 = max(left, 0) + error, max(top, 0) + error
    x1 = min(left + width, first.shape[1]) - error
    y1 = min(top + height, first.shape[0]) - error
    shared = (x1 - x0 + 2 * error) * (y1 - y0 + 2 * error) / min(first.size, second.size)
    if x1 - x0 < 2 * error or y1 - y0 < 2 * error or shared < MIN_SHARED:
        return NO_OVERLAP

    template = np.ascontiguousarray(turned[y0 - top : y1 - top, x0 - left : x1 - left])
    area = first[y0 - error : y1 + error, x0 - error : x1 + error]
    return Overlap(agreement(area, template, least), shared)
