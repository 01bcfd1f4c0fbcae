"""Find the folders in which the tiles seem to be numbered photo by photo.

In such a folder, all tiles of one photo come first, then all tiles of the next photo, and so on. Tiles of one photo
have similar light and colour. So a tile is more similar to the next tile than to a random tile of the folder. We test
only tiles whose photo is not known. `neighbour_groups.py` can form groups from this order.
"""

import posixpath
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Ingestion measures these numbers in every tile. Their ranks are our embedding of a tile.
MEASURES = ["brightness", "contrast", "file_size", "red", "blue"]
MIN_FILES = 50
# The test uses at most this many files of a folder, from its start.
MAX_FILES = 5000
PERMUTATIONS = 999
# The order needs p <= MAX_P and a ratio that is clearly below 1, because tiny effects are significant in large folders.
MAX_P, MAX_RATIO = 0.001, 0.8
# Tiles that are so far apart in the order, as a share of the folder, are taken for tiles of different photos.
FAR_APART, DISTANCES_APART = (0.05, 0.1), 20
# Neighbours are joined if at most this share of the joined pairs is expected to show different photos.
MAX_WRONG_SHARE = 0.05


@dataclass(frozen=True)
class FolderOrder:
    """The order of the files in one folder.

    Attributes:
        source, folder: The folder.
        tiles: int64 (N,), row numbers of the tiles in the order of the files. N is at least `MIN_FILES`.
        ratio, p: The result of `neighbour_test`.
        joined: bool (N - 1,), the result of `resembling_neighbours`.
        far: The share of tiles far apart that resemble each other as much as joined neighbours, 0 to 1.
    """

    source: str
    folder: str
    tiles: NDArray[np.int64]
    ratio: float
    p: float
    joined: NDArray[np.bool_]
    far: float

    @property
    def runs_by_photo(self) -> bool:
        """True if the permutation test says that the file numbers run photo by photo."""
        return self.p <= MAX_P and self.ratio <= MAX_RATIO


def folder_orders(images: pd.DataFrame, related: NDArray[np.int64]) -> list[FolderOrder]:
    """Test the order of the files in each folder with enough tiles of unknown photos.

    Of related tiles (near duplicates and overlaps), only the first one is used, because almost equal tiles next to
    each other say nothing about photos.

    Args:
        images: Columns source, path, photo and MEASURES. If the photo of a tile is not known, its value is missing.
        related: int64 (M, 2), row numbers of related tiles.
    """
    table = images.assign(row=np.arange(len(images)), related=_sets(len(images), related))
    table["folder"] = table["path"].map(posixpath.dirname)
    table["key"] = table["path"].map(number_key)
    unknown = table[table["photo"].isna()].sort_values(["source", "key"]).drop_duplicates(["source", "related"])

    orders = []
    for (source, folder), tiles in unknown.groupby(["source", "folder"]):
        if len(tiles) < MIN_FILES:
            continue
        ranks = tiles[MEASURES].rank().to_numpy() / len(tiles)
        ratio, p = neighbour_test(ranks[:MAX_FILES])
        joined, far = resembling_neighbours(ranks)
        orders.append(FolderOrder(source, folder, tiles["row"].to_numpy(np.int64), ratio, p, joined, far))
    return orders


def neighbour_test(embedding: NDArray[np.float64]) -> tuple[float, float]:
    """Test whether neighbours in a sequence are more similar to each other than two random members are.

    Args:
        embedding: float64 (N, features), N >= 2, in the order of the sequence.

    Returns:
        A ratio and a p-value. The ratio is the mean squared distance of neighbours in the sequence, divided by the mean
        squared distance of neighbours in random orders. The ratio is about 1 if the order is random, and 1 if all
        members are equal. The p-value is from a permutation test, and is at least 1 / (PERMUTATIONS + 1).

    Source: Bartels, "The rank version of von Neumann's ratio test for randomness", JASA 1982. Our test uses several
        measures, and permutations instead of tables.
    """
    rng = np.random.default_rng(0)
    own = float(_distances(embedding, 1).mean())
    random = np.array([_distances(rng.permutation(embedding), 1).mean() for _ in range(PERMUTATIONS)])
    if random.mean() == 0:
        return 1.0, 1.0
    p = (1 + np.count_nonzero(random <= own)) / (PERMUTATIONS + 1)
    return own / float(random.mean()), float(p)


def resembling_neighbours(embedding: NDArray[np.float64]) -> tuple[NDArray[np.bool_], float]:
    """Find the neighbours in a sequence that resemble each other so much that both are probably from one photo.

    Tiles far apart in the sequence show how often tiles of different photos resemble each other by chance. They are
    not random pairs, because photos that were taken one after the other have similar light. The largest distance is
    used at which the chance pairs are at most `MAX_WRONG_SHARE` of the pairs of neighbours.

    Args:
        embedding: float64 (N, features), N >= `MIN_FILES`, in the order of the sequence.

    Returns:
        Two values: bool (N - 1,), true where a member and the next one are joined; and the share of members far apart
        with at most the same distance, 0 to 1.

    Source: Storey, "A direct approach to false discovery rates", JRSS B 2002, with the share of true null hypotheses
        set to 1, so the wrong share is overestimated.
    """
    nearest, farthest = FAR_APART[0] * len(embedding), FAR_APART[1] * len(embedding)
    lags = np.unique(np.linspace(nearest, farthest, DISTANCES_APART).astype(int))
    chance = np.sort(np.concatenate([_distances(embedding, lag) for lag in lags.tolist()]))
    own = _distances(embedding, 1)

    limits = np.sort(own)
    by_chance = (np.searchsorted(chance, limits, side="right") + 1) / len(chance)
    found = np.searchsorted(limits, limits, side="right") / len(limits)
    good = np.flatnonzero(by_chance <= MAX_WRONG_SHARE * found)
    if not len(good):
        return np.zeros(len(own), bool), 0.0
    return own <= limits[good[-1]], float(by_chance[good[-1]])


def _distances(embedding: NDArray[np.float64], apart: int) -> NDArray[np.float64]:
    """Return the squared distance of each member to the member `apart` places later, float64 (N - apart,)."""
    return np.asarray(np.square(embedding[apart:] - embedding[:-apart]).sum(axis=1), np.float64)


def _sets(number: int, related: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return for each tile the number of its set. Related tiles are in one set, also through other tiles."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(related), bool), (related[:, 0], related[:, 1])), shape=(number, number))
    return np.asarray(connected_components(graph, directed=False)[1], np.int32)


def number_key(path: str) -> str:
    """Return a key that sorts names by their numbers: 2.jpg before 10.jpg."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(12), path)
