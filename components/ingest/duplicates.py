"""Pictures that are the same, or nearly: found by perceptual hash, confirmed by correlation."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 8
HASH_DISTANCE = 7  # bits of 64; re-encoded and slightly shifted concrete tiles differ by at most 3
BANDS, BAND_BITS = 4, 16
CHUNK = 4096


def perceptual_hash(thumbnail: NDArray[np.uint8]) -> str:
    """Signs of the 8x8 lowest DCT coefficients of a thumbnail, without the mean.

    Args:
        thumbnail: uint8 (32, 32), grey.

    Returns:
        64 bits as 16 hex characters.

    Source: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, DCT hash; the signs are
        taken against zero, since the median of 64 coefficients of a flat tile is noise.
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
    """Pairs of pictures that look the same.

    Candidates are at most 7 bits apart (found through a multi-index of hash bands, in less than quadratic time); a pair
    counts when the thumbnails' grey levels correlate. A picture without any contrast is never a near duplicate.

    Args:
        hashes: N of them, from `perceptual_hash`.
        thumbnails: Gives those of pictures of these indices, uint8 (M, 32, 32), grey.
        correlation: Least Pearson correlation.
        asked: bool (N,): only pairs with at least one of these are looked for; None: all.

    Returns:
        int64 (P, 2): indices of pictures, the smaller one first, ordered.

    Source: Norouzi, Punjani, Fleet, "Fast search in Hamming space with multi-index hashing", CVPR 2012, by FAISS.
    """
    bits = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, HASH_SIDE)
    first, second = _candidates(bits, np.ones(len(bits), bool) if asked is None else asked)
    keep = []
    for start in range(0, len(first), CHUNK):
        a, b = first[start : start + CHUNK], second[start : start + CHUNK]
        keep.append(_correlations(thumbnails(a), thumbnails(b)) >= correlation)
    chosen = np.concatenate(keep) if keep else np.empty(0, bool)
    return np.stack([first[chosen], second[chosen]], axis=1)


def _candidates(hashes: NDArray[np.uint8], asked: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ordered pairs of indices whose hashes differ in at most `HASH_DISTANCE` bits."""
    import faiss

    index = faiss.IndexBinaryMultiHash(8 * hashes.shape[1], BANDS, BAND_BITS)
    index.nflip = HASH_DISTANCE // BANDS  # by the pigeonhole principle one band differs by no more
    index.add(hashes)
    limits, _, found = index.range_search(hashes[asked], HASH_DISTANCE + 1)  # FAISS takes distances below the radius
    owner = np.repeat(np.flatnonzero(asked), np.diff(limits.astype(np.int64)).astype(np.int64))
    pairs = np.sort(np.stack([owner, found], axis=1)[owner != found], axis=1)
    ordered = np.unique(pairs, axis=0)
    return ordered[:, 0], ordered[:, 1]


def _correlations(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pearson correlation of each pair of thumbnails, 0 where one has no contrast."""
    x, y = (t.reshape(len(t), -1).astype(np.float32) for t in (a, b))
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    norm = np.sqrt(np.vecdot(x, x) * np.vecdot(y, y))
    return np.divide(np.vecdot(x, y), norm, out=np.zeros(len(x), np.float32), where=norm > 0)


class Clusters:
    """Disjoint sets of the indices 0 to size - 1 (union-find)."""

    def __init__(self, size: int):
        self._parent = list(range(size))

    def root(self, index: int) -> int:
        """The smallest index of the set that `index` is in."""
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def join(self, a: int, b: int) -> None:
        """Make one set of the sets of `a` and `b`."""
        low, high = sorted((self.root(a), self.root(b)))
        self._parent[high] = low
