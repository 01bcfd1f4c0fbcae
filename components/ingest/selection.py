"""Which of the good pictures make the data set, and which of them belong together."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.ingest.duplicates import Clusters, near_duplicates, perceptual_hashes
from components.ingest.examination import Picture, Refusal
from components.shared.manifest import CLASSES


@dataclass(frozen=True)
class Selection:
    """The data set's pictures, ordered by sample_id, and what was found on the way.

    Attributes:
        pictures: One for each content.
        group_ids: Of each picture: its photo (`SOURCE:PHOTO`), or the smallest sample_id of its near-duplicate cluster.
        hashes: uint8 (N, 8), perceptual.
        copies: Files left out because the same bytes are there already, each with the file that was kept.
        conflicts: Files under both labels, in quarantine.
        near_pairs: int64 (M, 2), indices of pictures that look the same.
    """

    pictures: list[Picture]
    group_ids: list[str]
    hashes: NDArray[np.uint8]
    copies: list[tuple[str, str]]
    conflicts: list[Refusal]
    near_pairs: NDArray[np.int64]


def select(pictures: list[Picture], correlation: float) -> Selection:
    """Keep each picture once, quarantine those under both labels, and find the groups.

    Args:
        pictures: All good ones, in the order of their names.
        correlation: From which two pictures are nearly the same.
    """
    kept, copies, same_bytes, photos = _once(pictures)
    thumbnails = np.stack([picture.thumbnail for picture in kept]) if kept else np.empty((0, 32, 32), np.uint8)
    hashes = perceptual_hashes(thumbnails)
    pairs = near_duplicates(thumbnails, hashes, correlation)
    labels = np.array([picture.item.label for picture in kept], np.int64)
    contradicting = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
    good = np.setdiff1d(np.arange(len(kept)), contradicting)
    new_index = np.full(len(kept), -1)
    new_index[good] = np.arange(len(good))
    near = new_index[pairs]
    near = near[(near >= 0).all(axis=1)]
    chosen = [kept[index] for index in good]
    group_ids = _group_ids(chosen, [photos[picture.sample_id] for picture in chosen], near)
    return Selection(chosen, group_ids, hashes[good], copies, same_bytes + _disputes(kept, contradicting), near)


def _once(
    pictures: list[Picture],
) -> tuple[list[Picture], list[tuple[str, str]], list[Refusal], dict[str, set[str]]]:
    """Keep the first file of each content; also return all photos that a content was found in."""
    by_content: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_content[picture.sample_id].append(picture)
    kept, copies, conflicts, photos = [], [], [], {}
    for sample_id in sorted(by_content):
        same = by_content[sample_id]
        if len({picture.item.label for picture in same}) > 1:
            names = ", ".join(f"{picture.item.path} ({CLASSES[picture.item.label]})" for picture in same)
            reason = f"the same file stands under both labels: {names}"
            conflicts += [Refusal(p.item.path, reason, p.item.source) for p in same]
            continue
        kept.append(same[0])
        copies += [(picture.item.path, same[0].item.path) for picture in same[1:]]
        photos[sample_id] = {f"{p.item.source}:{p.item.group}" for p in same if p.item.group is not None}
    return kept, copies, conflicts, photos


def _disputes(kept: list[Picture], contradicting: NDArray[np.int64]) -> list[Refusal]:
    others: dict[int, list[int]] = defaultdict(list)
    for a, b in contradicting.tolist():
        others[a].append(b)
        others[b].append(a)
    return [
        Refusal(
            kept[index].item.path,
            f"the same picture stands under both labels: this is {CLASSES[kept[index].item.label]}, nearly the same is "
            + ", ".join(f"{kept[o].item.path} ({CLASSES[kept[o].item.label]})" for o in others[index]),
            kept[index].item.source,
        )
        for index in sorted(others)
    ]


def _group_ids(chosen: list[Picture], photos: list[set[str]], near: NDArray[np.int64]) -> list[str]:
    """Join what shares a photo or looks the same; name a group by its first photo, else by its first sample_id."""
    clusters = Clusters(len(chosen))
    first_of: dict[str, int] = {}
    for index, names in enumerate(photos):
        for name in names:
            clusters.join(first_of.setdefault(name, index), index)
    for a, b in near.tolist():
        clusters.join(a, b)
    named: dict[int, str] = {}
    for name in sorted(first_of):
        named.setdefault(clusters.root(first_of[name]), name)
    roots = [clusters.root(index) for index in range(len(chosen))]
    return [named.get(root, chosen[root].sample_id) for root in roots]
