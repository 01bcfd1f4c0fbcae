"""Write the part of the data set report about file numbers that run photo by photo, and say it in the run."""

from collections.abc import Callable
from typing import Any

from components.ingest.file_order import MAX_P, number_key
from components.ingest.grouping import Selection
from components.ingest.mosaic import show_largest
from components.shared.events import inform, warn
from components.shared.page import Page
from components.shared.results.group_kind import NEIGHBOURS


def say_file_order(hints: list[dict[str, Any]]) -> None:
    """Print what a person must know about the order of the files. `hints` is from `group_by_order`."""
    for hint in hints:
        folder = f"{hint['source']}: the file numbers in the folder {hint['folder'] or '.'}"
        if hint["grouped"]:
            inform(
                f"{folder} run photo by photo (ratio {hint['ratio']:.2f}, p = {hint['p']:.3f}), so neighbours that "
                f"resemble each other share a group: {hint['near']:.0%} of the neighbours, where {hint['far']:.1%} of "
                f"files far apart resemble each other as much. The largest group has {hint['largest']} tiles; the data "
                "set report shows it. Most photos are still in several groups"
            )
            continue
        warn(
            f"{folder} may run photo by photo, because neighbours resemble each other (ratio {hint['ratio']:.2f}, "
            f"p = {hint['p']:.3f}). Without the names of the photos, tiles of one photo can be in several splits; name "
            "the photos with ingest.group_pattern or in the column group of a table, or set ingest.group_by to 'file "
            f"order', which joins the {hint['near']:.0%} of the neighbours that resemble each other most"
        )


def show_file_order(
    page: Page, hints: list[dict[str, Any]], selection: Selection, read: Callable[[int], bytes]
) -> None:
    """Append the section about the order of the files.

    Args:
        page: The page.
        hints: From `group_by_order`.
        selection: The data set's images.
        read: Function that takes the index of an image and returns the content of its file.
    """
    if not hints:
        return
    page.heading("File numbers that may run photo by photo")
    page.text(
        "In these folders, a tile resembles the next file much more than a random file of the folder. So the file "
        "numbers may run photo by photo. The ratio is the distance of neighbours divided by the distance of random "
        f"files (1: no difference). The value p is the result of a permutation test (at most {MAX_P:g} here)."
    )
    if hints[0]["grouped"]:
        page.text(
            "Neighbours that resemble each other share a group (`ingest.group_by: file order`). The column *far apart* "
            "says how many files far apart in the order, which are probably from different photos, resemble each other "
            "as much. So at most about one in twenty joined neighbours is wrong. Such a group is probably a photo or a "
            "part of a photo, and most photos are still in several groups. If the rows below show different places, "
            "remove `ingest.group_by`."
        )
    else:
        page.text(
            "We did not form groups from this. If you know where a photo begins, name the photos with "
            "`ingest.group_pattern`, or in the column `group` of a table. Otherwise, tiles of one photo can be in "
            "several splits. With `ingest.group_by: file order`, neighbours that resemble each other share a group: "
            "the share in the column *neighbours*."
        )
    rows = []
    for hint in hints:
        evidence = f"{hint['ratio']:.2f}", f"{hint['p']:.3f}", f"{hint['near']:.1%}", f"{hint['far']:.2%}"
        rows.append([hint["source"], hint["folder"], hint["files"], *evidence])
    headers = ["source", "folder", "tested tiles", "ratio", "p", "neighbours that resemble each other", "far apart"]
    page.table(headers, rows, "Order of the files")
    _show_largest_groups(page, selection, read)


def _show_largest_groups(page: Page, selection: Selection, read: Callable[[int], bytes]) -> None:
    images = selection.images
    joined = images[images["group_id"].str.startswith(NEIGHBOURS)]
    if joined.empty:
        return
    in_order = joined.assign(row=joined.index, key=joined["path"].map(number_key)).sort_values("key")
    sets = sorted(in_order.groupby("group_id")["row"].agg(list), key=len, reverse=True)
    show_largest(page, "groups of neighbouring files", sets, list(map(len, sets)), read)
