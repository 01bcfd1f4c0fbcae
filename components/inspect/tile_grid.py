"""Cut a photo into overlapping tiles, and find the tiles that show nothing."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from components.inspect.photo_reader import Photo
from components.shared.data.image_structure import ImageError

# A tile with a larger share of pixels without data shows too little to be classified.
MAX_EMPTY = 0.5
# At the border of the data, the limit is lower, because the edge of a black border looks like a crack.
MAX_EMPTY_AT_BORDER = 0.1
SMALLEST_TILE = 16  # pixels
BLACK = (0, 0, 0)


@dataclass(frozen=True)
class TileGrid:
    """The overlapping square tiles of a photo, at equal distances.

    The last column ends at the photo's right edge, and the last row at its lower edge.

    Attributes:
        side: Side of a tile, pixels.
        lefts: Left edge of each column of tiles, pixels.
        tops: Upper edge of each row of tiles, pixels.
    """

    side: int
    lefts: tuple[int, ...]
    tops: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Return the number of rows and columns."""
        return len(self.tops), len(self.lefts)


@dataclass(frozen=True)
class CutTile:
    """A tile of a photo.

    Attributes:
        row, column: Position of the tile in the grid.
        pixels: uint8 (side, side, 3) RGB.
        empty: Share of the pixels that have no data or are exactly black, 0 to 1.
    """

    row: int
    column: int
    pixels: np.ndarray
    empty: float


def make_grid(width: int, height: int, side: int, overlap: float) -> TileGrid:
    """Return the tiles that cover a photo.

    Args:
        width: Width of the photo, pixels.
        height: Height of the photo, pixels.
        side: Side of a tile, pixels.
        overlap: Smallest overlap of neighbouring tiles, as a share of `side`, from 0 to below 1.

    Raises:
        ImageError: The photo is smaller than a tile, or the tile is too small to show anything.
    """
    if side < SMALLEST_TILE:
        raise ImageError(
            f"a tile would have {side} px at the photo's scale, but it must have at least {SMALLEST_TILE} px; correct "
            "scale or distance"
        )
    if min(width, height) < side:
        raise ImageError(
            f"smaller than a tile: the photo has {width}x{height} px, and a tile has {side}x{side} px; use a larger "
            "photo, or give the photo's scale in millimetres per pixel"
        )
    return TileGrid(side, _starts(width, side, overlap), _starts(height, side, overlap))


def _starts(length: int, side: int, overlap: float) -> tuple[int, ...]:
    """Return the first pixel of each tile along one axis."""
    largest_step = side * (1 - overlap)
    count = 1 + math.ceil((length - side) / largest_step)
    return tuple(np.linspace(0, length - side, count).round().astype(int).tolist())


def cut_tiles(photo: Photo, grid: TileGrid) -> Iterator[CutTile]:
    """Yield the tiles, row by row. Only the pixels of one row of tiles are in memory at a time."""
    for row, top in enumerate(grid.tops):
        pixels, empty = photo.rows(top, top + grid.side)
        shows_nothing = cv2.inRange(pixels, BLACK, BLACK) > 0
        if empty is not None:
            shows_nothing |= empty

        for column, left in enumerate(grid.lefts):
            columns = slice(left, left + grid.side)
            yield CutTile(row, column, pixels[:, columns], float(shows_nothing[:, columns].mean()))


def without_data(empty: np.ndarray) -> np.ndarray:
    """Return which tiles show too little to be classified, bool (rows, columns).

    A tile shows too little if more than half of it is empty. Such a tile is at the border of an orthomosaic. So a
    neighbour of such a tile shows too little if more than a tenth of the neighbour is empty. Elsewhere, a few black
    pixels change nothing, because they can be the inside of a crack.

    Args:
        empty: Share of empty pixels of each tile, float (rows, columns), 0 to 1.
    """
    mostly_empty = empty > MAX_EMPTY
    next_to_empty = ndimage.binary_dilation(mostly_empty, structure=np.ones((3, 3)))
    return mostly_empty | (next_to_empty & (empty > MAX_EMPTY_AT_BORDER))
