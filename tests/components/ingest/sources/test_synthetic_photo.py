"""Synthetic photos: reproducible, without seams, and with cracks like those of the synthetic tiles."""

import cv2
import numpy as np
import pytest

from components.ingest.sources.synthetic import draw_dataset
from components.ingest.sources.synthetic_photo import ROWS_PER_BAND, Photo, draw_photo


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    return [draw_photo(number, seed=5, width=900, height=600) for number in range(1, 9)]


def widths(mask: np.ndarray) -> np.ndarray:
    """Return the width of the lines in a mask, measured at each pixel on a middle line."""
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    middle = mask & (distance == cv2.dilate(distance, np.ones((3, 3))))
    return 2 * distance[middle]


def test_a_photo_depends_on_its_number_and_the_seed():
    one = draw_photo(1, seed=1, width=300, height=200)
    same = draw_photo(1, seed=1, width=300, height=200)
    assert one.name == same.name == "photo_001"
    assert np.array_equal(one.image, same.image)
    assert np.array_equal(one.mask, same.mask)

    for number, seed in ((4, 1), (1, 2)):
        assert not np.array_equal(draw_photo(number, seed, 300, 200).image, one.image)


def test_image_and_mask_have_the_wanted_size(photos):
    for photo in photos:
        assert photo.image.shape == (600, 900, 3)
        assert photo.image.dtype == np.uint8
        assert photo.mask.shape == (600, 900)
        assert photo.mask.dtype == bool


def test_masks_cover_dark_lines(photos):
    cracked = [photo for photo in photos if photo.mask.any()]
    assert 0 < len(cracked) < len(photos)
    for photo in cracked:
        grey = photo.image.mean(-1)
        around = cv2.dilate(photo.mask.astype(np.uint8), np.ones((9, 9))).astype(bool) & ~photo.mask
        assert grey[photo.mask].mean() < 0.85 * grey[around].mean()
        assert photo.mask.mean() < 0.05


@pytest.mark.parametrize("tile", [64, 128])
def test_cracks_are_as_wide_as_in_a_tile(tile):
    in_tiles = [widths(one.mask) for one in draw_dataset(40, seed=1, size=tile) if one.mask is not None]
    drawn = [draw_photo(number, seed=2, width=600, height=400, tile=tile) for number in range(1, 9)]
    in_photos = [widths(photo.mask) for photo in drawn if photo.mask.any()]
    expected = np.mean(np.concatenate(in_tiles))
    assert 0.5 * expected < np.mean(np.concatenate(in_photos)) < 1.2 * expected


def test_the_bands_of_a_photo_leave_no_seam(photos):
    ratios = []
    for photo in photos:
        steps = np.abs(np.diff(photo.image.astype(np.float32).mean(-1), axis=0)).mean(1)
        ratios.append(steps[ROWS_PER_BAND - 1] / np.median(steps))
    assert np.median(ratios) < 1.1  # single photos can have a joint there
