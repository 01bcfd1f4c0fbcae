"""Join the positions with a high P(crack) into findings.

A finding is a connected region of the crack map. It is a *crack* if P(crack) is at least the model's threshold in the
whole region. If the model has a certified review band, a region with P(crack) in this band *needs review*. But if such
a region touches a crack, it does not become a finding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours
from skimage.morphology import skeletonize

from components.inspect.crack_map import CrackMap
from components.inspect.tile_grid import TileGrid
from components.shared.data.manifest import CLASSES

NO_CRACK, CRACK = CLASSES
NEEDS_REVIEW = "needs_review"
NO_DATA = "no_data"  # the triage of tiles and photos that show nothing
NEIGHBOURS = np.ones((3, 3), int)  # cells that touch at a corner are connected
# If the mean width of a region is at most this many tiles, its skeleton follows one crack.
MAX_MEAN_WIDTH = 1.5
POLYGON_TOLERANCE = 0.4  # cells; the outline of a single cell keeps its four corners


@dataclass(frozen=True)
class Finding:
    """A region of a photo in which the model sees a crack, or is not sure. All lengths are in pixels of the photo.

    Attributes:
        triage: CRACK or NEEDS_REVIEW.
        p_max: Largest P(crack) of a tile whose centre is in the region, 0 to 1. If there is no such tile, the largest
            value of the crack map in the region.
        p_mean: Mean of the crack map in the region, 0 to 1.
        polygon: Corners (x, y) of the outline, counter-clockwise in the photo, as RFC 7946 demands. The first corner is
            not repeated.
        length: Length of the region's skeleton. None if the region is wide, or shorter than a tile; then the map does
            not show where the crack runs.
        peak: Left and upper edge (x, y) of the tile with the largest P(crack).
        tiles: Number of tiles whose centre is in the region.
        novelty: Novelty of the tile with the largest P(crack). If it is above 1, the answer means little.
    """

    triage: str
    p_max: float
    p_mean: float
    polygon: tuple[tuple[float, float], ...]
    length: float | None
    peak: tuple[int, int]
    tiles: int
    novelty: float | None = None

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Finding":
        """Return the finding that was stored as JSON."""
        polygon = tuple((x, y) for x, y in stored["polygon"])
        return cls(**{**stored, "polygon": polygon, "peak": tuple(stored["peak"])})

    def box(self) -> tuple[float, float, float, float]:
        """Return the left, upper, right and lower end of the outline."""
        corners = np.array(self.polygon)
        left, top = corners.min(axis=0)
        right, bottom = corners.max(axis=0)
        return float(left), float(top), float(right), float(bottom)


@dataclass(frozen=True)
class _Region:
    """Connected cells of a crack map.

    Attributes:
        cells: bool (rows, columns), the smallest box around the region. A cell is true if it is in the region.
        top: Row of the crack map where the box begins.
        left: Column of the crack map where the box begins.
    """

    cells: np.ndarray
    top: int
    left: int


def join_into_findings(
    crack_map: CrackMap, grid: TileGrid, p_crack: np.ndarray, novelty: np.ndarray, threshold: float, low: float | None
) -> list[Finding]:
    """Return the findings of a photo: first the cracks, then the findings that need review.

    Each of the two kinds is sorted from most to least certain.

    Args:
        crack_map: The blended answers.
        grid: The tiles.
        p_crack: P(crack) of the tiles, float (rows, columns); NaN for a tile without data.
        novelty: Novelty of the tiles, float (rows, columns); NaN for a tile without data.
        threshold: A position belongs to a crack if P(crack) is at least this number, 0 to 1.
        low: A position needs review if P(crack) is at least this number. None if the model has no certified review
            band.
    """
    values = np.nan_to_num(crack_map.p_crack, nan=-1.0)
    cracks, _ = ndimage.label(values >= threshold, NEIGHBOURS)
    regions = [(CRACK, region) for region in _regions(cracks)]

    if low is not None and low < threshold:
        unsure, _ = ndimage.label(values >= low, NEIGHBOURS)
        touches_a_crack = np.unique(unsure[cracks > 0])
        unsure[np.isin(unsure, touches_a_crack)] = 0
        regions += [(NEEDS_REVIEW, region) for region in _regions(unsure)]

    found = [_finding(triage, region, crack_map, grid, p_crack, novelty) for triage, region in regions]
    return sorted(found, key=lambda finding: (finding.triage != CRACK, -finding.p_max))


def _regions(labels: np.ndarray) -> Iterator[_Region]:
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is not None:
            yield _Region(labels[place] == number, place[0].start, place[1].start)


def _finding(
    triage: str, region: _Region, crack_map: CrackMap, grid: TileGrid, p_crack: np.ndarray, novelty: np.ndarray
) -> Finding:
    rows, columns = region.cells.shape
    values = crack_map.p_crack[region.top : region.top + rows, region.left : region.left + columns]
    inside = _tiles_inside(region, crack_map, p_crack)

    if len(inside):
        row, column = max(inside, key=lambda place: p_crack[place])
        p_max = p_crack[row, column]
    else:  # the region is between the centres of tiles, at the edge of missing data
        highest = np.unravel_index(np.argmax(np.where(region.cells, values, -1)), region.cells.shape)
        row = int(np.abs(crack_map.vertical.at_tiles - region.top - highest[0]).argmin())
        column = int(np.abs(crack_map.horizontal.at_tiles - region.left - highest[1]).argmin())
        p_max = values[highest]

    return Finding(
        triage=triage,
        p_max=float(p_max),
        p_mean=float(values[region.cells].mean()),
        polygon=_outline(region, crack_map, grid),
        length=_length(region.cells, crack_map, grid.side),
        peak=(grid.lefts[column], grid.tops[row]),
        tiles=len(inside),
        novelty=None if np.isnan(novelty[row, column]) else float(novelty[row, column]),
    )


def _tiles_inside(region: _Region, crack_map: CrackMap, p_crack: np.ndarray) -> list[tuple[int, int]]:
    """Return the row and column of each classified tile whose centre is in the region."""
    rows, columns = region.cells.shape
    below, right = crack_map.vertical.at_tiles - region.top, crack_map.horizontal.at_tiles - region.left
    tile_rows = np.flatnonzero((below >= 0) & (below < rows))
    tile_columns = np.flatnonzero((right >= 0) & (right < columns))

    is_inside = region.cells[np.ix_(below[tile_rows], right[tile_columns])]
    is_inside &= np.isfinite(p_crack[np.ix_(tile_rows, tile_columns)])
    places = np.argwhere(is_inside)
    return list(zip(tile_rows[places[:, 0]].tolist(), tile_columns[places[:, 1]].tolist(), strict=True))


def _outline(region: _Region, crack_map: CrackMap, grid: TileGrid) -> tuple[tuple[float, float], ...]:
    """Return the outer outline of a region. It runs halfway between the region's cells and the cells around them."""
    contours = find_contours(np.pad(region.cells, 1).astype(float), 0.5, fully_connected="high")
    outer = max(contours, key=lambda contour: np.ptp(contour, axis=0).prod())
    outer = approximate_polygon(outer, POLYGON_TOLERANCE)[:-1] - 1

    vertical, horizontal = crack_map.vertical, crack_map.horizontal
    y = vertical.centres[0] + (region.top + outer[:, 0]) * vertical.step
    x = horizontal.centres[0] + (region.left + outer[:, 1]) * horizontal.step
    x = np.clip(x, 0, grid.lefts[-1] + grid.side)
    y = np.clip(y, 0, grid.tops[-1] + grid.side)
    corners = np.column_stack([x, y]).round(1)
    if signed_area(corners) > 0:  # y grows downwards, so this is clockwise on the screen
        corners = corners[::-1]
    return tuple((float(x), float(y)) for x, y in corners)


