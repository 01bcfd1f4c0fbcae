"""Write the section "Overlapping tiles" of the data set report: numbers, joined photos, and tiles of the groups."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from components.ingest.grouping import Selection
from components.ingest.mosaic import show_largest
from components.ingest.overlap_search import row_pairs
from components.shared.data.image import decode, thumbnail
from components.shared.data.manifest import CLASSES
from components.shared.page import CellImage, Page

LEAST_CERTAIN_SHOWN, BOTH_LABELS_SHOWN, PAIR_IMAGE_PIXELS = 8, 50, 160
PHOTO_PAIRS_LISTED = 50
LARGEST_SHARE = 0.5  # of the tiles of a class in one group


def overlap_content(selection: Selection) -> dict[str, Any]:
    """Return those entries of report.json that describe overlaps.

    Returns:
        A dict with these keys:

        - overlaps: Number of pairs of overlapping tiles.
        - overlapping_tiles: Number of tiles in these pairs.
        - overlaps_with_both_labels: Number of pairs in which one tile has a crack and the other tile has none.
        - groups_with_both_labels: Number of groups that have such a pair.
        - photos_joined: For each pair of overlapping photos, the names of both photos.
        - joined_too_much: A sentence for each class that has more than half of its tiles in one group.
    """
    pairs = row_pairs(selection.overlaps)
    both_labels = row_pairs(_with_both_labels(selection))
    return {
        "overlaps": len(pairs),
        "overlapping_tiles": len(set(pairs.ravel().tolist())),
        "overlaps_with_both_labels": len(both_labels),
        "groups_with_both_labels": len(set(selection.images["group_id"].array[both_labels[:, 0]])),
        "photos_joined": _photos_joined(selection),
        "joined_too_much": _joined_too_much(selection),
    }


def _with_both_labels(selection: Selection) -> pd.DataFrame:
    """Return the overlaps of a tile with a crack and a tile without one."""
    labels = selection.images["label"].to_numpy()[row_pairs(selection.overlaps)]
    return selection.overlaps[labels[:, 0] != labels[:, 1]]


def _photos_joined(selection: Selection) -> list[list[str]]:
    """Return the pairs of photos whose tiles overlap, in ascending order. Unknown photos are left out."""
    images = selection.images
    names = (images["source"] + ":" + images["photo"]).array
    joined = set()
    for first, second in row_pairs(selection.overlaps).tolist():
        one, other = names[first], names[second]
        if pd.notna(one) and pd.notna(other) and one != other:
            joined.add((min(one, other), max(one, other)))
    return [list(pair) for pair in sorted(joined)]


def _joined_too_much(selection: Selection) -> list[str]:
    """For each class, return a sentence if one group has more than half of the tiles of the class.

    A group counts only if it contains near duplicates or overlapping tiles.
    """
    images = selection.images
    joined_rows = [*selection.near_pairs.ravel().tolist(), *row_pairs(selection.overlaps).ravel().tolist()]
    joined = set(images["group_id"].array[sorted(set(joined_rows))])

    sentences = []
    for label, name in enumerate(CLASSES):
        groups = images.loc[images["label"] == label, "group_id"]
        sizes = groups.value_counts()
        if len(sizes) and sizes.index[0] in joined and sizes.iloc[0] > LARGEST_SHARE * len(groups):
            sentences.append(
                f"{sizes.iloc[0]} of the {len(groups)} tiles of class {name} are in one group, {sizes.index[0]}, "
                "because near duplicates or overlaps join them. A group is never divided, so there may be too few "
                "groups for four splits. The data set report shows these tiles. If they show different places, raise "
                "ingest.overlap or ingest.near_duplicate, or set ingest.overlap to null"
            )
    return sentences


def show_overlaps(page: Page, report: dict[str, Any], selection: Selection, read: Callable[[int], bytes]) -> None:
    """Append the section "Overlapping tiles".

    Args:
        page: The page.
        report: The content of report.json.
        selection: The data set's images.
        read: Function that takes the index of an image and returns the content of its file.
    """
    for sentence in report["joined_too_much"]:
        page.callout(sentence, passed=False)
    if not report["overlaps"]:
        return

    page.heading("Overlapping tiles")
    page.text(
        f"{report['overlapping_tiles']} tiles overlap another tile: both were cut from one photo, and a part of the "
        f"photo is in both. Mirrored and rotated tiles count too. {report['overlaps']} such pairs join tiles that are "
        "not near duplicates, and that are not known to come from one photo. The correlation compares the area that "
        "both tiles show. If the images below show different places, raise `ingest.overlap`."
    )
    _show_largest_groups(page, selection, read)
    least_certain = selection.overlaps.nsmallest(LEAST_CERTAIN_SHOWN, "correlation")
    _show_pairs(page, selection, least_certain, read, "The least certain overlaps")
    _show_both_labels(page, report, selection, read)

    joined = report["photos_joined"]
    if joined:
        listed = joined[:PHOTO_PAIRS_LISTED]
        more = f" (first {len(listed)} of {len(joined)} pairs)" if len(joined) > len(listed) else ""
        page.table(["photo", "photo"], listed, f"Photos that overlap, so that their tiles are in one group{more}")


def _show_largest_groups(page: Page, selection: Selection, read: Callable[[int], bytes]) -> None:
    groups = selection.images["group_id"]
    overlapping = pd.Series(sorted(set(row_pairs(selection.overlaps).ravel().tolist())))
    tiles_of_group = overlapping.groupby(groups.array[overlapping]).agg(list)
    sizes = groups[groups.isin(tiles_of_group.index)].value_counts()
    show_largest(page, "groups that overlaps join", tiles_of_group[sizes.index].tolist(), sizes.tolist(), read)


def _show_both_labels(page: Page, report: dict[str, Any], selection: Selection, read: Callable[[int], bytes]) -> None:
    pairs = _with_both_labels(selection)
    if pairs.empty:
        return
    page.text(
        f"In {len(pairs)} of these pairs, one tile has a crack and the other one has not. So "
        f"{report['groups_with_both_labels']} groups have tiles of both classes. This is right where the crack is "
        "outside the area that both tiles show. If it is inside this area, one label is wrong: correct it."
    )
    shown = pairs.nlargest(BOTH_LABELS_SHOWN, "shared")
    more = f" (the {len(shown)} of {len(pairs)} pairs that share most)" if len(pairs) > len(shown) else ""
    _show_pairs(page, selection, shown, read, f"Overlapping tiles with different labels{more}")


def _show_pairs(
    page: Page, selection: Selection, pairs: pd.DataFrame, read: Callable[[int], bytes], caption: str
) -> None:
    """Append a table of overlaps: both tiles as images, with their files and labels, and the values of the overlap."""
    images = selection.images
    rows = []
    for pair in pairs.itertuples():
        cells: list[CellImage | str] = []
        for tile in (pair.first, pair.second):
            path = images["path"].iloc[tile]
            small = thumbnail(decode(read(tile)), PAIR_IMAGE_PIXELS)
            cells += [CellImage(small, path), path, CLASSES[images["label"].iloc[tile]]]
        rows.append([*cells, f"{pair.correlation:.3f}", f"{pair.shared:.0%}"])
    page.table(["tile", "file", "label", "tile", "file", "label", "correlation", "shared area"], rows, caption)
