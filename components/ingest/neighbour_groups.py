"""Form groups from the order of the files: `ingest.group_by: file order`."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.ingest.config import IngestConfig
from components.ingest.file_order import MAX_P, MAX_RATIO, MIN_FILES, FolderOrder, folder_orders
from components.ingest.grouping import Selection
from components.ingest.overlap_search import row_pairs
from components.shared.errors import InputError
from components.shared.events import warn
from components.shared.results.group_kind import NEIGHBOURS, UNKNOWN_PHOTO


def group_by_order(
    selection: Selection, earlier_groups: set[str], config: IngestConfig
) -> tuple[Selection, list[dict[str, Any]]]:
    """Test the order of the files. If the user wants it, join the groups of neighbours that resemble each other.

    Args:
        selection: The data set's images.
        earlier_groups: The groups of earlier versions. They keep their names, and two of them are never joined.
        config: The parameters of ingestion.

    Returns:
        Two values. The first is the selection, with other groups if `config.group_by` is "file order". The second is
        what the report says: a dict for each folder whose file numbers run photo by photo, with source, folder, files
        (number of tested tiles), ratio, p, near (share of neighbours that resemble each other), far (share of tiles far
        apart that resemble each other as much), grouped (True if the groups were joined), and largest (the number of
        tiles of the largest group with joined neighbours, 0 if there is none).

    Raises:
        InputError: `config.group_by` is "file order", but no folder supports it.
    """
    related = np.concatenate([selection.near_pairs, row_pairs(selection.overlaps)])
    orders = folder_orders(selection.images, related)
    supported = [order for order in orders if order.runs_by_photo]
    grouped = config.group_by == "file order"
    if grouped:
        _check_supported(orders)
        groups = join_neighbours(selection.images["group_id"], _joined_pairs(supported), earlier_groups)
        selection = replace(selection, images=selection.images.assign(group_id=groups))

    sizes = selection.images["group_id"].value_counts()
    hints = []
    for order in supported:
        joined = selection.images["group_id"].array[_joined_pairs([order])[:, 0]]
        hints.append(
            {
                "source": order.source,
                "folder": order.folder,
                "files": len(order.tiles),
                "ratio": order.ratio,
                "p": order.p,
                "near": float(order.joined.mean()),
                "far": order.far,
                "grouped": grouped,
                "largest": int(sizes[joined].max()) if grouped and len(joined) else 0,
            }
        )
    return selection, hints


def _joined_pairs(orders: list[FolderOrder]) -> NDArray[np.int64]:
    """Return the neighbours that resemble each other, int64 (M, 2) row numbers."""
    pairs = [np.zeros((0, 2), np.int64)]
    for order in orders:
        neighbours = np.stack([order.tiles[:-1], order.tiles[1:]], axis=1)
        pairs.append(neighbours[order.joined])
    return np.concatenate(pairs)


def join_neighbours(groups: pd.Series, pairs: NDArray[np.int64], fixed: set[str]) -> pd.Series:
    """Join the groups of pairs of tiles, and give the joined groups a name.

    The resemblance of neighbours is weak evidence. So it never joins two groups that are named after photos, or that
    earlier versions formed.

    Args:
        groups: str (N,), the group of each tile.
        pairs: int64 (M, 2), row numbers of tiles.
        fixed: Groups that keep their names.

    Returns:
        The group of each tile. A joined group keeps the name of its photo or of its fixed group. Without such a name,
        it is called `NEIGHBOURS` and the smallest of the joined groups.
    """
    from scipy.cluster.hierarchy import DisjointSet

    names = groups.array
    connected = DisjointSet(sorted(set(names[pairs.ravel()])))
    kept_name = {}
    for name in connected:
        if name in fixed or not UNKNOWN_PHOTO.fullmatch(name):
            kept_name[name] = name
    for first, second in pairs.tolist():
        one, other = connected[names[first]], connected[names[second]]
        kept = [kept_name[root] for root in (one, other) if root in kept_name]
        if one == other or len(kept) == 2:
            continue
        connected.merge(one, other)
        if kept:
            kept_name[connected[one]] = kept[0]

    renamed = {}
    for members in connected.subsets():
        if len(members) > 1:
            smallest = min(members)
            name = kept_name.get(connected[smallest], f"{NEIGHBOURS}{smallest}")
            renamed.update(dict.fromkeys(members, name))
    return groups.map(lambda name: renamed.get(name, name)).astype(groups.dtype)


def _check_supported(orders: list[FolderOrder]) -> None:
    """Check that some folder supports groups by file order, and warn about folders that do not."""
    found = []
    for order in orders:
        if not (order.runs_by_photo and order.joined.any()):
            found.append(
                f"{order.source}/{order.folder} ({len(order.tiles)} tiles): ratio {order.ratio:.2f}, "
                f"p = {order.p:.3f}, {order.joined.mean():.0%} of the neighbours resemble each other enough"
            )
    if not orders:
        raise InputError(
            f"ingest.group_by is 'file order', but no folder has {MIN_FILES} tiles whose photo is not known; remove "
            "ingest.group_by"
        )
    if len(found) == len(orders):
        raise InputError(
            "ingest.group_by is 'file order', but in no folder the file numbers run photo by photo, so neighbouring "
            f"files say nothing about photos: {'; '.join(found)} (needed: ratio {MAX_RATIO:g} or less, p {MAX_P:g} or "
            "less); remove ingest.group_by, or name the photos with ingest.group_pattern or in the column group of a "
            "table"
        )
    if found:
        warn(
            "the file numbers of these folders do not run photo by photo, so ingest.group_by forms no groups in them: "
            + "; ".join(found)
        )
