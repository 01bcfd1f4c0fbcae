"""Find the landmarks of a tile. A landmark is a small spot that we can recognise in other tiles of the same place.

A landmark is a dark or bright spot, with its position and a code of 61 bits for the patch around it. Before we compute
the code, we rotate and mirror the patch until it has a standard position. So a place has the same code in mirrored and
rotated tiles. `overlaps.py` compares the codes of all tiles.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

# Tiles are scaled so that their shorter side has this many pixels. Lengths below are in these pixels.
WORKING_SIDE = 128
LANDMARKS = 64
# Longer side of a tile / shorter side. If a tile is longer, only its upper or left part is used, because x and y have
# one byte each.
MAX_ASPECT = 2
# Standard deviations of two blurs. A spot is a local extreme of their difference.
FINE_BLUR, COARSE_BLUR = 1.8, 2.9
SPOT_DISTANCE = 5
# In grey levels. Fainter spots can be noise of a camera or of JPEG.
FAINTEST_SPOT = 0.25
PATCH_RADIUS = 8
FREQUENCIES = 9
# x and y are in pixels from the upper left corner. A missing landmark has the code 0.
LANDMARK = np.dtype([("code", "<u8"), ("x", "u1"), ("y", "u1")])
# The lowest three bits of a code say how the patch was turned: transposed, rows reversed, columns reversed.
TURN_BITS = 3


def _patch_waves() -> NDArray[np.float32]:
    """Return the waves of a two-dimensional DCT, float32 (FREQUENCIES squared, pixels of a patch). Their norm is 1."""
    places = np.linspace(0, np.pi, 2 * PATCH_RADIUS + 2)[:-1] + np.pi / (4 * PATCH_RADIUS + 2)
    wave = np.cos(np.arange(FREQUENCIES)[:, None] * places)
    wave /= np.linalg.norm(wave, axis=1, keepdims=True)
    return np.kron(wave, wave).astype(np.float32)


def _coded_waves() -> NDArray[np.int64]:
    """Return the indices (rows of `_patch_waves()`) of the 61 waves whose signs make up a landmark's code.

    In this list, most neighbours have very different frequencies. The mean of the patch is not coded. The signs of the
    two lowest waves decide how the patch is turned. After the turn, both signs are positive, so we do not code them.
    """
    rows, columns = np.divmod(np.arange(FREQUENCIES**2), FREQUENCIES)
    by_frequency = np.lexsort((rows, rows + columns))[3 : 3 + 64 - TURN_BITS]
    return np.concatenate([by_frequency[start::3] for start in range(3)])


WAVES, CODED_WAVES = _patch_waves(), _coded_waves()


def find_landmarks(grey: NDArray[np.uint8]) -> NDArray:
    """Find the clearest landmarks of a tile.

    Args:
        grey: uint8 (H, W).

    Returns:
        An array of dtype `LANDMARK` and shape (LANDMARKS,). The clearest landmark is first. Missing landmarks are last.

    Source: The spots are the extremes of a difference of Gaussians, as in Lowe, "Distinctive image features from
        scale-invariant keypoints", IJCV 2004. We use only one scale, because all tiles of a photo have the same scale.
        The code is a perceptual hash (`duplicates.py`) of the patch.
    """
    landmarks = np.zeros(LANDMARKS, LANDMARK)
    fine, strength = _spot_strength(grey)
    strongest_nearby = cv2.dilate(strength, np.ones((SPOT_DISTANCE, SPOT_DISTANCE), np.uint8))
    inner = np.s_[PATCH_RADIUS:-PATCH_RADIUS, PATCH_RADIUS:-PATCH_RADIUS]
    is_spot = (strength == strongest_nearby)[inner] & (strength[inner] >= FAINTEST_SPOT)

    y, x = np.nonzero(is_spot)
    if len(y) == 0:
        return landmarks
    clearest = np.argsort(-strength[inner][y, x], kind="stable")[:LANDMARKS]
    y, x = y[clearest] + PATCH_RADIUS, x[clearest] + PATCH_RADIUS
    found = landmarks[: len(clearest)]
    found["code"], found["x"], found["y"] = _codes(_patches(fine, strength, y, x)), x, y
    return landmarks


def _spot_strength(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the blurred tile, and how much each pixel differs from its surroundings. Both are float32 (H, W)."""
    shorter = min(grey.shape)
    used = grey[: MAX_ASPECT * shorter, : MAX_ASPECT * shorter]
    scale = WORKING_SIDE / shorter
    size = round(used.shape[1] * scale), round(used.shape[0] * scale)
    small = cv2.resize(used, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)

    small = small.astype(np.float32)
    fine = cv2.GaussianBlur(small, (0, 0), FINE_BLUR)
    coarse = cv2.GaussianBlur(small, (0, 0), COARSE_BLUR)
    return np.asarray(fine, np.float32), np.asarray(np.abs(fine - coarse), np.float32)


def _patches(
    fine: NDArray[np.float32], strength: NDArray[np.float32], y: NDArray[np.int64], x: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Cut out the patch around each spot, float32 (N, pixels of a patch).

    The middle of a patch is the exact place of the spot, which can be between pixels. If the middle were the nearest
    pixel, a shift by half a pixel would change the codes.
    """
    down = _offset_of_peak(strength[y - 1, x], strength[y, x], strength[y + 1, x])
    right = _offset_of_peak(strength[y, x - 1], strength[y, x], strength[y, x + 1])
    top, left = np.floor(y + down).astype(np.int64), np.floor(x + right).astype(np.int64)
    weight_down, weight_right = ((y + down - top)[:, None, None], (x + right - left)[:, None, None])

    offsets = np.arange(-PATCH_RADIUS, PATCH_RADIUS + 2)
    rows = np.clip(top[:, None] + offsets, 0, fine.shape[0] - 1)
    columns = np.clip(left[:, None] + offsets, 0, fine.shape[1] - 1)
    pixels = fine[rows[:, :, None], columns[:, None, :]]
    pixels = pixels[:, :-1] * (1 - weight_down) + pixels[:, 1:] * weight_down
    pixels = pixels[:, :, :-1] * (1 - weight_right) + pixels[:, :, 1:] * weight_right
    return pixels.reshape(len(y), -1).astype(np.float32)


def _offset_of_peak(
    before: NDArray[np.float32], peak: NDArray[np.float32], after: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return how far a spot is from the middle of its pixel, -0.5 to 0.5 pixels.

    The spot is at the peak of a parabola through the values of the pixel and of its two neighbours.
    """
    curvature = 2 * peak - before - after
    offset = np.divide(after - before, 2 * curvature, out=np.zeros_like(peak), where=curvature > 0)
    return np.clip(offset, -0.5, 0.5)


def _codes(patches: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return the code of each patch, uint64 (N,)."""
    waves = (patches @ WAVES.T).reshape(-1, FREQUENCIES, FREQUENCIES)

    rows_reversed, columns_reversed = waves[:, 1, 0] < 0, waves[:, 0, 1] < 0
    waves[rows_reversed, 1::2] *= -1
    waves[columns_reversed, :, 1::2] *= -1
    transposed = waves[:, 1, 0] < waves[:, 0, 1]
    waves[transposed] = waves[transposed].swapaxes(1, 2)

    signs = waves.reshape(len(patches), -1)[:, CODED_WAVES] > 0
    turn = np.stack([transposed, rows_reversed, columns_reversed], axis=1)
    bits = np.packbits(np.concatenate([signs, turn], axis=1), axis=1)
    return bits.view(">u8").ravel().astype(np.uint64)
