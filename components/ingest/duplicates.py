"""Find near duplicates: images that show the same place almost identically, upright, mirrored or rotated.

A perceptual hash gives candidates, and the correlation of grey thumbnails confirms them. A turn is one of the eight
ways to mirror an image or rotate it by a multiple of 90 degrees, upright included.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 8
# Hashes of 64 bits. Those of tiles that were saved again or shifted slightly differ in at most 3 bits.
MAX_HASH_DISTANCE = 7
HASH_BANDS, BITS_PER_BAND = 4, 16
# By the pigeonhole principle, one band of any two hashes differs in no more bits than their distance / HASH_BANDS.
FLIPPED_BITS_UPRIGHT = MAX_HASH_DISTANCE // HASH_BANDS
# Looking for equal bands only is 17 times faster. It finds all turned images whose hashes differ in at most 3 bits.
FLIPPED_BITS_TURNED = 0
PAIRS_PER_CHUNK = 4096


class Turn(NamedTuple):
    """A way to turn an image: transpose it or not, then reverse its rows or not, then its columns or not."""

    transposed: bool
    rows_reversed: bool
    columns_reversed: bool


UPRIGHT = Turn(False, False, False)
MIRRORED = [Turn(False, False, True), Turn(False, True, False), Turn(False, True, True)]
TRANSPOSED = [Turn(True, *each[1:]) for each in (UPRIGHT, *MIRRORED)]
TURNS = [UPRIGHT, *MIRRORED, *TRANSPOSED]


def perceptual_hash(thumbnail: NDArray[np.uint8]) -> str:
    """Signs of the 8x8 lowest DCT coefficients of a thumbnail, without the mean.

    Args:
        thumbnail: uint8 (32, 32), grey.

    Returns:
        64 bits as 16 hex characters.

    Source: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, DCT hash. We compare
        the coefficients with zero and not with their median, because the median of a flat tile is noise.
    """
    signs = cv2.dct(thumbnail.astype(np.float32))[:HASH_SIDE, :HASH_SIDE] > 0
    signs[0, 0] = False
    return np.packbits(signs).tobytes().hex()


def turn_images(images: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    """Turn square images, uint8 (N, side, side)."""
    if turn.transposed:
        images = images.swapaxes(1, 2)
    if turn.rows_reversed:
        images = images[:, ::-1]
    if turn.columns_reversed:
        images = images[:, :, ::-1]
    return images


def turn_hashes(hashes: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    """The hashes of the turned images, without the images: uint8 (N, 8) to uint8 (N, 8).

    Transposing an image transposes its DCT. Reversing its rows or columns changes the sign of the coefficients with an
    odd vertical or horizontal frequency.
    """
    signs = np.unpackbits(hashes, axis=1).reshape(-1, HASH_SIDE, HASH_SIDE)
    if turn.transposed:
        signs = signs.swapaxes(1, 2)
    changed = np.zeros((HASH_SIDE, HASH_SIDE), np.uint8)
    if turn.rows_reversed:
        changed[1::2] ^= 1
    if turn.columns_reversed:
        changed[:, 1::2] ^= 1
    return np.packbits(signs ^ changed).reshape(-1, HASH_SIDE)


def near_duplicates(
    hashes: Sequence[str],
    thumbnails: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    correlation: float,
    asked: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Find the pairs of images that are near duplicates under any turn.

    The hashes of a candidate pair differ in at most `MAX_HASH_DISTANCE` bits. A multi-index of hash bands finds these
    in less than quadratic time: all upright ones, and all turned ones that differ in at most 3 bits. A candidate is a
    near duplicate if the thumbnails correlate. An image without any contrast is never a near duplicate.

    Args:
        hashes: N hashes from `perceptual_hash`.
        thumbnails: Returns the thumbnails of images, given their indices: uint8 (M, 32, 32), grey.
        correlation: Lowest Pearson correlation of a near duplicate.
        asked: bool (N,): look only for pairs with at least one of these images; None: for all pairs.

    Returns:
        int64 (P, 2): indices of images, the smaller one first, in ascending order.

    Source: Norouzi, Punjani, Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012, by FAISS.
    """
    import faiss

    upright = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, HASH_SIDE)
    if asked is None:
        asked = np.ones(len(upright), bool)
    index = faiss.IndexBinaryMultiHash(8 * upright.shape[1], HASH_BANDS, BITS_PER_BAND)
    index.add(upright)

    pairs = []
    for turn in TURNS:
        index.nflip = FLIPPED_BITS_UPRIGHT if turn == UPRIGHT else FLIPPED_BITS_TURNED
        candidates = _candidates(index, turn_hashes(upright[asked], turn), asked)
        pairs.append(_confirmed(candidates, turn, thumbnails, correlation))
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def _candidates(index: Any, turned: NDArray[np.uint8], asked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pairs of an image that was asked for, turned, and another image as it is, with similar hashes.

    Args:
        index: FAISS index of the hashes of all images.
        turned: uint8 (M, 8), the turned hashes of the images that were asked for.
        asked: bool (N,): which images these are.

    Returns:
        int64 (P, 2): the turned image first.
    """
    radius = MAX_HASH_DISTANCE + 1  # FAISS returns distances below the radius
    limits, _, found = index.range_search(turned, radius)
    matches = np.diff(limits.astype(np.int64)).astype(np.int64)
    owner = np.repeat(np.flatnonzero(asked), matches)

    # The inverse of a turn is a turn, so a pair is found from both sides if both images were asked for. Keep one.
    keep = (owner < found) | ~asked[found]
    return np.stack([owner, found], axis=1)[keep]


def _confirmed(
    candidates: NDArray[np.int64],
    turn: Turn,
    thumbnails: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    correlation: float,
) -> NDArray[np.int64]:
    """The candidates whose thumbnails correlate: int64 (P, 2)."""
    confirmed = np.zeros(len(candidates), bool)
    for start in range(0, len(candidates), PAIRS_PER_CHUNK):
        chunk = slice(start, start + PAIRS_PER_CHUNK)
        first, second = candidates[chunk].T
        turned = turn_images(thumbnails(first), turn)
        confirmed[chunk] = _correlations(turned, thumbnails(second)) >= correlation
    return candidates[confirmed]


def _correlations(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pearson correlation of each pair of thumbnails, 0 where one has no contrast: float32 (N,)."""
    x = first.reshape(len(first), -1).astype(np.float32)
    y = second.reshape(len(second), -1).astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)

    norm = np.sqrt(np.vecdot(x, x) * np.vecdot(y, y))
    return np.divide(np.vecdot(x, y), norm, out=np.zeros(len(x), np.float32), where=norm > 0)
