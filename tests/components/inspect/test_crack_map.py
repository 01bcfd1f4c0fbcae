import numpy as np
import pytest

from components.inspect.crack_map import CrackMap, blend
from components.inspect.findings import CRACK, NEEDS_REVIEW, Finding, join_into_findings
from components.inspect.tile_grid import TileGrid, make_grid, without_data
from components.shared.data.image_structure import ImageError

SIDE = 64


def grid_of(width: int = 1000, height: int = 700, overlap: float = 0.5) -> TileGrid:
    return make_grid(width, height, SIDE, overlap)


def tiles_on_a_line(grid: TileGrid, start: tuple[float, float], end: tuple[float, float]) -> np.ndarray:
    """Return P(crack) of each tile: 0.9 if the line from `start` (x, y) to `end` (x, y) crosses the tile, else 0.05."""
    points = np.linspace(start, end, 3000)
    p_crack = np.full(grid.shape, 0.05)
    for row, top in enumerate(grid.tops):
        for column, left in enumerate(grid.lefts):
            inside = (points >= (left, top)) & (points < (left + SIDE, top + SIDE))
            if inside.all(axis=1).any():
                p_crack[row, column] = 0.9
    return p_crack


def regions(grid: TileGrid, p_crack: np.ndarray, low: float | None = None) -> tuple[CrackMap, list[Finding]]:
    crack_map = blend(grid, p_crack)
    return crack_map, join_into_findings(crack_map, grid, p_crack, np.full(grid.shape, 0.3), 0.5, low)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (65, 64), (1000, 700), (257, 4000)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_tiles_cover_the_photo_with_the_overlap(width, height, overlap):
    grid = make_grid(width, height, SIDE, overlap)
    for starts, length in ((grid.lefts, width), (grid.tops, height)):
        assert (starts[0], starts[-1]) == (0, length - SIDE)
        steps = np.diff(starts)
        assert (steps <= SIDE * (1 - overlap) + 1).all()
        assert (steps > 0).all()


@pytest.mark.parametrize(("width", "height"), [(63, 400), (1, 30_000)])
def test_a_photo_smaller_than_a_tile_says_its_size(width, height):
    with pytest.raises(ImageError, match=rf"smaller than a tile: the photo has {width}x{height} px, .* 64x64 px"):
        make_grid(width, height, SIDE, 0.5)


def test_a_scale_that_makes_tiles_tiny_is_refused():
    with pytest.raises(ImageError, match="a tile would have 2 px at the photo's scale"):
        make_grid(600, 400, 2, 0.5)


def test_the_map_is_the_interpolation_between_the_centres_of_tiles():
    grid = grid_of()
    p_crack = np.random.default_rng(1).random(grid.shape)
    crack_map = blend(grid, p_crack)
    rows, columns = crack_map.vertical.at_tiles, crack_map.horizontal.at_tiles
    assert crack_map.p_crack[np.ix_(rows, columns)] == pytest.approx(p_crack)
    between = crack_map.p_crack[rows[2], (columns[3] + columns[4]) // 2]
    assert between == pytest.approx((p_crack[2, 3] + p_crack[2, 4]) / 2)
    assert crack_map.horizontal.centres[columns] == pytest.approx(np.array(grid.lefts) + SIDE / 2, abs=1)
    assert crack_map.p_crack.min() >= p_crack.min()
    assert crack_map.p_crack.max() <= p_crack.max()


def test_tiles_without_data_have_no_weight():
    grid = grid_of()
    p_crack = np.full(grid.shape, 0.7)
    p_crack[:, :5] = np.nan
    crack_map = blend(grid, p_crack)
    assert np.isnan(crack_map.p_crack[:, : crack_map.horizontal.at_tiles[4] + 1]).all()
    assert crack_map.p_crack[:, crack_map.horizontal.at_tiles[4] + 1 :] == pytest.approx(0.7)


def test_a_crack_becomes_one_finding_with_its_outline_and_length():
    grid = grid_of()
    p_crack = tiles_on_a_line(grid, (100, 100), (800, 500))
    crack_map, (finding,) = regions(grid, p_crack)
    assert (finding.triage, finding.p_max, finding.novelty) == (CRACK, 0.9, 0.3)
    assert 0.5 < finding.p_mean < 0.9
    assert finding.tiles == (p_crack > 0.5).sum()
    assert finding.length == pytest.approx(np.hypot(700, 400), rel=0.15)
    left, top, right, bottom = finding.box()
    assert (left, top, right, bottom) == (pytest.approx(100, abs=50), pytest.approx(100, abs=50),
                                          pytest.approx(800, abs=50), pytest.approx(500, abs=50))  # fmt: skip
    # The area of the outline is that of the cells, and its corners run counter-clockwise when y points upwards.
    x, y = np.array(finding.polygon).T
    area = (x * np.roll(-y, -1) - np.roll(x, -1) * -y).sum() / 2
    cells = (crack_map.p_crack >= 0.5).sum() * crack_map.vertical.step * crack_map.horizontal.step
    assert area == pytest.approx(cells, rel=0.1)


def test_every_tile_above_the_threshold_is_in_a_finding_and_a_patch_has_no_length():
    grid = grid_of()
    p_crack = np.zeros(grid.shape)
    p_crack[3, 4] = 0.5  # exactly the threshold
    p_crack[12:18, 20:26] = 0.8
    p_crack[0, -1] = 1.0
    _, found = regions(grid, p_crack)
    assert [finding.p_max for finding in found] == [1.0, 0.8, 0.5]
    assert [finding.tiles for finding in found] == [1, 36, 1]
    assert [finding.length for finding in found] == [None, None, None]
    assert found[0].peak == (grid.lefts[-1], 0)
    assert found[2].peak == (grid.lefts[4], grid.tops[3])


def test_two_cracks_are_two_findings_and_the_band_beside_a_crack_is_not_another():
    grid = grid_of()
    p_crack = np.maximum(
        tiles_on_a_line(grid, (50, 100), (900, 100)), tiles_on_a_line(grid, (50, 600), (900, 600)) - 0.1
    )
    p_crack[10, 15] = 0.35  # alone in the middle
    assert [finding.triage for finding in regions(grid, p_crack)[1]] == [CRACK, CRACK]
    found = regions(grid, p_crack, low=0.3)[1]
    assert [finding.triage for finding in found] == [CRACK, CRACK, NEEDS_REVIEW]
    assert [round(finding.p_max, 2) for finding in found] == [0.9, 0.8, 0.35]


def test_the_border_of_an_orthomosaic_is_not_answered_but_a_black_crack_is():
    empty = np.zeros((6, 8))
    empty[:, 0] = 1.0  # black border
    empty[:, 1] = 0.3  # its edge is in these tiles
    empty[3, 5] = 0.2  # a wide black crack
    found = without_data(empty)
    assert found[:, :2].all()
    assert not found[:, 2:].any()
