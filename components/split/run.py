"""Assign groups of images to splits: by stratum in the wanted shares, each group whole, the same for the same seed."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from components.shared.data.manifest import CLASSES, SPLITS, Splits, make_splits, read_manifest, write_splits
from components.shared.errors import InputError
from components.shared.hashing import digest
from components.shared.services.store import Store
from components.split.config import HeldOut, SplitConfig
from components.split.leak_check import check_leaks
from components.split.ledger import Assignment, Ledger
from components.split.page import write_page
from components.split.related_images import kin

STRATUM = ["label", "source", "surface"]


def assign_splits(
    manifest_path: str | Path, splits_path: str | Path, page_path: str | Path, config: SplitConfig, seed: int
) -> Splits:
    """Split a data set version, check that nothing leaks, and report the composition.

    Args:
        manifest_path: The version's manifest.
        splits_path: Where to write the splits.
        page_path: Where to write the report, HTML.
        config: Shares, or the domain held out for robustness.
        seed: Decides between equally good assignments. The same seed, manifest and ledger give the same splits; a group
            that the store's ledger knows keeps its split.

    Raises:
        InputError: A class has fewer groups than there are splits, or a split would have too few images.
    """
    manifest, store = read_manifest(manifest_path), Store(config.store)
    ledger, akin = Ledger(store, digest(config.identity(), seed)), kin(store, manifest.digest)
    added = False
    while not added:
        earlier = ledger.read()
        chosen = choose_splits(manifest.table, config, seed, earlier)
        splits = make_splits(manifest.table[["sample_id"]].assign(split=manifest.table["group_id"].map(chosen)))
        check_leaks(manifest, splits, akin)
        _check_images(manifest.table.merge(splits.table, on="sample_id"), config)
        added = ledger.add(chosen)
    write_splits(splits, splits_path)
    write_page(manifest, splits, config, len(chosen.keys() & earlier.keys()), page_path)
    return splits


def choose_splits(table: pd.DataFrame, config: SplitConfig, seed: int, earlier: Assignment) -> Assignment:
    """Choose a split for each group: the earlier one where it has one; else the held-out domain, or by shares.

    Args:
        table: Manifest rows.
        config: Shares, or the domain held out.
        seed: Of the order among equals.
        earlier: Groups that were assigned before.

    Raises:
        InputError: A class has too few groups, or no image is of the domain to hold out.
    """
    if isinstance(config.robustness, HeldOut):
        column, value = config.robustness.column_and_value()
        held = set(table.loc[table[column] == value, "group_id"])
        if not held:
            there = ", ".join(sorted(table[column].unique()))
            raise InputError(f'robustness holds out {column} "{value}", and no image has it; there are: {there}')
        earlier = {**dict.fromkeys(sorted(held), "robustness"), **earlier}
        rest = table[~table["group_id"].isin(held)]
        _check_groups(rest, tuple(config.shares()), f" outside {column} {value}")
        kept = {name: split for name, split in earlier.items() if name in held}
        return kept | split_groups(rest, config.shares(), seed, earlier)
    _check_groups(table, SPLITS, "")
    return split_groups(table, config.shares(), seed, earlier)


def split_groups(
    table: pd.DataFrame, shares: dict[str, float], seed: int, earlier: Assignment | None = None
) -> Assignment:
    """Choose a split for each group.

    Groups that were assigned before stay where they are. The others are placed one by one, the largest first and equals
    in an order drawn from the seed, each where it brings the counts per stratum nearest to the wanted ones, measured as
    chi-square: the sum of (is - wanted)^2 / wanted.

    Args:
        table: Manifest rows (group_id, label, source, surface).
        shares: Wanted share of the images by split; they sum to 1.
        seed: Of the order.
        earlier: Split by group_id of groups that were assigned before; may name others too.

    Returns:
        Split by group_id.

    Source: The greedy order is that of scikit-learn's StratifiedGroupKFold, which makes folds of equal size only.
    """
    stratum = table.groupby(STRATUM, sort=True).ngroup()
    counts = pd.crosstab(table["group_id"], stratum)
    names = counts.index.to_numpy()
    sizes = counts.to_numpy(np.float64)
    totals = sizes.sum(axis=0)
    wanted = np.outer(list(shares.values()), totals)  # (splits, strata)
    placed = np.zeros_like(wanted)
    drawn = [hashlib.sha256(f"{seed}:{name}".encode()).hexdigest() for name in names]
    order = list(shares)
    known = {name: split for name, split in (earlier or {}).items() if split in order}
    chosen = {name: known[name] for name in names if name in known}
    for index, name in enumerate(names):
        if name in chosen:
            placed[order.index(chosen[name])] += sizes[index]
    new = [index for index, name in enumerate(names) if name not in chosen]
    for index in sorted(new, key=lambda i: (-sizes[i].sum(), drawn[i])):
        group = sizes[index]
        change = (group * (2 * (placed - wanted) + group) / wanted).sum(axis=1)
        best = int(change.round(9).argmin())  # rounded, so that every machine sees the same ties
        placed[best] += group
        chosen[names[index]] = order[best]
    return chosen


def _check_groups(table: pd.DataFrame, splits: tuple[str, ...], where: str) -> None:
    for label, name in enumerate(CLASSES):
        groups = sorted(table.loc[table["label"] == label, "group_id"].unique())
        if len(groups) < len(splits):
            photos = {0: "no photos", 1: "one photo"}.get(len(groups), f"only {len(groups)} photos")
            raise InputError(
                f"{name} has {photos}{where} ({', '.join(groups)}), and {len(splits)} splits need one each, so it "
                "cannot be split without leaks; add photos of this class, or data of another source"
            )


def _check_images(table: pd.DataFrame, config: SplitConfig) -> None:
    for split in SPLITS:
        for label, name in enumerate(CLASSES):
            images = int(((table["split"] == split) & (table["label"] == label)).sum())
            if images < config.min_images:
                raise InputError(
                    f"too few images: the split {split} would have {images} of class {name}, and min_images is "
                    f"{config.min_images}; the data set has {len(table)} images in {table['group_id'].nunique()} "
                    f"groups. Add images, or raise the share of {split}"
                )
