"""Find the overlapping tiles of a data set.

First, we use landmarks to find pairs of tiles that could overlap. Then we compare the pixels of these tiles.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.ingest.earlier_versions import OVERLAP_TYPES, EarlierGroups
from components.ingest.overlap_check import compare, fine_structure
from components.ingest.overlaps import overlap_candidates
from components.ingest.text_lookup import positions
from components.shared.data.image import decode
from components.shared.events import progress

if TYPE_CHECKING:
    from scipy.cluster.hierarchy import DisjointSet

# Each tile in memory takes up to 1 MB.
TILES_IN_MEMORY = 128
CANDIDATES_PER_MESSAGE = 200
ROW_TYPES = OVERLAP_TYPES | {"first": "int64", "second": "int64"}


@dataclass(frozen=True)
class OverlapSearch:
    """How to find overlaps.

    Attributes:
        landmarks: Function that takes the index values of N images and returns their landmarks, an array of dtype
            `LANDMARK` and shape (N, LANDMARKS).
        read: Function that takes the index value of an image and returns the content of its file.
        correlation: Two tiles overlap if their `Overlap.correlation` is at least this number.
    """

    landmarks: Callable[[NDArray[np.int64]], NDArray]
    read: Callable[[int], bytes]
    correlation: float

    def find(
        self,
        indices: NDArray[np.int64],
        asked: NDArray[np.bool_],
        photos: NDArray[np.int64],
        together: NDArray[np.int64],
        transitive: bool,
    ) -> pd.DataFrame:
        """Find overlapping tiles that are not known to belong together.

        Args:
            indices: int64 (N,), index values of the tiles.
            asked: bool (N,), true for the tiles whose overlaps we want.
            photos: int64 (N,), the number of each tile's photo, or -1 if it is not known. Overlaps within a photo are
                not needed.
            together: int64 (P, 2), row numbers of near duplicates. Overlaps of near duplicates are not needed either.
            transitive: If true, leave out an overlap if other tiles already connect the two tiles. This saves most
                comparisons if the tiles of a photo were cut with a small step.

        Returns:
            Table (first, second, correlation, shared): row numbers, the smaller one first, and the values of
            `overlap_check.Overlap`.

        Raises:
            InputError: A tile was changed or removed after it was examined.
        """
        candidates = overlap_candidates(len(indices), lambda rows: self.landmarks(indices[rows]), asked)
        candidates = candidates.without(photos, together)
        connected = _sets(photos, together) if transitive else _sets(photos[:0], together[:0])
        structure = lru_cache(TILES_IN_MEMORY)(lambda row: fine_structure(decode(self.read(int(indices[row])))))

        found = []
        for number, (pair, turn, shift) in enumerate(candidates.by_first_tile()):
            if number % CANDIDATES_PER_MESSAGE == 0:
                progress(number, len(candidates.pairs), "comparing tiles that could overlap")
            first, second = pair
            if _connected(connected, first, second):
                continue
            overlap = compare(structure(first), structure(second), turn, shift, self.correlation)
            if overlap.correlation >= self.correlation:
                found.append((first, second, *overlap))
                if transitive:
                    connected.merge(first, second)
        return pd.DataFrame(found, columns=list(OVERLAP_TYPES)).astype(ROW_TYPES)


def _sets(photos: NDArray[np.int64], together: NDArray[np.int64]) -> "DisjointSet":
    """Return sets of tiles. Tiles of one photo are in one set, and so are the two tiles of a pair in `together`."""
    from scipy.cluster.hierarchy import DisjointSet

    known = np.flatnonzero(photos >= 0)
    _, first = np.unique(photos[known], return_index=True)
    first_of_photo = dict(zip(photos[known[first]].tolist(), known[first].tolist(), strict=True))

    sets = DisjointSet()
    pairs = [(first_of_photo[photo], row) for photo, row in zip(photos[known].tolist(), known.tolist(), strict=True)]
    for one, other in [*pairs, *together.tolist()]:
        sets.add(one)
        sets.add(other)
        sets.merge(one, other)
    return sets


def _connected(sets: "DisjointSet", first: int, second: int) -> bool:
    sets.add(first)
    sets.add(second)
    return sets.connected(first, second)


def find_overlaps(
    kept: pd.DataFrame,
    usable: NDArray[np.bool_],
    photos: pd.DataFrame,
    near_pairs: NDArray[np.int64],
    earlier: EarlierGroups,
    search: OverlapSearch | None,
    index_of_row: NDArray[np.int64],
) -> pd.DataFrame:
    """Return the overlaps of usable images: those that we find now, and those that earlier versions recorded.

    Args:
        kept: Images: columns sample_id, version (missing for new images), group_id.
        usable: bool (N,), true for images that are not in quarantine.
        photos: The table `Contents.photos`.
        near_pairs: int64 (M, 2), row numbers of near duplicates.
        earlier: The groups of earlier versions.
        search: How to find overlaps. None: return an empty table.
        index_of_row: int64 (N,), the index value of each image for the search.

    Returns:
        Table (first, second, correlation, shared): row numbers in `kept`.
    """
    if search is None:
        return pd.DataFrame(columns=list(ROW_TYPES)).astype(ROW_TYPES)
    rows = np.flatnonzero(usable)
    photo_of_row = np.full(len(kept), -1)
    names = photos[~photos.index.duplicated()]
    photo_of_row[names.index] = pd.factorize(names["name"])[0]

    near = near_pairs[usable[near_pairs].all(axis=1)]
    not_in_first_version = kept["version"].ne(0).fillna(True).to_numpy(bool)
    # We may leave out overlaps only if all images are new. Otherwise, an image between two groups of earlier versions
    # can be put in quarantine later. Such an image does not connect other tiles any more.
    transitive = kept["group_id"].isna().all()
    found = search.find(
        index_of_row[rows],
        not_in_first_version[rows],
        photo_of_row[rows],
        np.searchsorted(rows, near),
        bool(transitive),
    )
    found = found.assign(first=rows[found["first"]], second=rows[found["second"]])

    first = positions(earlier.overlaps["first"], kept["sample_id"])
    second = positions(earlier.overlaps["second"], kept["sample_id"])
    known = earlier.overlaps.assign(first=first, second=second)
    known = known[(first >= 0) & (second >= 0)]
    known = known[usable[row_pairs(known)].all(axis=1)]
    every = pd.concat([found, known.astype(ROW_TYPES)]).drop_duplicates(["first", "second"])
    return every.sort_values(["first", "second"], ignore_index=True)


def row_pairs(overlaps: pd.DataFrame) -> NDArray[np.int64]:
    """Return the columns `first` and `second` of a table of overlaps, as int64 (M, 2)."""
    return overlaps[["first", "second"]].to_numpy(np.int64)


def renumbered(overlaps: pd.DataFrame, chosen_rows: NDArray[np.int64]) -> pd.DataFrame:
    """Replace the row numbers in a table of overlaps. The new number of a row is its place in `chosen_rows`."""
    pairs = np.searchsorted(chosen_rows, row_pairs(overlaps))
    return overlaps.assign(first=pairs[:, 0], second=pairs[:, 1]).reset_index(drop=True)
