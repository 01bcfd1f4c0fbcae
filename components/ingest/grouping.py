"""Select the accepted images that form the data set, and give each of them a group."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.ingest.contents import distinct_contents
from components.ingest.duplicates import near_duplicates
from components.ingest.earlier_versions import EarlierGroups, between_groups
from components.ingest.label_conflicts import (
    conflict_pairs,
    contradicted_by_mask,
    quarantine,
    quarantine_by_mask,
    quarantine_near_duplicates,
    quarantine_same_bytes,
)
from components.ingest.overlap_search import OverlapSearch, find_overlaps, renumbered, row_pairs
from components.ingest.text_lookup import among, look_up, positions

if TYPE_CHECKING:
    from scipy.cluster.hierarchy import DisjointSet


@dataclass(frozen=True)
class Selection:
    """The data set's images, ordered by sample_id, and the files that are not part of the data set.

    Attributes:
        images: One row for each image, with all columns of the input, and the column group_id. If several files have
            the same bytes, only one of them is used. An image of an earlier version keeps its group. A new group is
            named after its first photo (`SOURCE:PHOTO`). If no photo is known, the group is named after its smallest
            sample_id.
        copies: Table (path, kept): the path of a file that is not used because another file has the same bytes, and the
            path of the file that is used instead.
        conflicts: Table (source, path, reason): the files in quarantine whose content has both labels, or whose mask
            contradicts their label.
        conflict_pairs: int64 (K, 2): index values of the input. Each row is a no_crack file and a crack file that
            show the same image.
        between_groups: Table (source, path, reason): the files in quarantine because they belong to two groups of
            earlier versions, which must not be joined.
        quarantined: Table (sample_id, group_id, contested): the images of earlier versions that are in quarantine, and
            their earlier group. `contested` is the reason why an image must stay in quarantine permanently. The reason
            is missing if the image can return.
        near_pairs: int64 (M, 2). Each row holds the row numbers in `images` of two near duplicates.
        overlaps: Table (first, second, correlation, shared): the row numbers in `images` of two overlapping tiles, and
            the values of `overlap_check.Overlap`.
    """

    images: pd.DataFrame
    copies: pd.DataFrame
    conflicts: pd.DataFrame
    conflict_pairs: NDArray[np.int64]
    between_groups: pd.DataFrame
    quarantined: pd.DataFrame
    near_pairs: NDArray[np.int64]
    overlaps: pd.DataFrame


def select(
    images: pd.DataFrame,
    thumbnails: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    correlation: float,
    earlier: EarlierGroups | None = None,
    given: pd.Series | None = None,
    search: OverlapSearch | None = None,
) -> Selection:
    """Keep each image once, put images with both labels in quarantine, and find the groups.

    Args:
        images: All accepted images, ordered by name: the columns `contents.REQUIRED_COLUMNS` and any other columns.
        thumbnails: Function that takes the index values of N images and returns their thumbnails, uint8 (N, 32, 32),
            grey.
        correlation: Two images are near duplicates if the correlation of their thumbnails is at least this number.
        earlier: The groups of earlier versions. Images that are in these groups stay in them. The images of version 0
            are not compared with each other, because this was done when version 0 was made.
        given: The sample_ids of all images of the sources. Some of these images can be missing in `images`, because
            they are already in quarantine. They keep their group, so that they can return to this group. None means the
            sample_ids of `images`.
        search: How to find overlapping tiles. None: do not look for overlapping tiles.
    """
    earlier = earlier or EarlierGroups()
    given = images["sample_id"] if given is None else given
    contents = distinct_contents(images)
    index_of_row = contents.kept.index.to_numpy()
    kept = contents.kept.reset_index(drop=True)
    kept = kept.join(look_up(kept["sample_id"], earlier.groups, "sample_id")[["group_id", "version"]])
    old = kept["group_id"].notna().to_numpy()

    pairs = _near_pairs(kept, lambda rows: thumbnails(index_of_row[rows]), correlation, earlier)
    labels = kept["label"].to_numpy()
    contradicting = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]

    # Each rule below uses only the images that are not in quarantine yet.
    usable = np.ones(len(kept), bool)
    usable[contradicting.ravel()] = False
    by_mask = contradicted_by_mask(kept)
    usable[by_mask] = False
    reasons: dict[int, str] = {}

    def put_in_quarantine(found: dict[int, str]) -> None:
        reasons.update(found)
        usable[list(found)] = False

    put_in_quarantine(_contested(kept, earlier))
    put_in_quarantine(_in_photos_of_other_groups(kept, contents.photos[(old & usable)[contents.photos.index]]))
    put_in_quarantine(_like_other_groups(kept, pairs[usable[pairs].all(axis=1)]))
    overlaps = find_overlaps(kept, usable, contents.photos, pairs, earlier, search, index_of_row)
    put_in_quarantine(_like_other_groups(kept, row_pairs(overlaps)))
    related = np.concatenate([pairs, row_pairs(overlaps)])
    related = related[usable[related].all(axis=1)]
    new_groups, between_old_groups = _join(kept, usable, contents.photos, related)
    put_in_quarantine(between_old_groups)

    chosen_rows = np.flatnonzero(usable)
    groups = kept["group_id"].fillna(pd.Series(new_groups, dtype="str"))
    chosen = images.loc[index_of_row[chosen_rows]].reset_index(drop=True)
    chosen = chosen.assign(group_id=groups.array[chosen_rows])
    conflicts = [
        quarantine_same_bytes(contents.both_labels),
        quarantine_near_duplicates(kept, contradicting),
        quarantine_by_mask(kept[by_mask]),
    ]
    chosen_pairs = pairs[usable[pairs].all(axis=1)]
    return Selection(
        images=chosen,
        copies=contents.copies,
        conflicts=pd.concat(conflicts, ignore_index=True),
        conflict_pairs=conflict_pairs(contents.both_labels, index_of_row[contradicting], labels[contradicting[:, 0]]),
        between_groups=quarantine(kept.iloc[list(reasons)], reasons.values()),
        quarantined=_quarantined(earlier, given, chosen["sample_id"]),
        near_pairs=np.searchsorted(chosen_rows, chosen_pairs),
        overlaps=renumbered(overlaps[usable[row_pairs(overlaps)].all(axis=1)], chosen_rows),
    )


def _near_pairs(
    kept: pd.DataFrame,
    thumbnails: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    correlation: float,
    earlier: EarlierGroups,
) -> NDArray[np.int64]:
    """Return the near duplicates that we find now, and those that earlier versions recorded.

    Returns:
        int64 (M, 2): row numbers in `kept`. The pairs are in ascending order.
    """
    not_in_first_version = kept["version"].ne(0).fillna(True).to_numpy(bool)
    found = near_duplicates(kept["phash"].tolist(), thumbnails, correlation, not_in_first_version)

    first = positions(earlier.pairs["first"], kept["sample_id"])
    second = positions(earlier.pairs["second"], kept["sample_id"])
    known = np.stack([first, second], axis=1)
    known = known[(known >= 0).all(axis=1)]
    return np.unique(np.concatenate([found, known]), axis=0)


def _quarantined(earlier: EarlierGroups, given: pd.Series, chosen: pd.Series) -> pd.DataFrame:
    """Return the table `Selection.quarantined`: images of earlier versions that are in `given`, but not in `chosen`."""
    sample_ids = earlier.groups["sample_id"]
    missing = among(sample_ids, given) & ~among(sample_ids, chosen)
    table = earlier.groups.loc[missing, ["sample_id", "group_id"]]
    return table.assign(contested=table["sample_id"].map(earlier.contested)).astype("str")


def _contested(kept: pd.DataFrame, earlier: EarlierGroups) -> dict[int, str]:
    """Return a dict: row number of each contested image -> the reason why it stays in quarantine."""
    reasons = pd.Series(earlier.contested.values(), dtype="str")
    sample_ids = pd.Series(earlier.contested.keys(), dtype="str")
    rows = positions(sample_ids, kept["sample_id"])
    known = rows >= 0
    return dict(zip(rows[known].tolist(), reasons[known], strict=True))


def _in_photos_of_other_groups(kept: pd.DataFrame, photos: pd.DataFrame) -> dict[int, str]:
    """Find the old images whose photo belongs to a different group than the image itself.

    An old image is an image of an earlier version. Its photo can belong to a different group if two photos have a tile
    with the same bytes, or if the source now says that the tile comes from a different photo than before. A photo
    belongs to the group that most of its images have. If versions disagree about a photo, the version that comes first
    in the list of versions decides.

    Args:
        kept: Images.
        photos: The rows of the table `Contents.photos` that describe images of earlier versions.

    Returns:
        A dict: row number of each image that was found -> its quarantine reason.
    """
    if photos.empty:
        return {}
    mentions = photos.assign(
        group=kept["group_id"].to_numpy()[photos.index],
        version=kept["version"].to_numpy()[photos.index],
    )
    counts = mentions[["name", "group", "version"]].value_counts().reset_index()
    best_last = counts.sort_values(["version", "count", "group"], ascending=[False, True, True])
    group_of_photo = best_last.drop_duplicates("name", keep="last").set_index("name")["group"]

    mentions["photo_group"] = mentions["name"].map(group_of_photo)
    elsewhere = mentions[mentions["group"] != mentions["photo_group"]]
    reasons = {}
    for row, own in elsewhere.groupby(level=0):
        reasons[row] = between_groups({*own["group"], *own["photo_group"]})
    return reasons


def _like_other_groups(kept: pd.DataFrame, pairs: NDArray[np.int64]) -> dict[int, str]:
    """Find the old images that form a pair with an old image of another group.

    An old image is an image of an earlier version. `pairs` holds the row numbers of near duplicates or of overlapping
    images. If two old images of a pair are in different groups, only one of them stays in the data set. It is the image
    whose version comes first in the list of versions.

    Returns:
        A dict: row number of each image that cannot stay -> its quarantine reason.
    """
    groups = kept["group_id"].to_numpy(object)
    versions = kept["version"].fillna(-1).to_numpy(np.int64)
    old_pairs = pairs[(versions[pairs] >= 0).all(axis=1)]
    apart = old_pairs[groups[old_pairs[:, 0]] != groups[old_pairs[:, 1]]]

    groups_of_row: dict[int, set[str]] = defaultdict(set)
    for first, second in apart.tolist():
        later = max(first, second, key=lambda row: (versions[row], row))
        groups_of_row[later] |= {groups[first], groups[second]}
    return {row: between_groups(names) for row, names in groups_of_row.items()}


def _join(
    kept: pd.DataFrame, usable: NDArray[np.bool_], photos: pd.DataFrame, pairs: NDArray[np.int64]
) -> tuple[dict[int, str], dict[int, str]]:
    """Give new images a group. Never join two groups of earlier versions.

    An old image is an image of an earlier version. Two images are connected if they share a photo, are near duplicates,
    or overlap. We look only at new images, and at old images that are connected with a new image.

    Args:
        kept: Images; group_id is missing for new images.
        usable: bool (N,), true for images that are not in quarantine.
        photos: The table `Contents.photos`.
        pairs: int64 (M, 2), row numbers of usable near duplicates and overlapping images.

    Returns:
        Two dicts. The first dict is: row number of a new image -> its group. The second dict holds the new images that
        would join groups of earlier versions: row number -> quarantine reason.
    """
    from scipy.cluster.hierarchy import DisjointSet

    new = kept["group_id"].isna().to_numpy()
    photos_of = _photos_of_new_images(photos, new & usable)
    neighbours_of = _neighbours(pairs[new[pairs].any(axis=1)])
    row_of_photo = _first_old_image_of_photos(photos, ~new & usable, photos_of)

    touched = np.array(sorted({*neighbours_of, *row_of_photo.values()}), np.int64)
    old_groups = kept.loc[touched[~new[touched]], "group_id"]
    connected = DisjointSet(old_groups.index.tolist())
    group_of_root: dict[int, str] = old_groups.to_dict()

    reasons: dict[int, str] = {}
    for row in np.flatnonzero(new & usable).tolist():
        links = [other for other in neighbours_of[row] if other in connected]
        for name in photos_of[row]:
            if name in row_of_photo:
                links.append(row_of_photo[name])

        linked_groups = set()
        for other in links:
            root = connected[other]
            if root in group_of_root:
                linked_groups.add(group_of_root[root])
        if len(linked_groups) > 1:
            reasons[row] = between_groups(linked_groups)
            continue

        connected.add(row)
        for other in links:
            connected.merge(row, other)
        if linked_groups:
            group_of_root[connected[row]] = linked_groups.pop()
        for name in photos_of[row]:
            row_of_photo.setdefault(name, row)

    return _name_sets(kept, connected, group_of_root, row_of_photo), reasons


def _name_sets(
    kept: pd.DataFrame, connected: "DisjointSet", group_of_root: dict[int, str], row_of_photo: dict[str, int]
) -> dict[int, str]:
    """Return a dict: row number of each new image -> its group.

    Connected images form a set, and get the same group. If the set already has a group of an earlier version, the new
    images get that group. Otherwise they get a new group, which is named after the first photo of the set. If no photo
    of the set is known, the new group is named after the smallest sample_id of the set.

    Args:
        kept: Images, ordered by sample_id; group_id is missing for new images.
        connected: Sets of row numbers of connected images.
        group_of_root: Row number of a set's root -> the group of this set. The root is the row that represents the set
            in `connected`. Only sets that have a group of an earlier version are in this dict.
        row_of_photo: Photo -> the row number of one of its images.
    """
    group_of_root = dict(group_of_root)
    for name in sorted(row_of_photo):
        group_of_root.setdefault(connected[row_of_photo[name]], name)

    new = kept["group_id"].isna().to_numpy()
    sample_ids = kept["sample_id"].tolist()
    groups: dict[int, str] = {}
    for members in connected.subsets():
        smallest = min(members)
        group = group_of_root.get(connected[smallest], sample_ids[smallest])
        for row in members:
            if new[row]:
                groups[row] = group
    return groups


def _photos_of_new_images(photos: pd.DataFrame, chosen: NDArray[np.bool_]) -> dict[int, list[str]]:
    """Return a dict: row number -> names of the image's photos. The list is empty where `chosen` is false."""
    names: dict[int, list[str]] = defaultdict(list)
    for row, name in photos["name"][chosen[photos.index]].items():
        names[row].append(name)
    return names


def _neighbours(pairs: NDArray[np.int64]) -> dict[int, list[int]]:
    """Return a dict: row number -> the rows that form a pair with this row. If there are none, the list is empty."""
    neighbours: dict[int, list[int]] = defaultdict(list)
    for first, second in pairs.tolist():
        neighbours[first].append(second)
        neighbours[second].append(first)
    return neighbours


def _first_old_image_of_photos(
    photos: pd.DataFrame, old: NDArray[np.bool_], photos_of: dict[int, list[str]]
) -> dict[str, int]:
    """Return a dict: each photo that has new and old images -> the row number of its first old image."""
    wanted = set().union(*photos_of.values())
    found = photos[old[photos.index] & photos["name"].isin(wanted)].drop_duplicates("name")
    return dict(zip(found["name"], found.index.tolist(), strict=True))
