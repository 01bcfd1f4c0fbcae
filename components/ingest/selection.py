"""Which of the good pictures make the data set, and which of them belong together."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from components.ingest.duplicates import Clusters, near_duplicates, perceptual_hashes
from components.ingest.examination import THUMBNAIL, Picture, Refusal
from components.shared.manifest import CLASSES


@dataclass(frozen=True)
class Past:
    """What an earlier version says of its pictures: the group of each sample_id, and which of them look the same."""

    groups: dict[str, str] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Selection:
    """The data set's pictures, ordered by sample_id, and what was found on the way.

    Attributes:
        pictures: One for each content.
        group_ids: Of each picture: that of an earlier version; else its photo (`SOURCE:PHOTO`), or the smallest
            sample_id of its near-duplicate cluster.
        hashes: uint8 (N, 8), perceptual.
        copies: Files left out because the same bytes are there already, each with the file that was kept.
        conflicts: Files under both labels, in quarantine.
        bridges: Files that would make one group of two of an earlier version, in quarantine.
        near_pairs: int64 (M, 2), indices of pictures that look the same.
    """

    pictures: list[Picture]
    group_ids: list[str]
    hashes: NDArray[np.uint8]
    copies: list[tuple[str, str]]
    conflicts: list[Refusal]
    bridges: list[Refusal]
    near_pairs: NDArray[np.int64]


def select(pictures: list[Picture], correlation: float, past: Past | None = None) -> Selection:
    """Keep each picture once, quarantine those under both labels, and find the groups.

    Args:
        pictures: All good ones, in the order of their names.
        correlation: From which two pictures are nearly the same.
        past: What is known already; its pictures keep their groups and are not compared with each other again.
    """
    past = past or Past()
    kept, copies, same_bytes, photos = _once(pictures)
    thumbnails = np.stack([p.thumbnail for p in kept]) if kept else np.empty((0, THUMBNAIL, THUMBNAIL), np.uint8)
    hashes = perceptual_hashes(thumbnails)
    pairs = _pairs(kept, thumbnails, hashes, correlation, past)
    labels = np.array([picture.item.label for picture in kept], np.int64)
    contradicting = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
    usable = np.ones(len(kept), bool)
    usable[contradicting.ravel()] = False
    near = pairs[usable[pairs].all(axis=1)]
    groups, between = _groups(kept, usable, photos, near, past)
    bridges = [Refusal(kept[index].item, _between(two)) for index, two in between.items()]
    usable[list(between)] = False
    good = np.flatnonzero(usable)
    near = np.searchsorted(good, near[usable[near].all(axis=1)])
    conflicts = same_bytes + _disputes(kept, contradicting)
    chosen = [kept[index] for index in good]
    return Selection(chosen, [groups[i] for i in good.tolist()], hashes[good], copies, conflicts, bridges, near)


def _once(
    pictures: list[Picture],
) -> tuple[list[Picture], list[tuple[str, str]], list[Refusal], list[list[str]]]:
    """Keep the first file of each content; also return, of each kept one, all photos that it was found in."""
    by_content: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_content[picture.sample_id].append(picture)
    kept, copies, conflicts, photos = [], [], [], []
    for sample_id in sorted(by_content):
        same = by_content[sample_id]
        if len({picture.item.label for picture in same}) > 1:
            names = ", ".join(f"{picture.item.path} ({CLASSES[picture.item.label]})" for picture in same)
            conflicts += [Refusal(p.item, f"the same file stands under both labels: {names}") for p in same]
            continue
        kept.append(same[0])
        copies += [(picture.item.path, same[0].item.path) for picture in same[1:]]
        photos.append(sorted({f"{p.item.source}:{p.item.group}" for p in same if p.item.group is not None}))
    return kept, copies, conflicts, photos


def _pairs(
    kept: list[Picture], thumbnails: NDArray[np.uint8], hashes: NDArray[np.uint8], correlation: float, past: Past
) -> NDArray[np.int64]:
    """Indices of those that look the same, ordered: looked for among the new ones, remembered among the others."""
    index_of = {picture.sample_id: index for index, picture in enumerate(kept)}
    new = np.array([picture.sample_id not in past.groups for picture in kept], bool)
    found = near_duplicates(thumbnails, hashes, correlation, new)
    remembered = [(index_of[a], index_of[b]) for a, b in past.pairs if a in index_of and b in index_of]
    return np.unique(np.concatenate([found, np.array(remembered, np.int64).reshape(-1, 2)]), axis=0)


def _disputes(kept: list[Picture], contradicting: NDArray[np.int64]) -> list[Refusal]:
    others: dict[int, list[int]] = defaultdict(list)
    for a, b in contradicting.tolist():
        others[a].append(b)
        others[b].append(a)
    return [
        Refusal(
            kept[index].item,
            f"the same picture stands under both labels: this is {CLASSES[kept[index].item.label]}, nearly the same is "
            + ", ".join(f"{kept[o].item.path} ({CLASSES[kept[o].item.label]})" for o in others[index]),
        )
        for index in sorted(others)
    ]


def _between(groups: list[str]) -> str:
    return (
        f"it belongs to {len(groups)} groups that an earlier version keeps apart: {', '.join(groups)}; "
        "in either it would leak what a model is tested on into its training"
    )


def _groups(
    kept: list[Picture], usable: NDArray[np.bool_], photos: list[list[str]], near: NDArray[np.int64], past: Past
) -> tuple[dict[int, str], dict[int, list[str]]]:
    """Join what shares a photo or looks the same, without ever joining two groups of the past.

    Returns:
        The group id by index, and of those that would join groups of the past, in their order, these groups.
    """
    clusters, old, first_of = _old_groups(kept, usable, photos, past)
    neighbours: dict[int, list[int]] = defaultdict(list)
    for a, b in near.tolist():
        neighbours[a].append(b)
        neighbours[b].append(a)
    between: dict[int, list[str]] = {}
    new = [index for index in np.flatnonzero(usable).tolist() if kept[index].sample_id not in past.groups]
    placed = {index for index in np.flatnonzero(usable).tolist() if kept[index].sample_id in past.groups}
    for index in new:
        linked = [other for other in neighbours[index] if other in placed]
        linked += [first_of[name] for name in photos[index] if name in first_of]
        theirs = {old[clusters.root(other)] for other in linked if clusters.root(other) in old}
        if len(theirs) > 1:
            between[index] = sorted(theirs)
            continue
        placed.add(index)
        for other in linked:
            clusters.join(index, other)
        if theirs:
            old[clusters.root(index)] = theirs.pop()
        for name in photos[index]:
            first_of.setdefault(name, index)
    names = old | {root: name for name, root in _named(clusters, first_of) if root not in old}
    roots = {index: clusters.root(index) for index in placed}
    return {index: names.get(root, kept[root].sample_id) for index, root in roots.items()}, between


def _old_groups(
    kept: list[Picture], usable: NDArray[np.bool_], photos: list[list[str]], past: Past
) -> tuple[Clusters, dict[int, str], dict[str, int]]:
    """The groups of the past: clusters, the group id by a cluster's root, and one picture by photo."""
    clusters, first_of = Clusters(len(kept)), {}
    members: dict[str, int] = {}
    for index in np.flatnonzero(usable).tolist():
        group = past.groups.get(kept[index].sample_id)
        if group is not None:
            clusters.join(members.setdefault(group, index), index)
            for name in photos[index]:
                if name == group or name not in first_of:  # a copy in another photo does not take that photo's name
                    first_of[name] = index
    return clusters, {clusters.root(index): group for group, index in members.items()}, first_of


def _named(clusters: Clusters, first_of: dict[str, int]) -> Iterator[tuple[str, int]]:
    """The first photo of each cluster that has one, with the cluster's root."""
    named = set()
    for name in sorted(first_of):
        root = clusters.root(first_of[name])
        if root not in named:
            named.add(root)
            yield name, root
