"""Write a page that shows how many tiles are in each split, and the result of the leak check."""

from pathlib import Path

import pandas as pd

from components.shared.data.manifest import CLASSES, SPLITS, Manifest, Splits
from components.shared.page import Page
from components.shared.services.store import Store
from components.split.config import HeldOut, SplitConfig
from components.split.tile_comparison import Comparison
from components.split.tile_leaks import show_comparison

# If the share of a split differs from the wanted share by more than this number, the page says why.
EXPLAINED_DIFFERENCE = 0.02


def write_page(
    manifest: Manifest,
    splits: Splits,
    config: SplitConfig,
    earlier: int,
    store: Store,
    comparison: Comparison | None,
    path: str | Path,
) -> None:
    """Write an HTML page with the number of tiles in each split, and the result of the leak check.

    Args:
        manifest: The data set version.
        splits: The splits of its tiles.
        config: The wanted shares, or the held-out source or surface.
        earlier: Number of groups that earlier runs assigned to a split.
        store: The store that contains the tiles.
        comparison: The most similar pairs of tiles in different splits. None if no tiles were compared.
        path: File to write: the page.
    """
    images = manifest.table.merge(splits.table, on="sample_id")
    page = Page("Splits")
    except_held_out = ""
    if isinstance(config.robustness, HeldOut):
        column, value = config.robustness.column_and_value()
        except_held_out = f", except that all tiles of the {column} {value} are in the split robustness"
    page.text(
        f"The data set has {len(images)} tiles in {images['group_id'].nunique()} groups. A group contains all tiles of "
        "one photo, near duplicates (tiles that show the same place almost identically), and overlapping tiles. All "
        "tiles of a group are in the same split, so no network is tested on photos from its training. Classes, sources "
        f"and surfaces are spread evenly over the splits{except_held_out}.\n\n"
        "- *train*: a network learns from these tiles.\n"
        "- *val* (validation): these tiles decide which weights of a training are saved. They also decide at which "
        "P(crack) the answer of a network is a crack.\n"
        "- *test*: the errors of each network are counted on these tiles.\n"
        "- *robustness*: more test tiles. The networks classify them as they are, and again with blur, noise and other "
        "changes."
    )

    if earlier:
        page.text(f"{earlier} of the groups were in an earlier run. They stay in the splits that they had there.")
    _show_shares(page, images, config, earlier)
    _show_strata(page, images)
    page.heading("Leak check")
    if comparison is None:
        page.text("No tiles were compared.")
    else:
        show_comparison(page, store, manifest, comparison, config)
    page.write(path)


def _show_shares(page: Page, images: pd.DataFrame, config: SplitConfig, earlier: int) -> None:
    wanted = _wanted_shares(images, config)
    group_sizes = images.groupby("group_id").size()
    rows, notes = [], []
    for split in SPLITS:
        part = images[images["split"] == split]
        share = len(part) / len(images)
        labels = part["label"].value_counts()
        by_class = [int(labels.get(label, 0)) for label in range(len(CLASSES))]
        groups = part["group_id"].nunique()
        rows.append([split, len(part), f"{share:.1%}", f"{wanted[split]:.1%}", groups, *by_class])

        if abs(share - wanted[split]) > EXPLAINED_DIFFERENCE:
            and_earlier = ", and groups of earlier runs stay in their splits" if earlier else ""
            largest = int(group_sizes.max())
            notes.append(
                f"{split} has {share:.1%} of the tiles instead of {wanted[split]:.1%}, because groups are not divided"
                f"{and_earlier}. The largest of the {len(group_sizes)} groups, {group_sizes.idxmax()}, has {largest} "
                f"tiles ({largest / len(images):.1%})."
            )

    page.table(["split", "tiles", "share", "wanted share", "groups", *CLASSES], rows, "Composition")
    for note in notes:
        page.text(note)


def _show_strata(page: Page, images: pd.DataFrame) -> None:
    counts = images.groupby(["source", "surface", "label"])["split"].value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=list(SPLITS), fill_value=0)

    rows = []
    for (source, surface, label), by_split in counts.iterrows():
        rows.append([source, surface, CLASSES[label], *by_split])
    page.table(["source", "surface", "class", *SPLITS], rows, "Tiles by source, surface and class")


def _wanted_shares(images: pd.DataFrame, config: SplitConfig) -> dict[str, float]:
    """Return the wanted share of each split.

    If a surface or source is held out, the split robustness has no wanted share, so we return its actual share.
    """
    shares = config.shares()
    if not isinstance(config.robustness, HeldOut):
        return shares
    held_out = float((images["split"] == "robustness").mean())
    wanted = {split: share * (1 - held_out) for split, share in shares.items()}
    return wanted | {"robustness": held_out}
