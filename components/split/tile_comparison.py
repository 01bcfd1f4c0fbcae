"""Compare the tiles of different splits by their pixels, and find near duplicates that the grouping missed.

The check shares nothing with ingestion, which groups near duplicates by a perceptual hash and the correlation of
thumbnails: with the same measure, it would repeat the errors of the grouping. It correlates the fine structure of tiles
instead: a small thumbnail minus its own blur. Without the blur, two flat tiles under the same gradient of light do not
correlate. Every tile is compared with every tile of the other splits under all eight turns, without an index that
could miss a pair.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.shared.data.image import ImageError, decode
from components.shared.data.manifest import Manifest, Splits
from components.shared.data.versions import read_images, shard_key
from components.shared.errors import InputError
from components.shared.events import progress
from components.shared.hashing import bytes_digest
from components.shared.services.s3_client import THREADS
from components.shared.services.store import Store

THUMBNAIL_SIDE = 32
# Standard deviation in pixels of the thumbnail. Structures of a fifth of the tile and more are removed.
BLUR = 1.5
# Near the border the blur is wrong. All gradients of light would resemble each other there.
BORDER = 3
SIDE = THUMBNAIL_SIDE - 2 * BORDER
TILES_PER_READ = 32
TILES_PER_SEARCH = 1024
MAX_SAMPLE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Comparison:
    """How similar the tiles of different splits are.

    Attributes:
        compared: Number of tiles that were compared with each other.
        tiles: Number of tiles of the data set version.
        closest: Table (sample_id, path, split, other_sample_id, other_path, other_split, correlation). It pairs each
            tile with its most similar tile in the splits that are larger than its own. The most similar pair is first.
    """

    compared: int
    tiles: int
    closest: pd.DataFrame

    def leaks(self, correlation: float) -> pd.DataFrame:
        """The rows of `closest` from a correlation on."""
        return self.closest[self.closest["correlation"] >= correlation]


def compare_tiles(store: Store, manifest: Manifest, splits: Splits, sample: int | None, seed: int) -> Comparison:
    """Compare the tiles of a version, or a random sample of them, across its splits.

    Memory is 2.7 kB for each tile that is compared. Time is a decoding for each of them, and 11 thousand operations for
    each pair of tiles in different splits.

    Args:
        store: Storage root that has the version.
        manifest: The version.
        splits: Its assignment.
        sample: Largest number of tiles to compare, also limited by `MAX_SAMPLE_BYTES`; None compares all tiles.
        seed: Draws the sample.

    Raises:
        InputError: A tile cannot be read from the store.
    """
    tiles = manifest.table.merge(splits.table, on="sample_id")
    rows = _largest_split_first(_chosen(tiles, sample, seed))
    ends = rows.groupby("split", sort=False).size().cumsum().to_numpy()

    structures = _read_fine_structures(store, rows)
    best, correlations = most_similar(structures, ends)
    return Comparison(len(rows), len(tiles), _closest_pairs(rows, best, correlations))


def fine_structure(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a tile shows apart from slow changes of brightness.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns:
        float32 (SIDE, SIDE) with mean 0 and length 1, or zeros for a tile without any structure. The product of two of
        them is their Pearson correlation.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    small = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    structure = (small - cv2.GaussianBlur(small, (0, 0), BLUR))[BORDER:-BORDER, BORDER:-BORDER]
    structure -= structure.mean()

    length = float(np.linalg.norm(structure))
    nothing_but_rounding = length < 1e-2
    return np.zeros_like(structure) if nothing_but_rounding else structure / length


def most_similar(
    structures: NDArray[np.float32], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each tile, find the most similar one, under any turn, in the splits before its own.

    Args:
        structures: float32 (N, SIDE, SIDE), from `fine_structure`; the tiles of a split follow each other.
        ends: int64 (S,): the row after the last tile of each split, ascending.

    Returns:
        int64 (N,): row of the most similar tile, -1 for tiles of the first split; and float32 (N,): the correlation, 0
        for tiles of the first split.
    """
    import faiss

    number = len(structures)
    vectors = structures.reshape(number, -1)
    best = np.full(number, -1, np.int64)
    correlations = np.zeros(number, np.float32)

    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        for first in range(start, end, TILES_PER_SEARCH):
            asked = slice(first, min(first + TILES_PER_SEARCH, end))
            for turned in _turns(structures[asked]):
                queries = np.ascontiguousarray(turned).reshape(len(turned), -1)
                found, rows = faiss.knn(queries, vectors[:start], 1, metric=faiss.METRIC_INNER_PRODUCT)
                better = found[:, 0] > correlations[asked]
                correlations[asked][better] = found[better, 0]
                best[asked][better] = rows[better, 0]
            progress(asked.stop, number, "comparing tiles of different splits")
    return best, correlations


