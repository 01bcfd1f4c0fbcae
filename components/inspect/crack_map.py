"""Blend the model's answers about overlapping tiles into a map of P(crack).

The weight of a tile falls linearly, from 1 at the tile's centre to 0 at the centres of the tiles next to it. So the map
is the bilinear interpolation between the centres of the tiles, and at each centre it has exactly the tile's P(crack).
Beyond the outermost centres, the map repeats the nearest value.
"""

from dataclasses import dataclass

import numpy as np

from components.inspect.tile_grid import TileGrid

CELLS_PER_STEP = 4  # cells of the map between the centres of two neighbouring tiles
SMALLEST_WEIGHT = 1e-6


@dataclass(frozen=True)
class Axis:
    """The cells of a map along one axis.

    Attributes:
        centres: Centre of each cell in the photo, pixels, float (cells,).
        step: Distance between the centres of two neighbouring cells, pixels.
        weights: Weight of each tile at each cell, float (cells, tiles). Each row has the sum 1.
        at_tiles: Index of the cell at the centre of each tile, int (tiles,).
    """

    centres: np.ndarray
    step: float
    weights: np.ndarray
    at_tiles: np.ndarray


@dataclass(frozen=True)
class CrackMap:
    """P(crack) at each position of a photo.

    Attributes:
        p_crack: float (rows, columns), 0 to 1; NaN where no tile was classified.
        vertical: The cells from top to bottom.
        horizontal: The cells from left to right.
    """

    p_crack: np.ndarray
    vertical: Axis
    horizontal: Axis


def blend(grid: TileGrid, p_crack: np.ndarray) -> CrackMap:
    """Blend the model's answers about overlapping tiles into a map of P(crack).

    Args:
        grid: The tiles.
        p_crack: P(crack) of each tile, float (rows, columns), 0 to 1; NaN for a tile without data.
    """
    vertical, horizontal = _axis(grid.tops, grid.side), _axis(grid.lefts, grid.side)
    classified = np.isfinite(p_crack)

    weighted = vertical.weights @ np.where(classified, p_crack, 0) @ horizontal.weights.T
    weight = vertical.weights @ classified.astype(float) @ horizontal.weights.T
    with np.errstate(invalid="ignore"):
        blended = np.where(weight > SMALLEST_WEIGHT, weighted / np.maximum(weight, SMALLEST_WEIGHT), np.nan)
    return CrackMap(blended, vertical, horizontal)


def _axis(starts: tuple[int, ...], side: int) -> Axis:
    """Return the cells along one axis. `starts` has the first pixel of each tile along this axis."""
    count = len(starts)
    tile_step = (starts[-1] - starts[0]) / (count - 1) if count > 1 else float(side)
    step = tile_step / CELLS_PER_STEP

    beyond = int(side / 2 // step)  # cells between the outermost centres and the edges of the photo
    between = (count - 1) * CELLS_PER_STEP + 1
    cells = np.arange(-beyond, between + beyond)

    place = np.clip(cells / CELLS_PER_STEP, 0, count - 1)
    weights = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(count)))
    centres = starts[0] + side / 2 + cells * step
    return Axis(centres, step, weights, beyond + CELLS_PER_STEP * np.arange(count))
