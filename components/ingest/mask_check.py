"""Check the mask of an image: its size, its orientation, and how much of the image it marks.

A phone stores a photo as the sensor sees it, with an EXIF orientation that says how to turn it upright. Some programs
draw masks on the upright photo, and others on the stored pixels. A mask must be turned only if it was drawn on the
stored pixels. These rules decide, in this order:

1. If the photo is stored upright, or the mask has an EXIF orientation of its own, the mask needs no turn.
2. If the upright photo and the stored pixels have different sizes, the mask's size decides.
3. If the upright photo and the stored pixels have the same size, we compare two masks: the original mask and the turned
   mask. A crack is darker or brighter than the concrete around it. So for each mask, we measure how much the marked
   pixels differ from the pixels around them. We choose the mask with the clearly larger difference.

The image is refused if no rule decides. It is also refused if the mask has neither the size of the upright photo nor
the size of the stored pixels.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.data.image import UPRIGHT, ImageError, decode_mask, orientation, turn_upright

# Rule 3 compares the results of `_difference` for the mask as it is and for the turned mask. If the two results differ
# by less than this number, the rule does not decide.
CLEAR_DIFFERENCE = 0.5
SURROUNDINGS_PIXELS = 5
FIRST_TURN_THAT_SWAPS_WIDTH_AND_HEIGHT = 5


class MaskFitError(ImageError):
    """A mask does not fit its image. The message names the mask."""


class MaskFound(NamedTuple):
    """What was found in a mask's file.

    Attributes:
        mask_id: sha256 of the stored mask. If the mask was turned, we store a new PNG file. Otherwise we store the
            mask's file unchanged.
        marked: Share of the image's pixels that the mask marks, 0 to 1.
        turn: How to turn the mask: the EXIF orientation of the photo, or `UPRIGHT` if the mask needs no turn.
    """

    mask_id: str
    marked: float
    turn: int


def check_mask(path: Path, data: bytes, photo: bytes, image: NDArray[np.uint8]) -> MaskFound:
    """Decode a mask and find out whether it must be turned.

    Args:
        path: The mask's file, for messages.
        data: The content of this file.
        photo: The content of the photo's file.
        image: uint8 (H, W, 3), the photo, upright.

    Raises:
        MaskFitError: The mask has another size than the photo, or its orientation is not clear.
        ImageError: The mask cannot be decoded.
    """
    mask = decode_mask(data)
    turn = _turn(path, mask, data, photo, image)
    stored = data if turn == UPRIGHT else turned_mask(data, turn)
    return MaskFound(hashlib.sha256(stored).hexdigest(), float(mask.mean()), turn)


def turned_mask(data: bytes, turn: int) -> bytes:
    """Turn a mask as the EXIF orientation `turn` says, and return a PNG. `data` is the content of the mask's file."""
    upright = turn_upright(decode_mask(data), turn)
    return cv2.imencode(".png", upright.astype(np.uint8) * 255)[1].tobytes()


def _turn(path: Path, mask: NDArray[np.bool_], data: bytes, photo: bytes, image: NDArray[np.uint8]) -> int:
    upright = image.shape[:2]
    turn = orientation(photo)
    if orientation(data) != UPRIGHT:
        turn = UPRIGHT
    stored = upright[::-1] if turn >= FIRST_TURN_THAT_SWAPS_WIDTH_AND_HEIGHT else upright

    if mask.shape not in (upright, stored):
        raise MaskFitError(
            f"its mask {path.name} is {mask.shape[1]}x{mask.shape[0]} pixels, but the image is "
            f"{upright[1]}x{upright[0]}; save both in the same size"
        )
    if upright != stored:
        return turn if mask.shape == stored else UPRIGHT
    if turn == UPRIGHT or np.array_equal(mask, turn_upright(mask, turn)):
        return UPRIGHT

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    advantage = _difference(grey, mask) - _difference(grey, turn_upright(mask, turn))
    if abs(advantage) < CLEAR_DIFFERENCE:
        raise MaskFitError(
            f"its EXIF orientation is {turn}, and it is not clear whether its mask {path.name} was drawn on the "
            "upright photo or on the stored pixels; save photo and mask upright, without an EXIF orientation"
        )
    return UPRIGHT if advantage > 0 else turn


def _difference(grey: NDArray[np.float32], mask: NDArray[np.bool_]) -> float:
    """Return how much the marked pixels differ from the pixels around them, in standard deviations of the grey levels.

    Args:
        grey: float32 (H, W).
        mask: bool (H, W), true for at least one pixel.
    """
    side = 2 * SURROUNDINGS_PIXELS + 1
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)).astype(bool)
    around = wide & ~mask
    if not around.any():
        return 0.0
    return float(abs(grey[mask].mean() - grey[around].mean()) / (grey.std() + 1e-6))