def _turns(images: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Square images, float32 (N, side, side), under each of the eight rotations and mirrors."""
    for mirrored in (images, images[:, :, ::-1]):
        for quarters in range(4):
            yield np.rot90(mirrored, quarters, axes=(1, 2))


def _chosen(tiles: pd.DataFrame, sample: int | None, seed: int) -> pd.DataFrame:
    """All tiles; or a random sample of at most so many tiles, and of at most `MAX_SAMPLE_BYTES`.

    The sample consists of tiles that follow each other in the shards, so that few requests read it. Ingestion packs
    tiles in the order of their content's hash, which makes neighbours a random choice.
    """
    if sample is None:
        return tiles
    in_shards = tiles.sort_values(["shard", "offset"])
    block = np.arange(len(tiles)) // TILES_PER_READ
    drawn_order = np.random.default_rng(seed).permutation(block[-1] + 1)
    drawn = in_shards.iloc[np.argsort(drawn_order[block], kind="stable")[:sample]]
    return drawn[drawn["size"].cumsum() <= MAX_SAMPLE_BYTES]


def _largest_split_first(tiles: pd.DataFrame) -> pd.DataFrame:
    """The tiles ordered by split, the largest split first, and then by sample_id; index from 0."""
    tiles = tiles.assign(split_size=tiles.groupby("split")["split"].transform("size"))
    order = ["split_size", "split", "sample_id"]
    return tiles.sort_values(order, ascending=[False, True, True], ignore_index=True)


def _read_fine_structures(store: Store, rows: pd.DataFrame) -> NDArray[np.float32]:
    """The fine structures of tiles, float32 (N, SIDE, SIDE), in the order of the rows, whose index is 0 to N - 1."""
    structures = np.zeros((len(rows), SIDE, SIDE), np.float32)
    in_shards = rows.sort_values(["shard", "offset"])

    def read(start: int) -> int:
        block = in_shards.iloc[start : start + TILES_PER_READ]
        for row, path, content in zip(block.index, block["path"], _read_block(store, block), strict=True):
            try:
                structures[row] = fine_structure(decode(content))
            except ImageError as error:
                raise InputError(
                    f"the tile {path} in the store {store.uri} cannot be decoded any more: {error}; ingest its source "
                    "again into another store, which refuses the tile"
                ) from error
        return start + len(block)

    with ThreadPoolExecutor(THREADS) as pool:
        for done in pool.map(read, range(0, len(rows), TILES_PER_READ)):
            progress(done, len(rows), "reading tiles for the leak check")
    return structures


def _read_block(store: Store, block: pd.DataFrame) -> Iterator[bytes]:
    """The files of tiles that are ordered by shard and offset, with one request for each shard.

    A tile whose bytes are not those that were stored is read again, by itself.
    """
    for shard, rows in block.groupby("shard", sort=False):
        start = int(rows["offset"].iloc[0])
        end = int(rows["offset"].iloc[-1] + rows["size"].iloc[-1])
        data = store.get_part(shard_key(str(shard)), start, end - start)

        ends = rows["offset"] - start + rows["size"]
        for number, (sample_id, size, own_end) in enumerate(zip(rows["sample_id"], rows["size"], ends, strict=True)):
            content = data[own_end - size : own_end]
            if bytes_digest(content) != sample_id:
                (content,) = read_images(store, rows.iloc[[number]])
            yield content


def _closest_pairs(rows: pd.DataFrame, best: NDArray[np.int64], correlations: NDArray[np.float32]) -> pd.DataFrame:
    """The table `closest` of a comparison."""
    asked = np.flatnonzero(best >= 0)
    columns = ["sample_id", "path", "split"]
    pairs = rows.loc[asked, columns].reset_index(drop=True)
    others = rows.loc[best[asked], columns].reset_index(drop=True).add_prefix("other_")
    pairs = pairs.join(others).assign(correlation=correlations[asked])
    return pairs.sort_values(["correlation", "sample_id"], ascending=[False, True], ignore_index=True)
