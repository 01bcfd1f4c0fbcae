"""Assign groups of images to splits.

All images of a group get the same split. The images with the same label, source and surface form a stratum. Each split
gets about its wanted share of every stratum. The same seed gives the same splits.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from components.shared.data.manifest import CLASSES, SPLITS, Manifest, Splits, make_splits, read_manifest, write_splits
from components.shared.data.versions import read_version
from components.shared.errors import InputError
from components.shared.events import warn
from components.shared.hashing import digest
from components.shared.services.store import Store
from components.split.config import HeldOut, SplitConfig
from components.split.leak_check import LeakError, check_leaks
from components.split.ledger import Assignment, Ledger
from components.split.page import write_page
from components.split.related_images import related_images
from components.split.tile_comparison import Comparison
from components.split.tile_leaks import check_tiles, show_related

STRATUM = ["label", "source", "surface"]
DECIMALS_OF_CHI_SQUARE = 9  # chi-square is rounded, so that the splits are the same on all machines


def assign_splits(
    manifest_path: str | Path, splits_path: str | Path, page_path: str | Path, config: SplitConfig, seed: int
) -> Splits:
    """Split a data set version, check the splits for leaks, and write the page about them.

    Args:
        manifest_path: The data set version's manifest.
        splits_path: File to write: the splits.
        page_path: File to write: the page, HTML.
        config: The wanted shares of the splits, the surface or source that is held out, and the settings of the leak
            check.
        seed: Decides in which order groups of the same size are assigned. A run with the same seed, manifest and ledger
            gives the same splits. The ledger is the store's record of earlier splits. A group that is already in the
            ledger keeps its split.

    Raises:
        InputError: A class has fewer groups than there are splits, or a split would have too few images. The error is
            also raised if near duplicates or overlapping tiles are in different splits. Then the page shows these
            tiles.
        LeakError: Images are in different splits, although ingestion recorded them as related. The page shows these
            images.
    """
    manifest = read_manifest(manifest_path)
    store = Store(config.store)
    ledger = Ledger(store, digest(config.identity(), seed))
    related = related_images(store, manifest.digest)

    added = False
    while not added:
        earlier = ledger.read()
        chosen = choose_splits(manifest.table, config, seed, earlier)
        split_of_image = manifest.table["group_id"].map(chosen)
        splits = make_splits(manifest.table[["sample_id"]].assign(split=split_of_image))
        _check_related(store, manifest, splits, related, page_path)
        _check_images(manifest.table.merge(splits.table, on="sample_id"), config)
        comparison = _compare_sample(store, manifest, splits, config, seed, page_path)
        added = ledger.add(chosen)

    write_splits(splits, splits_path)
    assigned_before = len(chosen.keys() & earlier.keys())
    write_page(manifest, splits, config, assigned_before, store, comparison, page_path)
    return splits


def _check_related(
    store: Store, manifest: Manifest, splits: Splits, related: dict[str, list[tuple[str, str]]], page_path: str | Path
) -> None:
    """Check that images are in the same split if ingestion recorded them as related. A page shows the leaks.

    Raises:
        LeakError: There is a leak.
    """
    try:
        check_leaks(manifest, splits, related)
    except LeakError as error:
        if not error.pairs:
            raise
        try:
            key = show_related(store, manifest, splits, error.pairs, page_path)
        except InputError as unreadable:
            raise error from unreadable
        raise LeakError(f"{error}; {page_path} and {store.uri}/{key} show these tiles", error.pairs) from error


def _compare_sample(
    store: Store, manifest: Manifest, splits: Splits, config: SplitConfig, seed: int, page_path: str | Path
) -> Comparison | None:
    """Compare a sample of tiles across the splits. Return None if `leak_sample` is 0 or the store has no tiles."""
    if config.leak_sample == 0:
        return None
    if read_version(store, manifest.digest) is None:
        warn(
            "the store does not have the data set version, so the leak check compared no tiles; check that ingest and "
            "split use the same store"
        )
        return None
    return check_tiles(store, manifest, splits, config, seed, page_path, config.leak_sample)


def choose_splits(table: pd.DataFrame, config: SplitConfig, seed: int, earlier: Assignment) -> Assignment:
    """Choose a split for each group.

    A group that an earlier run assigned stays in its split. A new group of the held-out surface or source is put into
    the split `robustness`. All other groups are assigned so that each split gets about its wanted share.

    Args:
        table: Manifest rows.
        config: The shares, or the held-out surface or source.
        seed: Decides the order of groups of the same size.
        earlier: The assignments of earlier runs: group_id -> split.

    Raises:
        InputError: A class has too few groups, or there is no image of the held-out surface or source.
    """
    if not isinstance(config.robustness, HeldOut):
        _check_groups(table, SPLITS, "")
        return split_groups(table, config.shares(), seed, earlier)

    column, value = config.robustness.column_and_value()
    held_out = set(table.loc[table[column] == value, "group_id"])
    if not held_out:
        known = ", ".join(sorted(table[column].unique()))
        raise InputError(
            f'robustness holds out {column} "{value}", but no image has this {column}; choose one of {known}'
        )
    rest = table[~table["group_id"].isin(held_out)]
    _check_groups(rest, tuple(config.shares()), f" outside {column} {value}")

    chosen = {group: earlier.get(group, "robustness") for group in sorted(held_out)}
    return chosen | split_groups(rest, config.shares(), seed, earlier)


def split_groups(
    table: pd.DataFrame, shares: dict[str, float], seed: int, earlier: Assignment | None = None
) -> Assignment:
    """Choose a split for each group.

    Groups that earlier runs assigned stay in their splits. New groups are placed one by one, the largest first. The
    seed decides the order of groups of the same size. Each group is placed in the split that gives the lowest
    chi-square. Chi-square is the sum of (count - wanted)^2 / wanted over all strata and splits.

    Args:
        table: Manifest rows (group_id, label, source, surface).
        shares: Split -> wanted share of the images. The shares sum to 1.
        seed: Decides the order of groups of the same size.
        earlier: The assignments of earlier runs: group_id -> split. Some of these groups may not be in `table`.

    Returns:
        group_id -> split.

    Source: The order, largest first, is from scikit-learn's StratifiedGroupKFold, which supports only equal shares.
    """
    stratum = table.groupby(STRATUM, sort=True).ngroup()
    counts = pd.crosstab(table["group_id"], stratum)
    groups = counts.index.tolist()
    images = counts.to_numpy(np.float64)  # (groups, strata)
    splits = list(shares)
    wanted = np.outer(list(shares.values()), images.sum(axis=0))  # (splits, strata)
    placed = np.zeros_like(wanted)

    chosen: Assignment = {}
    new = []
    for row, group in enumerate(groups):
        split = (earlier or {}).get(group)
        if split in splits:
            chosen[group] = split
            placed[splits.index(split)] += images[row]
        else:
            drawn = hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()
            new.append((-images[row].sum(), drawn, row))

    for _, _, row in sorted(new):
        own = images[row]
        # This is the change of chi-square: ((placed + own - wanted)^2 - (placed - wanted)^2) / wanted.
        change = (own * (2 * (placed - wanted) + own) / wanted).sum(axis=1)
        best = int(change.round(DECIMALS_OF_CHI_SQUARE).argmin())
        placed[best] += own
        chosen[groups[row]] = splits[best]
    return chosen


def _check_groups(table: pd.DataFrame, splits: tuple[str, ...], where: str) -> None:
    """Raise InputError if a class has fewer groups than there are splits.

    `where` says, in the error message, which part of the data set is in `table`. An example is " outside surface wall",
    if the surface "wall" is held out. For the whole data set, `where` is "".
    """
    for label, name in enumerate(CLASSES):
        groups = sorted(table.loc[table["label"] == label, "group_id"].unique())
        if len(groups) < len(splits):
            listed = f" ({', '.join(groups)})" if groups else ""
            photos = {0: "no photos", 1: "one photo"}.get(len(groups), f"only {len(groups)} photos")
            raise InputError(
                f"the class {name} has {photos}{where}{listed}. Each of the {len(splits)} splits needs at least one "
                "photo of the class, so the data cannot be split without leaks. Add photos of this class, or add a "
                "source. If the data set report shows that ingestion joined tiles of different places, raise "
                "ingest.overlap or ingest.near_duplicate"
            )


def _check_images(table: pd.DataFrame, config: SplitConfig) -> None:
    for split in SPLITS:
        for label, name in enumerate(CLASSES):
            images = int(((table["split"] == split) & (table["label"] == label)).sum())
            if images < config.min_images:
                raise InputError(
                    f"too few images: the split {split} would have {images} images of class {name}, but "
                    f"split.min_images is {config.min_images}; the data set has {len(table)} images in "
                    f"{table['group_id'].nunique()} groups. Add images, raise the share of {split}, or lower "
                    "split.min_images"
                )
