"""Assign groups of images to splits: by stratum in the wanted shares, each group whole, the same for the same seed."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from components.shared.manifest import CLASSES, SPLITS, Splits, make_splits, read_manifest, write_splits
from components.shared.runtime import InputError
from components.split.config import SplitConfig
from components.split.leaks import check_leaks
from components.split.report import write_page

STRATUM = ["label", "source", "surface"]


def assign_splits(
    manifest_path: str | Path, splits_path: str | Path, page_path: str | Path, config: SplitConfig, seed: int
) -> Splits:
    """Split a data set version, check that nothing leaks, and report the composition.

    Args:
        manifest_path: The version's manifest.
        splits_path: Where to write the splits.
        page_path: Where to write the report, HTML.
        config: Shares.
        seed: Decides between equally good assignments; the same seed and manifest give the same splits.

    Raises:
        InputError: A class has fewer groups than there are splits, or a split would have too few images.
    """
    manifest = read_manifest(manifest_path)
    _check_groups(manifest.table)
    chosen = split_groups(manifest.table, config.shares(), seed)
    table = pd.DataFrame({"sample_id": manifest.table["sample_id"], "split": manifest.table["group_id"].map(chosen)})
    splits = make_splits(table)
    check_leaks(manifest, splits)
    _check_images(manifest.table.merge(splits.table, on="sample_id"), config)
    write_splits(splits, splits_path)
    write_page(manifest, splits, config.shares(), page_path)
    return splits


def split_groups(table: pd.DataFrame, shares: dict[str, float], seed: int) -> dict[str, str]:
    """Choose a split for each group.

    Groups are placed one by one, the largest first and equals in an order drawn from the seed, each where it brings
    the counts per stratum nearest to the wanted ones, measured as chi-square: the sum of (is - wanted)^2 / wanted.

    Args:
        table: Manifest rows (group_id, label, source, surface).
        shares: Wanted share of the images by split; they sum to 1.
        seed: Of the order.

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
    chosen = {}
    for index in sorted(range(len(names)), key=lambda i: (-sizes[i].sum(), drawn[i])):
        group = sizes[index]
        change = (group * (2 * (placed - wanted) + group) / wanted).sum(axis=1)
        best = int(change.round(9).argmin())  # rounded, so that every machine sees the same ties
        placed[best] += group
        chosen[names[index]] = list(shares)[best]
    return chosen


def _check_groups(table: pd.DataFrame) -> None:
    for label, name in enumerate(CLASSES):
        groups = sorted(table.loc[table["label"] == label, "group_id"].unique())
        if len(groups) < len(SPLITS):
            photos = {0: "no photos", 1: "one photo"}.get(len(groups), f"only {len(groups)} photos")
            raise InputError(
                f"{name} has {photos} ({', '.join(groups)}), and {len(SPLITS)} splits need one each, so it cannot be "
                "split without leaks; add photos of this class, or data of another source"
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
