"""Compare the tiles of different splits by their pixels, and find near duplicates that the grouping missed.

Ingestion finds near duplicates by a perceptual hash and by the correlation of thumbnails. With the same measure, this
module would repeat the errors of ingestion. So it uses another measure: the correlation of the fine structure of two
tiles. The fine structure of a tile is a small thumbnail minus a blurred copy of the thumbnail. It does not contain slow
changes of brightness. For example, two smooth tiles are not similar only because the light comes from the same side.

Every tile is compared with every tile of the other splits, in all eight rotations and mirror images. We do not use an
approximate search, because it could miss a pair.

Overlapping tiles may be too different to be near duplicates. `keypoints.py` finds tiles that could overlap, and
`overlap_comparison.py` checks them.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

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
from components.split.config import SplitConfig
from components.split.keypoints import NO_KEYPOINTS, Keypoints, find_keypoints, overlap_candidates, working_image
from components.split.overlap_comparison import compare_candidates

THUMBNAIL_SIDE = 32
# Standard deviation of the blur, in pixels of the thumbnail. Structures larger than a fifth of the tile are removed.
BLUR = 1.5
# Width of the border that is not compared, in pixels. Near the border of the thumbnail, the blur is not exact.
BORDER = 3
SIDE = THUMBNAIL_SIDE - 2 * BORDER
TILES_PER_READ = 32
TILES_PER_SEARCH = 1024
MAX_SAMPLE_BYTES = 1_000_000_000
PAIR = ["sample_id", "other_sample_id"]


@dataclass(frozen=True)
class Comparison:
    """How similar the tiles of different splits are.

    Attributes:
        compared: Number of tiles that were compared with each other.
        tiles: Number of tiles in the data set version.
        closest: Table (sample_id, path, split, other_sample_id, other_path, other_split, correlation). Each row names a
            tile (sample_id), and the most similar tile from a larger split (other_sample_id). The most similar pair is
            first.
        overlaps: Table with the columns of `closest` and the column `shared`. Each row names two tiles that could
            overlap. The tiles are in different splits. `correlation` and `shared` are the values of
            `overlap_comparison.Overlap`. The pair with the highest correlation is first.
    """

    compared: int
    tiles: int
    closest: pd.DataFrame
    overlaps: pd.DataFrame

    def near_duplicates(self, config: SplitConfig) -> pd.DataFrame:
        """Return the rows of `closest` that are leaks."""
        return self.closest[self.closest["correlation"] >= config.leak_correlation]

    def overlapping(self, config: SplitConfig) -> pd.DataFrame:
        """Return the rows of `overlaps` that are leaks, without the pairs in `near_duplicates`."""
        if config.leak_overlap is None:
            return self.overlaps.head(0)
        found = self.overlaps[self.overlaps["correlation"] >= config.leak_overlap]
        return found.merge(self.near_duplicates(config)[PAIR], on=PAIR, how="left_anti")


def compare_tiles(
    store: Store, manifest: Manifest, splits: Splits, sample: int | None, seed: int, overlaps: bool
) -> Comparison:
    """Compare the tiles of different splits: all tiles of a data set version, or a random sample.

    Each tile needs 20 kB of memory. A tile is decoded once, and once more for each tile that it could overlap. The
    search for near duplicates takes 11 thousand operations for each pair of tiles.

    Args:
        store: The store that contains the data set version.
        manifest: The data set version.
        splits: The splits of its tiles.
        sample: Largest number of tiles in the random sample. The sample is also limited to MAX_SAMPLE_BYTES of files.
            None compares all tiles.
        seed: Seed of the sample.
        overlaps: Also look for overlapping tiles. This takes most of the time.

    Raises:
        InputError: A tile cannot be read from the store.
    """
    tiles = manifest.table.merge(splits.table, on="sample_id")
    rows = _largest_split_first(_chosen(tiles, sample, seed))
    ends = rows.groupby("split", sort=False).size().cumsum().to_numpy()

    described = _describe(store, rows, int(ends[0]), overlaps)
    best, correlations = most_similar(described.structures, ends)
    asked = np.flatnonzero(best >= 0)
    closest = _named_pairs(rows, asked, best[asked]).assign(correlation=correlations[asked])

    candidates = list(overlap_candidates(described.upright, described.mirrored, ends)) if overlaps else []
    found = compare_candidates(candidates, lambda row: _working_image(store, rows.iloc[[row]]))
    overlapping = _named_pairs(rows, found["row"].to_numpy(), found["other"].to_numpy())
    overlapping = overlapping.assign(correlation=found["correlation"], shared=found["shared"])
    return Comparison(len(rows), len(tiles), _most_similar_first(closest), _most_similar_first(overlapping))


def fine_structure(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the fine structure of a tile: its pixels without slow changes of brightness.

    Args:
        image: uint8 (H, W, 3), RGB.

    Returns:
        float32 (SIDE, SIDE). The mean is 0, and the Euclidean norm is 1. For a tile without any structure, all values
        are 0. The scalar product of two fine structures is their Pearson correlation.
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
    """For each tile, find the most similar tile of another split, among the splits that come before in `ends`.

    Two tiles are also similar if one of them is mirrored or rotated.

    Args:
        structures: float32 (N, SIDE, SIDE), from `fine_structure`. All tiles of a split are next to each other.
        ends: int64 (S,), the end of each split. For [5, 8], the rows 0 to 4 are the first split, and the rows 5 to 7
            are the second split.

    Returns:
        The row of the most similar tile, int64 (N,), and its correlation, float32 (N,). If no tile has a correlation
        above 0, the row is -1 and the correlation is 0. This is always so for the tiles of the first split.
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
    """Yield square images, float32 (N, side, side), in eight versions: each of four rotations, also mirrored."""
    for mirrored in (images, images[:, :, ::-1]):
        for quarters in range(4):
            yield np.rot90(mirrored, quarters, axes=(1, 2))


