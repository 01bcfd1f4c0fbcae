"""A mask is turned like its photo, for each EXIF orientation. People draw it on the stored or on the upright photo."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from components.ingest.mask_check import MaskFitError, check_mask, turned_mask
from components.shared.data.image import UPRIGHT, decode, decode_mask, turn_upright

PATH = Path("masks/IMG_1.png")
ORIENTATIONS = range(1, 9)


def tile(height: int, width: int, depth: int = -70) -> tuple[np.ndarray, np.ndarray]:
    """A stored photo with a line near its upper left corner, uint8 (H, W, 3), and its mask, bool (H, W)."""
    rng = np.random.default_rng(4)
    grey = rng.normal(140, 8, (height, width))
    mask = np.zeros((height, width), bool)
    for row in range(5, height // 2):
        mask[row, row // 3 + 4 : row // 3 + 8] = True
    grey[mask] += depth
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), mask


def photo(pixels: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=98, exif=exif)
    return buffer.getvalue()


def png(mask: np.ndarray, orientation: int = UPRIGHT) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG", exif=exif)
    return buffer.getvalue()


@pytest.mark.parametrize("shape", [(80, 80), (60, 90)])
@pytest.mark.parametrize("depth", [-70, 70])
def test_masks_of_either_kind_end_upright(shape: tuple[int, int], depth: int) -> None:
    stored, stored_mask = tile(*shape, depth)
    for orientation in ORIENTATIONS:
        data = photo(stored, orientation)
        image = decode(data)
        upright_mask = turn_upright(stored_mask, orientation)
        assert image.shape[:2] == upright_mask.shape
        assert np.abs(image.astype(int) - turn_upright(stored, orientation)).mean() < 3

        as_stored = check_mask(PATH, png(stored_mask), data, image)
        assert as_stored.turn == orientation
        np.testing.assert_array_equal(decode_mask(turned_mask(png(stored_mask), orientation)), upright_mask)
        assert as_stored.marked == stored_mask.mean()

        drawn_upright = check_mask(PATH, png(upright_mask), data, image)
        assert drawn_upright.turn == UPRIGHT
        with_own_orientation = check_mask(PATH, png(stored_mask, orientation), data, image)
        assert with_own_orientation.turn == UPRIGHT


def test_a_mask_whose_orientation_is_not_clear_is_refused() -> None:
    stored, mask = tile(80, 80)
    data = photo(stored, 3)
    nowhere = np.zeros_like(mask)
    nowhere[60:70, 10:20] = True
    with pytest.raises(MaskFitError, match=r"its EXIF orientation is 3, and it is not clear whether its mask IMG_1"):
        check_mask(PATH, png(nowhere), data, decode(data))


def test_a_mask_that_looks_the_same_when_turned_needs_no_decision() -> None:
    data = photo(tile(80, 80)[0], 3)
    for mask in (np.zeros((80, 80), bool), np.ones((80, 80), bool)):
        assert check_mask(PATH, png(mask), data, decode(data)).turn == UPRIGHT


def test_a_mask_of_another_size_is_refused_with_both_sizes() -> None:
    stored, mask = tile(60, 90)
    data = photo(stored, 6)
    smaller = cv2.resize(mask.astype(np.uint8), (45, 30)).astype(bool)
    with pytest.raises(MaskFitError, match=r"its mask IMG_1.png is 45x30 pixels, but the image is 60x90; save both"):
        check_mask(PATH, png(smaller), data, decode(data))
