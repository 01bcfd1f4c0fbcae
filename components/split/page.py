"""The split's composition, for a person."""

from pathlib import Path

import pandas as pd

from components.shared.data.manifest import CLASSES, SPLITS, Manifest, Splits
from components.shared.page import Page
from components.split.config import HeldOut, SplitConfig

NOTABLE = 0.02  # share of the images that a split may be off without a word


def write_page(manifest: Manifest, splits: Splits, config: SplitConfig, earlier: int, path: str | Path) -> None:
    """Write what each split is made of as one HTML page.

    Args:
        manifest: The data set version.
        splits: Its assignment.
        config: Wanted shares, or the domain held out.
        earlier: Groups that were assigned before.
        path: File to write.
    """
    table = manifest.table.merge(splits.table, on="sample_id")
    page = Page("Splits")
    page.text(
        f"{len(table)} images in {table['group_id'].nunique()} groups. A group (the tiles of one photo, or "
        "pictures that look the same) is never divided; classes, sources and surfaces are spread evenly. Checked: no "
        "leaks."
    )
    if earlier:
        page.text(f"{earlier} groups were assigned before, in other versions of the data, and stayed where they were.")
    shares = _wanted(table, config)
    rows, notes = [], []
    for split in SPLITS:
        part = table[table["split"] == split]
        share = len(part) / len(table)
        by_class = [int((part["label"] == label).sum()) for label in range(len(CLASSES))]
        rows.append([split, len(part), f"{share:.1%}", f"{shares[split]:.1%}", part["group_id"].nunique(), *by_class])
        if abs(share - shares[split]) > NOTABLE:
            sizes = table.groupby("group_id").size()
            notes.append(
                f"{split} has {share:.1%} of the images instead of {shares[split]:.1%}, because groups stay whole"
                f"{' and where they were' if earlier else ''}; the largest of the {len(sizes)}, {sizes.idxmax()}, has "
                f"{int(sizes.max())} images ({sizes.max() / len(table):.1%})."
            )
    page.table(["split", "images", "share", "wanted", "groups", *CLASSES], rows, "Composition")
    for note in notes:
        page.text(note)
    strata = table.groupby(["source", "surface", "label"])["split"].value_counts().unstack(fill_value=0)
    rows = [
        [source, surface, CLASSES[label], *(int(row.get(split, 0)) for split in SPLITS)]
        for (source, surface, label), row in strata.iterrows()
    ]
    page.table(["source", "surface", "class", *SPLITS], rows, "Images by source, surface and class")
    page.write(path)


def _wanted(table: pd.DataFrame, config: SplitConfig) -> dict[str, float]:
    """Share of all images by split; with a domain held out, the other splits share what is left."""
    if not isinstance(config.robustness, HeldOut):
        return config.shares()
    held = float((table["split"] == "robustness").mean())
    return {split: share * (1 - held) for split, share in config.shares().items()} | {"robustness": held}
