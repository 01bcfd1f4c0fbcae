"""Find near duplicates: images that show the same place almost identically.

A perceptual hash gives candidates, and the correlation of grey thumbnails confirms them.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 8
# Hashes of 64 bits. Those of tiles that were saved again or shifted slightly differ in at most 3 bits.
MAX_HASH_DISTANCE = 7
HASH_BANDS, BITS_PER_BAND = 4, 16
PAIRS_PER_CHUNK = 4096


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


def near_duplicates(
    hashes: Sequence[str],
    thumbnails: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    correlation: float,
    asked: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Find the pairs of images that are near duplicates.

    The hashes of a candidate pair differ in at most `MAX_HASH_DISTANCE` bits. A multi-index of hash bands finds these
    in less than quadratic time. A candidate is a near duplicate if the thumbnails correlate. An image without any
    contrast is never a near duplicate.

    Args:
        hashes: N hashes from `perceptual_hash`.
        thumbnails: Returns the thumbnails of images, given their indices: uint8 (M, 32, 32), grey.
        correlation: Lowest Pearson correlation of a near duplicate.
        asked: bool (N,): look only for pairs with at least one of these images; None: for all pairs.

    Returns:
        int64 (P, 2): indices of images, the smaller one first, in ascending order.

    Source: Norouzi, Punjani, Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012, by FAISS.
    """
    bits = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, HASH_SIDE)
    if asked is None:
        asked = np.ones(len(bits), bool)
    candidates = _candidates(bits, asked)

    confirmed = np.zeros(len(candidates), bool)
    for start in range(0, len(candidates), PAIRS_PER_CHUNK):
        chunk = slice(start, start + PAIRS_PER_CHUNK)
        first, second = candidates[chunk].T
        confirmed[chunk] = _correlations(thumbnails(first), thumbnails(second)) >= correlation
    return candidates[confirmed]


def _candidates(hashes: NDArray[np.uint8], asked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pairs of indices whose hashes differ in at most `MAX_HASH_DISTANCE` bits: int64 (P, 2), in ascending order."""
    import faiss

    index = faiss.IndexBinaryMultiHash(8 * hashes.shape[1], HASH_BANDS, BITS_PER_BAND)
    # By the pigeonhole principle, at least one band of a candidate differs in no more bits than this.
    index.nflip = MAX_HASH_DISTANCE // HASH_BANDS
    index.add(hashes)
    radius = MAX_HASH_DISTANCE + 1  # FAISS returns distances below the radius
    limits, _, found = index.range_search(hashes[asked], radius)

    matches = np.diff(limits.astype(np.int64)).astype(np.int64)
    owner = np.repeat(np.flatnonzero(asked), matches)
    pairs = np.stack([owner, found], axis=1)
    different = pairs[owner != found]
    return np.unique(np.sort(different, axis=1), axis=0)


def _correlations(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pearson correlation of each pair of thumbnails, 0 where one has no contrast: float32 (N,)."""
    x = first.reshape(len(first), -1).astype(np.float32)
    y = second.reshape(len(second), -1).astype(np.float32)
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)

    norm = np.sqrt(np.vecdot(x, x) * np.vecdot(y, y))
    return np.divide(np.vecdot(x, y), norm, out=np.zeros(len(x), np.float32), where=norm > 0)
