import cv2
import numpy as np
import pytest

from components.explain.baselines import edge_maps, random_maps
from components.explain.localisation import best_iou, energy_inside, energy_ratio, pointing_game
from components.explain.run import fit_mask


@pytest.fixture
def mask() -> np.ndarray:
    mask = np.zeros((1, 20, 20), bool)
    mask[0, 5:10, 5:15] = True
    return mask


def spot(row: int, column: int) -> np.ndarray:
    found = np.zeros((1, 20, 20), np.float32)
    found[0, row, column] = 1
    return found


@pytest.mark.parametrize(
    ("row", "column", "tolerance", "hit"),
    [(7, 7, 0, 1), (12, 7, 0, 0), (12, 7, 3, 1), (12, 7, 2.9, 0), (13, 18, 5.6, 0)],
)
def test_pointing_game_hits_within_the_tolerance(mask, row, column, tolerance, hit):
    assert pointing_game(spot(row, column), mask, tolerance) == [hit]


def test_all_pixels_of_the_highest_region_count_the_same(mask):
    region = np.zeros(mask.shape, np.float32)
    region[0, :10, :10] = 1  # contains 25 pixels of the crack, and none of them is the first pixel of the region
    assert pointing_game(region, mask, 0) == [0.25]


def test_a_map_of_zeros_scores_zero(mask):
    nothing = np.zeros(mask.shape, np.float32)
    mask[0, 0, 0] = True  # argmax returns this pixel for a constant map
    assert pointing_game(nothing, mask, 3) == [0]
    assert energy_inside(nothing, mask) == [0]
    assert best_iou(nothing, mask) == [0]


def test_the_energy_of_a_constant_map_is_the_area_of_the_crack(mask):
    even = np.ones(mask.shape, np.float32)
    assert energy_inside(even, mask) == pytest.approx([50 / 400])
    assert energy_ratio(even, mask) == pytest.approx([1])
    assert energy_ratio(mask.astype(np.float32), mask) == pytest.approx([8])


def test_best_iou_equals_trying_every_threshold():
    rng = np.random.default_rng(0)
    maps = (rng.integers(0, 12, (6, 20, 20)) / 11).astype(np.float32)
    masks = rng.random((6, 20, 20)) < 0.2 + 0.5 * maps
    for map_, mask, found in zip(maps, masks, best_iou(maps, masks), strict=True):
        cuts = [map_ >= value for value in np.unique(map_) if value > 0]
        assert found == pytest.approx(max((cut & mask).sum() / (cut | mask).sum() for cut in cuts))


def test_edges_find_the_cracks_of_real_tiles_better_than_chance(real_data):
    """People drew the masks. The edge filter must find them better than chance, and the random map must not."""
    files = sorted((real_data / "uav75_tiles" / "crack").iterdir())[::12]
    photos = np.stack([cv2.resize(cv2.imread(str(file))[..., ::-1], (96, 96)) for file in files])
    drawn = [cv2.imread(str(next((real_data / "uav75_tiles" / "masks").glob(f"{file.stem}*"))), 0) for file in files]
    masks = np.stack([fit_mask(mask > 127, 96) for mask in drawn])
    assert len(files) > 20
    assert energy_ratio(edge_maps(photos), masks).mean() > 1.3
    assert energy_ratio(random_maps(len(files), 96, (7, 7), 1), masks).mean() == pytest.approx(1, abs=0.15)
    assert pointing_game(edge_maps(photos), masks, 5).mean() > pointing_game(1 - edge_maps(photos), masks, 5).mean()


@pytest.mark.parametrize("size", [16, 32, 64, 100, 200])
def test_scaling_does_not_lose_the_thinnest_crack(size):
    mask = np.zeros((100, 100), bool)
    mask[37] = True
    fitted = fit_mask(mask, size)
    assert fitted.shape == (size, size)
    assert fitted.any(axis=0).all()
    assert fitted.sum(axis=0).max() <= max(1, size // 100) + 1
