"""Write the part of the data set report about overlaps. It shows numbers, joined photos, and tiles of the groups."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from components.ingest.grouping import Selection
from components.ingest.mosaic import MOSAIC_COLUMNS, mosaic
from components.ingest.overlap_search import row_pairs
from components.shared.data.image import decode, thumbnail
from components.shared.data.manifest import CLASSES
from components.shared.page import CellImage, Page

GROUPS_SHOWN, MOST_GROUPS_SHOWN = 4, 20
TILES_OF_A_LARGE_GROUP = 60  # larger groups are always shown, but at most MOST_GROUPS_SHOWN
PAIRS_SHOWN, PAIR_IMAGE_PIXELS = 8, 160
PHOTO_PAIRS_LISTED = 50
LARGEST_SHARE = 0.5  # of the tiles of a class in one group


def overlap_content(selection: Selection) -> dict[str, Any]:
    """Return the part of report.json about overlaps.

    Returns:
        A dict: overlaps (number of pairs), overlapping_tiles (number of tiles), photos_joined (pairs of names of photos
        that overlap), and joined_too_much (sentences about groups that have more than half of the tiles of a class).
    """
    pairs = row_pairs(selection.overlaps)
    return {
        "overlaps": len(pairs),
        "overlapping_tiles": len(set(pairs.ravel().tolist())),
        "photos_joined": _photos_joined(selection),
        "joined_too_much": _joined_too_much(selection),
    }


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

    A group counts only if near duplicates or overlaps joined it.
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
    """Append the section about overlaps.

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
    _show_least_certain(page, selection, read)

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

    large = int((sizes > TILES_OF_A_LARGE_GROUP).sum())
    shown = sizes.head(min(max(GROUPS_SHOWN, large), MOST_GROUPS_SHOWN))
    rows = []
    for group in shown.index:
        rows.append(list(map(read, tiles_of_group[group][:MOSAIC_COLUMNS])))
    counts = ", ".join(map(str, shown))
    page.image(
        mosaic(rows),
        f"The largest groups that overlaps join, one in each row; they have {counts} tiles",
        "Tiles of groups that overlaps join",
    )


def _show_least_certain(page: Page, selection: Selection, read: Callable[[int], bytes]) -> None:
    paths = selection.images["path"].array
    rows = []
    for pair in selection.overlaps.nsmallest(PAIRS_SHOWN, "correlation").itertuples():
        cells: list[CellImage | str] = []
        for tile in (pair.first, pair.second):
            small = thumbnail(decode(read(tile)), PAIR_IMAGE_PIXELS)
            cells += [CellImage(small, paths[tile]), paths[tile]]
        rows.append([*cells, f"{pair.correlation:.3f}", f"{pair.shared:.0%}"])
    page.table(["tile", "file", "tile", "file", "correlation", "shared area"], rows, "The least certain overlaps")
