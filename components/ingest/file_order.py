"""Find the folders in which the tiles seem to be numbered photo by photo.

In such a folder, all tiles of one photo come first, then all tiles of the next photo, and so on. Tiles of one photo
have similar light. So a tile is more similar to the next tile than to a random tile of the folder. We test only tiles
whose photo is not known. The result is only a hint for a person. We never form groups from it.
"""

import posixpath
import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Ingestion measures these numbers in every tile. Their ranks are our embedding of a tile.
MEASURES = ["brightness", "contrast", "darkest"]
MIN_FILES = 50
# The test uses at most this many files of a folder, from its start.
MAX_FILES = 5000
PERMUTATIONS = 999
# A hint needs p <= MAX_P and a ratio that is clearly below 1, because tiny effects are significant in large folders.
MAX_P, MAX_RATIO = 0.001, 0.8


def file_order_hints(images: pd.DataFrame) -> list[dict[str, Any]]:
    """Find the folders in which the tiles seem to be numbered photo by photo.

    Only tiles of unknown photos are tested. In each group (near duplicates and overlaps), only the first of these tiles
    is tested, because almost equal tiles next to each other say nothing about photos.

    Args:
        images: Columns source, path, photo, group_id, and MEASURES. The value of photo is missing if we do not know the
            photo of the tile.

    Returns:
        A list with one dict for each of these folders. The keys are source, folder, files, ratio and p. The value of
        files is the number of tested tiles. Ratio and p are the results of `neighbour_test`.
    """
    unknown = images[images["photo"].isna()].drop_duplicates(["source", "group_id"])
    folders = unknown["path"].map(posixpath.dirname)
    hints = []
    for (source, folder), tiles in unknown.groupby([unknown["source"], folders]):
        if len(tiles) < MIN_FILES:
            continue
        in_order = tiles.assign(key=tiles["path"].map(_number_key)).sort_values("key").head(MAX_FILES)
        ranks = in_order[MEASURES].rank().to_numpy() / len(in_order)
        ratio, p = neighbour_test(ranks)
        if p <= MAX_P and ratio <= MAX_RATIO:
            hints.append({"source": source, "folder": folder, "files": len(in_order), "ratio": ratio, "p": p})
    return hints


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
    own = _neighbour_distance(embedding)
    random = np.array([_neighbour_distance(rng.permutation(embedding)) for _ in range(PERMUTATIONS)])
    if random.mean() == 0:
        return 1.0, 1.0
    p = (1 + np.count_nonzero(random <= own)) / (PERMUTATIONS + 1)
    return float(own / random.mean()), float(p)


def _neighbour_distance(embedding: NDArray[np.float64]) -> float:
    return float(np.square(np.diff(embedding, axis=0)).sum(axis=1).mean())


def _number_key(path: str) -> str:
    """Return a key that sorts names by their numbers: 2.jpg before 10.jpg."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(12), path)
