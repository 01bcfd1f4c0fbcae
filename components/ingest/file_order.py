"""Test whether the file numbers of a folder run photo by photo, if the photos of its tiles are not known.

This means that all tiles of one photo come first, then all tiles of the next photo, and so on. Tiles of one photo have
similar light. So in such a folder, a tile resembles its neighbour in the order of the files more than a random tile.
The result is only a hint for a person. We never form groups from it.
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
    """Find the folders whose file numbers seem to run photo by photo.

    Only tiles of unknown photos are tested. In each group (near duplicates and overlaps), only the first of these tiles
    is tested, because almost equal tiles next to each other say nothing about photos.

    Args:
        images: Columns source, path, photo, group_id, and MEASURES. If the photo of a tile is not known, its value is
            missing.

    Returns:
        A dict for each folder that was found: source, folder, files (number of tested tiles), and the values ratio and
        p from `neighbour_test`.
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
    """Test whether neighbours in a sequence resemble each other more than random members of the sequence.

    Args:
        embedding: float64 (N, features), N >= 2, in the order of the sequence.

    Returns:
        Two values. The first is the mean squared distance of neighbours, divided by its mean over random orders. It is
        about 1 if the order is random, and 1 if all members are equal. The second is the p-value of a permutation test.
        It is at least 1 / (PERMUTATIONS + 1).

    Source: Bartels, "The rank version of von Neumann's ratio test for randomness", JASA 1982, with several measures and
        a permutation test instead of tables.
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
