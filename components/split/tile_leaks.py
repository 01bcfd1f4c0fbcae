"""Stop a run if near duplicates are in different splits, and show these tiles.

Every run checks a sample of the tiles. The command `crack-pipeline leaks` checks all tiles.
"""

from pathlib import Path

import pandas as pd

from components.shared.data.image import decode, thumbnail
from components.shared.data.manifest import Manifest, Splits, make_splits, read_manifest
from components.shared.data.versions import MANIFEST, read_images, read_version, version_names
from components.shared.errors import InputError
from components.shared.hashing import digest
from components.shared.page import CellImage, Page
from components.shared.services.store import Store
from components.split.config import SplitConfig
from components.split.ledger import Ledger
from components.split.tile_comparison import Comparison, compare_tiles

SHOWN_LEAKS = 50
SHOWN_PAIRS_WITHOUT_A_LEAK = 3
NAMED_PAIRS = 3
IMAGE_PIXELS = 160


def check_tiles(
    store: Store,
    manifest: Manifest,
    splits: Splits,
    config: SplitConfig,
    seed: int,
    page_path: str | Path,
    sample: int | None,
) -> Comparison:
    """Compare the pixels of tiles, to check that no tile is a near duplicate of a tile in another split.

    Args:
        store: The store that contains the data set version.
        manifest: The data set version.
        splits: The splits of its tiles.
        config: Two tiles are a leak if their correlation is at least `leak_correlation`.
        seed: Seed of the sample.
        page_path: File to write if there is a leak. It is a page with the tiles of the leaks. A copy is written to the
            store, because the files of a pod are lost if its step fails.
        sample: Largest number of tiles to compare. None compares all tiles.

    Raises:
        InputError: There is a leak. The message names the first pairs and the page.
    """
    comparison = compare_tiles(store, manifest, splits, sample, seed)
    leaks = comparison.leaks(config.leak_correlation)
    if leaks.empty:
        return comparison

    write_comparison(store, manifest, comparison, config, page_path)
    key = f"datasets/{manifest.digest}/leaks/{splits.digest}.html"
    store.put_file(key, page_path)

    named = []
    for pair in leaks.head(NAMED_PAIRS).itertuples():
        named.append(f"{pair.path} in {pair.split} and {pair.other_path} in {pair.other_split}")
    more = f"; and {len(leaks) - len(named)} more" if len(leaks) > len(named) else ""
    raise InputError(
        f"near duplicates are in different splits: {'; '.join(named)}{more}. {page_path} and {store.uri}/{key} show "
        "these tiles. Remove one tile of each pair. Or lower ingest.near_duplicate, and check whether ingestion then "
        "puts both tiles into one group. If the page shows tiles of different places, raise split.leak_correlation "
        f"above {leaks['correlation'].max():.3f}"
    )


def check_version(
    store: Store, name: str | None, config: SplitConfig, seed: int, page_path: str | Path, scratch: Path
) -> Comparison:
    """Check all tiles of a data set version in the store, with the splits that an earlier run assigned.

    Args:
        store: The store that contains the data set version.
        name: Digest of the data set version. None means the newest version.
        config: The configuration of the split step in the earlier run.
        seed: The seed of the earlier run.
        page_path: File to write: a page with the most similar tiles.
        scratch: Local folder for temporary files.

    Raises:
        InputError: There is a leak, the store does not have the data set version, or no run has split this version with
            this configuration and seed.
    """
    name = name or _newest_version(store)
    version = read_version(store, name)
    if version is None:
        raise InputError(
            f"the store {store.uri} has no data set version {name}; give the whole digest, or start a run, which "
            "ingests the data"
        )
    (scratch / MANIFEST).write_bytes(version.read(store, MANIFEST))
    manifest = read_manifest(scratch / MANIFEST)

    split_of_group = Ledger(store, digest(config.identity(), seed)).read()
    split_of_tile = manifest.table["group_id"].map(split_of_group)
    unknown = int(split_of_tile.isna().sum())
    if unknown:
        raise InputError(
            f"{unknown} tiles of the data set version {name[:12]} were never split with this configuration and seed "
            f"{seed}; give the parameter file, the options --set and the seed of the run that split this version"
        )

    splits = make_splits(manifest.table[["sample_id"]].assign(split=split_of_tile))
    comparison = check_tiles(store, manifest, splits, config, seed, page_path, sample=None)
    write_comparison(store, manifest, comparison, config, page_path)
    return comparison


def _newest_version(store: Store) -> str:
    """Return the digest of the data set version that was written last."""
    names = version_names(store)
    if not names:
        raise InputError(f"the store {store.uri} has no data set version; start a run, which ingests the data")
    return names[0]


def write_comparison(
    store: Store, manifest: Manifest, comparison: Comparison, config: SplitConfig, path: str | Path
) -> None:
    """Write an HTML page with the leaks. If there is no leak, it shows the most similar tiles of different splits."""
    page = Page("Leak check")
    show_comparison(page, store, manifest, comparison, config)
    page.write(path)


def show_comparison(page: Page, store: Store, manifest: Manifest, comparison: Comparison, config: SplitConfig) -> None:
    """Append a text about the comparison, and a table with images of the leaks.

    If there is no leak, the table shows the most similar tiles of different splits.
    """
    limit = config.leak_correlation
    leaks = comparison.leaks(limit)
    compared, tiles = comparison.compared, comparison.tiles
    page.text(
        "A leak is a pair of near duplicates in two splits. With a leak, a network may be tested on a tile from "
        f"its training. The check took {compared} of {tiles} tiles. It compared each of these tiles with those in "
        "other splits, also mirrored and rotated. The comparison uses the fine structure of a tile, without "
        "slow changes of brightness. Two tiles are a leak if the correlation of their fine structure is at least "
        f"{limit:g} (1 means identical). The check finds near duplicates. It does not find tiles that only overlap."
    )
    if compared < tiles:
        chance = (compared / tiles) ** 2
        page.text(
            f"The tiles are a random sample. So a single pair of near duplicates is found with a probability of only "
            f"{chance:.1%}. The command `crack-pipeline leaks` compares all tiles."
        )

    if leaks.empty:
        page.callout("None of these tiles has a near duplicate in another split.", passed=True)
        shown = comparison.closest.head(SHOWN_PAIRS_WITHOUT_A_LEAK)
        caption = "The most similar tiles of different splits. Their correlation is below the limit"
    else:
        page.callout(f"{len(leaks)} tiles have a near duplicate in another split.", passed=False)
        shown = leaks.head(SHOWN_LEAKS)
        caption = f"The first {len(shown)} of {len(leaks)} leaks, the most similar pair first"
    page.table(
        ["tile", "file", "split", "tile", "file", "split", "correlation"], _rows(store, manifest, shown), caption
    )


def _rows(store: Store, manifest: Manifest, pairs: pd.DataFrame) -> list[list]:
    """Return table rows for pairs of tiles: both tiles as images, their files and splits, and their correlation."""
    places = manifest.table.set_index("sample_id", drop=False)
    images = read_images(store, places.loc[pairs["sample_id"]])
    other_images = read_images(store, places.loc[pairs["other_sample_id"]])

    rows = []
    for pair, image, other in zip(pairs.itertuples(), images, other_images, strict=True):
        cell = CellImage(_small(image), pair.path)
        other_cell = CellImage(_small(other), pair.other_path)
        correlation = f"{pair.correlation:.3f}"
        rows.append([cell, pair.path, pair.split, other_cell, pair.other_path, pair.other_split, correlation])
    return rows


def _small(content: bytes) -> bytes:
    return thumbnail(decode(content), IMAGE_PIXELS)
