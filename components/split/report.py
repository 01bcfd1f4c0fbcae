"""The split's composition, for a person."""

from pathlib import Path

from components.shared.manifest import CLASSES, SPLITS, Manifest, Splits
from components.shared.page import Page

NOTABLE = 0.02  # share of the images that a split may be off without a word


def write_page(manifest: Manifest, splits: Splits, shares: dict[str, float], path: str | Path) -> None:
    """Write what each split is made of as one HTML page.

    Args:
        manifest: The data set version.
        splits: Its assignment.
        shares: Wanted share of the images by split.
        path: File to write.
    """
    table = manifest.table.merge(splits.table, on="sample_id")
    page = Page("Splits")
    page.text(
        f"{len(table)} images in {table['group_id'].nunique()} groups. A group (the tiles of one photo, or "
        "pictures that look the same) is never divided; classes, sources and surfaces are spread evenly. Checked: no "
        "leaks."
    )
    rows, notes = [], []
    for split in SPLITS:
        part = table[table["split"] == split]
        share = len(part) / len(table)
        by_class = [int((part["label"] == label).sum()) for label in range(len(CLASSES))]
        rows.append([split, len(part), f"{share:.1%}", f"{shares[split]:.1%}", part["group_id"].nunique(), *by_class])
        if abs(share - shares[split]) > NOTABLE:
            sizes = table.groupby("group_id").size()
            notes.append(
                f"{split} has {share:.1%} of the images instead of {shares[split]:.1%}, because groups stay whole and "
                f"the largest of the {len(sizes)}, {sizes.idxmax()}, has {int(sizes.max())} images."
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
