"""Stop a run if near duplicates or overlapping tiles are in different splits, and show these tiles.

Every run checks a sample of the tiles. The command `crack-pipeline leaks` checks all tiles.
"""

import re
from collections.abc import Sequence
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
COLUMNS = ["sample_id", "path", "split"]


def check_tiles(
    store: Store,
    manifest: Manifest,
    splits: Splits,
    config: SplitConfig,
    seed: int,
    page_path: str | Path,
    sample: int | None,
) -> Comparison:
    """Compare the pixels of tiles. Check that near duplicates and overlapping tiles are never in different splits.

    Args:
        store: The store that contains the data set version.
        manifest: The data set version.
        splits: The splits of its tiles.
        config: `leak_correlation` and `leak_overlap` decide which pairs of tiles are leaks. If `leak_overlap` is
            None, overlapping tiles are not searched.
        seed: Seed of the sample.
        page_path: File to write if there is a leak. It is a page with the tiles of the leaks. A copy is written to the
            store, because the files of a pod are lost if its step fails.
        sample: Largest number of tiles to compare. None compares all tiles.

    Raises:
        InputError: There is a leak. The message names the first pairs and the page.
    """
    comparison = compare_tiles(store, manifest, splits, sample, seed, overlaps=config.leak_overlap is not None)
    named, ways_out = [], []
    near_duplicates, overlapping = comparison.near_duplicates(config), comparison.overlapping(config)
    if len(near_duplicates):
        named.append(_named("near duplicates", near_duplicates))
        ways_out.append(_way_out("lower ingest.near_duplicate", "leak_correlation", near_duplicates))
    if len(overlapping):
        named.append(_named("overlapping tiles", overlapping))
        ways_out.append(_way_out("switch on or lower ingest.overlap", "leak_overlap", overlapping))
    if not named:
        return comparison

    write_comparison(store, manifest, comparison, config, page_path)
    key = _keep(store, manifest, splits, page_path)
    raise InputError(
        f"{'. And '.join(named)}. {page_path} and {store.uri}/{key} show these tiles. Remove one tile of each pair. "
        f"{'. '.join(ways_out)}"
    )


def show_related(
    store: Store, manifest: Manifest, splits: Splits, pairs: Sequence[tuple[str, str]], page_path: str | Path
) -> str:
    """Write a page with pairs of related images in different splits. A copy is written to the store.

    Args:
        store: The store that contains the data set version.
        manifest: The data set version.
        splits: The splits of its tiles.
        pairs: The sample_ids of the pairs.
        page_path: File to write.

    Returns:
        The key of the copy in the store.

    Raises:
        InputError: A tile cannot be read from the store.
    """
    tiles = manifest.table.merge(splits.table, on="sample_id")[COLUMNS].set_index("sample_id", drop=False)
    first, second = map(list, zip(*pairs[:SHOWN_LEAKS], strict=True))
    others = tiles.loc[second].reset_index(drop=True).add_prefix("other_")
    shown = tiles.loc[first].reset_index(drop=True).join(others)

    page = Page("Leak check")
    page.callout(f"{len(pairs)} pairs of related images are in different splits.", passed=False)
    _show_pairs(page, store, manifest, shown, [], f"The first {len(shown)} of {len(pairs)} pairs")
    page.write(page_path)
    return _keep(store, manifest, splits, page_path)


def _named(kind: str, leaks: pd.DataFrame) -> str:
    """Name the first leaks of a kind."""
    named = []
    for pair in leaks.head(NAMED_PAIRS).itertuples():
        named.append(f"{pair.path} in {pair.split} and {pair.other_path} in {pair.other_split}")
    more = f"; and {len(leaks) - len(named)} more" if len(leaks) > len(named) else ""
    return f"{kind} are in different splits: {'; '.join(named)}{more}"


def _way_out(joining: str, limit: str, leaks: pd.DataFrame) -> str:
    """Say how ingestion can join the tiles, and how to raise the limit of the leak check."""
    return (
        f"Or {joining}, and check whether ingestion then puts both tiles into one group. If the page shows tiles of "
        f"different places, raise split.{limit} above {leaks['correlation'].max():.3f}"
    )


def _keep(store: Store, manifest: Manifest, splits: Splits, page_path: str | Path) -> str:
    """Write a copy of the page to the store, because the files of a pod are lost if its step fails. Return its key."""
    key = f"datasets/{manifest.digest}/leaks/{splits.digest}.html"
    store.put_file(key, page_path)
    return key