def _chosen(tiles: pd.DataFrame, sample: int | None, seed: int) -> pd.DataFrame:
    """Return all tiles, or a random sample of at most `sample` tiles, with at most MAX_SAMPLE_BYTES together.

    The sample consists of blocks of tiles that are next to each other in a shard, so we need few requests to read them.
    Such blocks are still a random sample, because ingestion packs tiles in the order of the hash of their content.
    """
    if sample is None:
        return tiles
    in_shards = tiles.sort_values(["shard", "offset"])
    block = np.arange(len(tiles)) // TILES_PER_READ
    drawn_order = np.random.default_rng(seed).permutation(block[-1] + 1)
    drawn = in_shards.iloc[np.argsort(drawn_order[block], kind="stable")[:sample]]
    return drawn[drawn["size"].cumsum() <= MAX_SAMPLE_BYTES]


def _largest_split_first(tiles: pd.DataFrame) -> pd.DataFrame:
    """Sort the tiles by split, the largest split first, and then by sample_id. The new index starts at 0."""
    tiles = tiles.assign(split_size=tiles.groupby("split")["split"].transform("size"))
    order = ["split_size", "split", "sample_id"]
    return tiles.sort_values(order, ascending=[False, True, True], ignore_index=True)


class Described(NamedTuple):
    """The fine structures and the keypoints of N tiles. The comparison of the tiles uses them.

    Attributes:
        structures: float32 (N, SIDE, SIDE), from `fine_structure`.
        upright: The keypoints of each tile.
        mirrored: The keypoints of each tile after it is mirrored left to right. They are empty for the tiles of the
            first split.
    """

    structures: NDArray[np.float32]
    upright: list[Keypoints]
    mirrored: list[Keypoints]


def _describe(store: Store, rows: pd.DataFrame, end_of_first_split: int, overlaps: bool) -> Described:
    """Read and describe tiles, in the order of `rows`. The index of `rows` is 0 to N - 1.

    Only the search for overlaps needs keypoints. If `overlaps` is false, no keypoints are computed.
    """
    structures = np.zeros((len(rows), SIDE, SIDE), np.float32)
    described = Described(structures, [NO_KEYPOINTS] * len(rows), [NO_KEYPOINTS] * len(rows))
    in_shards = rows.sort_values(["shard", "offset"])

    def read(start: int) -> int:
        block = in_shards.iloc[start : start + TILES_PER_READ]
        for row, path, content in zip(block.index, block["path"], _read_block(store, block), strict=True):
            image = _decoded(store, path, content)
            described.structures[row] = fine_structure(image)
            if not overlaps:
                continue
            grey = working_image(image)
            described.upright[row] = find_keypoints(grey)
            if row >= end_of_first_split:
                described.mirrored[row] = find_keypoints(np.ascontiguousarray(grey[:, ::-1]))
        return start + len(block)

    with ThreadPoolExecutor(THREADS) as pool:
        for done in pool.map(read, range(0, len(rows), TILES_PER_READ)):
            progress(done, len(rows), "reading tiles for the leak check")
    return described


def _decoded(store: Store, path: str, content: bytes) -> NDArray[np.uint8]:
    try:
        return decode(content)
    except ImageError as error:
        raise InputError(
            f"the tile {path} in the store {store.uri} cannot be decoded any more: {error}; ingest its source "
            "again into another store. The new ingestion refuses this tile"
        ) from error


def _working_image(store: Store, row: pd.DataFrame) -> NDArray[np.uint8]:
    (content,) = read_images(store, row)
    return working_image(_decoded(store, row["path"].iloc[0], content))


def _read_block(store: Store, block: pd.DataFrame) -> Iterator[bytes]:
    """Yield the files of tiles that are sorted by shard and offset. Each shard takes one request.

    If the bytes of a tile do not match its sha256, the tile is read again in a request of its own.
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


def _named_pairs(rows: pd.DataFrame, one: NDArray[np.int64], other: NDArray[np.int64]) -> pd.DataFrame:
    """Return a table with a row for each pair of tiles. `one` and `other` are the row numbers of the tiles.

    The columns are sample_id, path, split, other_sample_id, other_path and other_split, as in `Comparison.closest`.
    """
    columns = ["sample_id", "path", "split"]
    pairs = rows.loc[one, columns].reset_index(drop=True)
    return pairs.join(rows.loc[other, columns].reset_index(drop=True).add_prefix("other_"))


def _most_similar_first(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs.sort_values(["correlation", *PAIR], ascending=[False, True, True], ignore_index=True)
