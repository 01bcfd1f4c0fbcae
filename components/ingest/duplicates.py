"""Find near duplicates: images that show the same place almost identically, upright, mirrored or rotated.

Perceptual hashes give candidate pairs. A pair is confirmed if the grey thumbnails of its two images correlate.

In this file, a turn is one of the eight ways to mirror a square image or rotate it by a multiple of 90 degrees. One of
the eight leaves the image upright.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 8
# The 64-bit hashes of a candidate pair differ in at most this many bits. If a tile is saved again or shifted slightly,
# at most 3 bits of its hash change.
MAX_HASH_DISTANCE = 7
HASH_BANDS, BITS_PER_BAND = 4, 16
# If two hashes differ in n bits, at least one of their bands differs in at most n / HASH_BANDS bits.
FLIPPED_BITS_UPRIGHT = MAX_HASH_DISTANCE // HASH_BANDS
# For turned images, we search only for equal bands, which is 17 times faster. If two hashes differ in at most 3 bits,
# at least one band is equal, so this search finds them.
FLIPPED_BITS_TURNED = 0
PAIRS_PER_CHUNK = 4096


class Turn(NamedTuple):
    """One of the eight ways to mirror or rotate an image.

    Each field is a step, such as the reversal of the rows. The steps whose field is true are done in the order of the
    fields.
    """

    transposed: bool
    rows_reversed: bool
    columns_reversed: bool


UPRIGHT = Turn(False, False, False)
MIRRORED = [Turn(False, False, True), Turn(False, True, False), Turn(False, True, True)]
TRANSPOSED = [Turn(True, *each[1:]) for each in (UPRIGHT, *MIRRORED)]
TURNS = [UPRIGHT, *MIRRORED, *TRANSPOSED]


def perceptual_hash(thumbnail: NDArray[np.uint8]) -> str:
    """Return the perceptual hash of a thumbnail: the signs of the 8x8 DCT coefficients with the lowest frequencies.

    The first coefficient is the mean. Its bit is always 0.

    Args:
        thumbnail: uint8 (32, 32), grey.

    Returns:
        64 bits as 16 hex characters, one bit for each coefficient.

    Source: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, DCT hash. We compare
        the coefficients with zero instead of their median, because the median of a flat tile is noise.
    """
    signs = cv2.dct(thumbnail.astype(np.float32))[:HASH_SIDE, :HASH_SIDE] > 0
    signs[0, 0] = False
    return np.packbits(signs).tobytes().hex()


def turn_images(images: NDArray, turn: Turn) -> NDArray:
    """Mirror or rotate images (N, height, width) as `turn` says. A transposing turn returns (N, width, height)."""
    if turn.transposed:
        images = images.swapaxes(1, 2)
    if turn.rows_reversed:
        images = images[:, ::-1]
    if turn.columns_reversed:
        images = images[:, :, ::-1]
    return images


def turn_hashes(hashes: NDArray[np.uint8], turn: Turn) -> NDArray[np.uint8]:
    """Compute the hashes of mirrored or rotated images from the hashes of the upright images.

    The images themselves are not needed. The hashes and the result are uint8 (N, 8).

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
    wanted: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Find the pairs of images that are near duplicates, also if one image is mirrored or rotated.

    The hashes of a candidate pair differ in at most `MAX_HASH_DISTANCE` bits. A multi-index of hash bands finds the
    candidate pairs in less than quadratic time. It finds every upright candidate pair. It finds every mirrored or
    rotated candidate pair whose hashes differ in at most 3 bits, and some of the other pairs. A candidate pair is
    confirmed if its thumbnails correlate enough. An image without contrast never has near duplicates.

    Args:
        hashes: N hashes from `perceptual_hash`.
        thumbnails: Function that takes the indices of M images and returns their thumbnails, uint8 (M, 32, 32), grey.
        correlation: A candidate pair is confirmed if the Pearson correlation of its thumbnails is at least this number.
        wanted: bool (N,), true for the images whose near duplicates we want. Each returned pair has at least one of
            these images. None means all images.

    Returns:
        int64 (P, 2): indices of images. The smaller index of a pair is first, and the pairs are in ascending order.

    Source: Norouzi, Punjani, Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012. We use FAISS.
    """
    import faiss

    upright = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, HASH_SIDE)
    if wanted is None:
        wanted = np.ones(len(upright), bool)
    index = faiss.IndexBinaryMultiHash(8 * upright.shape[1], HASH_BANDS, BITS_PER_BAND)
    index.add(upright)

    pairs = []
    for turn in TURNS:
        index.nflip = FLIPPED_BITS_UPRIGHT if turn == UPRIGHT else FLIPPED_BITS_TURNED
        candidates = _candidates(index, turn_hashes(upright[wanted], turn), wanted)
        pairs.append(_confirmed(candidates, turn, thumbnails, correlation))
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def _candidates(index: Any, turned: NDArray[np.uint8], wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pair each turned image with the unchanged images that have a similar hash.

    Args:
        index: FAISS index of the hashes of all images.
        turned: uint8 (M, 8), the turned hashes of the images whose near duplicates we want.
        wanted: bool (N,), true for these M images.

    Returns:
        int64 (P, 2): indices of images. The turned image of a pair is first.
    """
    radius = MAX_HASH_DISTANCE + 1  # FAISS returns distances below the radius
    limits, _, found = index.range_search(turned, radius)
    matches = np.diff(limits.astype(np.int64)).astype(np.int64)
    owner = np.repeat(np.flatnonzero(wanted), matches)

    # If both images of a pair are in `wanted`, the pair is found twice: by a turn of the first image, and by the
    # inverse turn of the second image. We return it once.
    keep = (owner < found) | ~wanted[found]
    return np.stack([owner, found], axis=1)[keep]


def _confirmed(
    candidates: NDArray[np.int64],
    turn: Turn,
    thumbnails: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    correlation: float,
) -> NDArray[np.int64]:
    """Return the candidate pairs whose thumbnails correlate enough (see `near_duplicates`), int64 (P, 2)."""
    confirmed = np.zeros(len(candidates), bool)
    for start in range(0, len(candidates), PAIRS_PER_CHUNK):
        chunk = slice(start, start + PAIRS_PER_CHUNK)
        first, second = candidates[chunk].T
        turned = turn_images(thumbnails(first), turn)
        confirmed[chunk] = _correlations(turned, thumbnails(second)) >= correlation
    return candidates[confirmed]


def _correlations(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the Pearson correlation of each pair of thumbnails, float32 (N,). Without contrast, it is 0."""
    x = first.reshape(len(first), -1).astype(np.float32)
    y = second.reshape(len(second), -1).astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)

    norm = np.sqrt(np.vecdot(x, x) * np.vecdot(y, y))
    return np.divide(np.vecdot(x, y), norm, out=np.zeros(len(x), np.float32), where=norm > 0)