def require_digest(name: str) -> None:
    """Raise InputError if a text cannot be the digest of a data set version."""
    if not re.fullmatch("[0-9a-f]{64}", name):
        raise InputError(
            f"VERSION is {name}, which is not the digest of a data set version; give the whole digest, 64 hexadecimal "
            "digits"
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
    """Append a text about the comparison, and tables with images of the leaks.

    If there is no leak, the tables show the most similar tiles of different splits.
    """
    compared, tiles = comparison.compared, comparison.tiles
    page.text(
        "A leak is a pair of near duplicates, or of overlapping tiles, in two splits. With a leak, a network may be "
        f"tested on a tile from its training. The check used {compared} of {tiles} tiles. It compared each of these "
        "tiles with those in other splits, also mirrored and rotated.\n\n"
        "- To compare two tiles, the check removes gradual changes of brightness from both, and correlates the fine "
        "structure that is left. The tiles are *near duplicates* if this correlation is at least "
        f"{config.leak_correlation:g} (1 means identical).\n"
        f"- {_about_overlaps(config)}"
    )
    if compared < tiles:
        chance = (compared / tiles) ** 2
        page.text(
            f"The tiles are a random sample. So a single leak is found with a probability of only {chance:.1%}. The "
            "command `crack-pipeline leaks` compares all tiles."
        )

    near_duplicates, overlapping = comparison.near_duplicates(config), comparison.overlapping(config)
    without_a_leak = near_duplicates.empty and overlapping.empty
    similar = SHOWN_PAIRS_WITHOUT_A_LEAK if without_a_leak else 0
    if near_duplicates.empty:
        page.callout("None of these tiles has a near duplicate in another split.", passed=True)
    else:
        page.callout(f"{len(near_duplicates)} tiles have a near duplicate in another split.", passed=False)
    _show_leaks(page, store, manifest, near_duplicates, comparison.closest.head(similar), ["correlation"])

    if config.leak_overlap is None:
        return
    if overlapping.empty:
        page.callout("None of these tiles overlaps a tile in another split.", passed=True)
    else:
        page.callout(f"{len(overlapping)} pairs of overlapping tiles are in different splits.", passed=False)
    _show_leaks(page, store, manifest, overlapping, comparison.overlaps.head(similar), ["correlation", "shared"])


def _about_overlaps(config: SplitConfig) -> str:
    if config.leak_overlap is None:
        return "The check did not look for *overlapping* tiles, because `split.leak_overlap` is null."
    return (
        "Two tiles *overlap* if they share a fifth of a tile or more. The check lays one tile over the other, and "
        "correlates each quarter of the area that both show, and the concrete between its strong structures. The "
        f"lowest of these values must be at least {config.leak_overlap:g}."
    )


def _show_leaks(
    page: Page, store: Store, manifest: Manifest, leaks: pd.DataFrame, similar: pd.DataFrame, numbers: Sequence[str]
) -> None:
    """Append a table of leaks. If there is no leak, the table shows the pairs in `similar`."""
    if len(leaks):
        shown = leaks.head(SHOWN_LEAKS)
        caption = f"The first {len(shown)} of {len(leaks)} leaks, the most similar pair first"
    else:
        shown = similar
        caption = "The most similar tiles of different splits. Their correlation is below the limit"
    if len(shown):
        _show_pairs(page, store, manifest, shown, numbers, caption)


def _show_pairs(
    page: Page, store: Store, manifest: Manifest, pairs: pd.DataFrame, numbers: Sequence[str], caption: str
) -> None:
    """Append a table of pairs of tiles: both tiles as images, their files and splits, and columns with numbers."""
    places = manifest.table.set_index("sample_id", drop=False)
    images = read_images(store, places.loc[pairs["sample_id"]])
    other_images = read_images(store, places.loc[pairs["other_sample_id"]])

    rows = []
    for place, (image, other) in enumerate(zip(images, other_images, strict=True)):
        pair = pairs.iloc[place]
        cell = CellImage(_small(image), pair["path"])
        other_cell = CellImage(_small(other), pair["other_path"])
        values = map("{:.3f}".format, pair[list(numbers)])
        rows.append([cell, pair["path"], pair["split"], other_cell, pair["other_path"], pair["other_split"], *values])
    page.table(["tile", "file", "split", "tile", "file", "split", *numbers], rows, caption)


def _small(content: bytes) -> bytes:
    return thumbnail(decode(content), IMAGE_PIXELS)