def signed_area(corners: Sequence[Sequence[float]] | np.ndarray) -> float:
    """Return the signed area of a polygon. `corners` has the shape (n, 2): x and y of each corner.

    If y points up, the area is above 0 for corners that run counter-clockwise, and below 0 for corners that run
    clockwise.
    """
    # We subtract the first corner. Positions in degrees differ little, so their products would lose digits.
    x, y = (np.asarray(corners) - corners[0]).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def _length(region: np.ndarray, crack_map: CrackMap, side: int) -> float | None:
    """Return the length of the region's skeleton in pixels; None if the region is wide or short."""
    dy, dx = crack_map.vertical.step, crack_map.horizontal.step
    skeleton = skeletonize(region)
    length = _skeleton_length(skeleton, dy, dx)
    if length < side:
        return None
    mean_width = region.sum() * dy * dx / length
    return float(length) if mean_width <= MAX_MEAN_WIDTH * side else None


def _skeleton_length(skeleton: np.ndarray, dy: float, dx: float) -> float:
    """Return the length of all lines between neighbouring cells of a skeleton.

    A diagonal line does not count if another cell of the skeleton connects its two ends. So a corner does not count
    twice.
    """
    down = skeleton[:-1] & skeleton[1:]
    right = skeleton[:, :-1] & skeleton[:, 1:]
    falling = skeleton[:-1, :-1] & skeleton[1:, 1:] & ~skeleton[:-1, 1:] & ~skeleton[1:, :-1]
    rising = skeleton[1:, :-1] & skeleton[:-1, 1:] & ~skeleton[:-1, :-1] & ~skeleton[1:, 1:]
    diagonals = falling.sum() + rising.sum()
    return float(down.sum() * dy + right.sum() * dx + diagonals * np.hypot(dy, dx))
