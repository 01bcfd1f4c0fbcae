"""Which of the good pictures make the data set, and which of them belong together."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.ingest.duplicates import Clusters, near_duplicates
from components.ingest.earlier_versions import Past, between
from components.ingest.text_lookup import among, look_up, positions
from components.shared.data.manifest import CLASSES

NEEDED = ["sample_id", "source", "path", "label", "photo", "phash"]
QUARANTINE = ["source", "path", "reason"]


@dataclass(frozen=True)
class Selection:
    """The data set's pictures, ordered by sample_id, and what was found on the way.

    Attributes:
        pictures: One row for each content: the columns given, and
            group_id: that of an earlier version; else its photo (`SOURCE:PHOTO`), or the smallest sample_id of its
            near-duplicate cluster.
        copies: Table (path, kept): files left out because the same bytes are there already, and the file that was kept.
        conflicts: Table (source, path, reason): files under both labels, in quarantine.
        opposed: int64 (K, 2), index of a sound file and of a cracked one in the table that was given, which hold the
            same picture.
        bridges: The same of files that belong to two groups of earlier versions, which must not become one, and of
            contested ones.
        left_out: Table (sample_id, group_id, contested) of the pictures of earlier versions that are in quarantine:
            the group that they had, and why they must stay out for ever, or nothing.
        near_pairs: int64 (M, 2), row numbers of pictures that look the same.
    """

    pictures: pd.DataFrame
    copies: pd.DataFrame
    conflicts: pd.DataFrame
    opposed: NDArray[np.int64]
    bridges: pd.DataFrame
    left_out: pd.DataFrame
    near_pairs: NDArray[np.int64]


def select(
    pictures: pd.DataFrame,
    thumbnails: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
    correlation: float,
    past: Past | None = None,
) -> Selection:
    """Keep each picture once, quarantine those under both labels, and find the groups.

    Args:
        pictures: All good ones, in the order of their names: the columns `NEEDED` and whatever else.
        thumbnails: Gives those of pictures of these index values, uint8 (N, 32, 32), grey.
        correlation: From which two pictures are nearly the same.
        past: What is known already; its pictures keep their groups, and those of its first version are not compared
            with each other again.
    """
    past = past or Past()
    kept, photos, copies, both = _once(pictures)
    rows = kept.index.to_numpy()
    kept = kept.reset_index(drop=True)
    kept = kept.join(look_up(kept["sample_id"], past.groups, "sample_id")[["group_id", "version"]])
    new = kept["group_id"].isna().to_numpy()
    asked = kept["version"].ne(0).fillna(True).to_numpy(bool)
    found = near_duplicates(kept["phash"].tolist(), lambda at: thumbnails(rows[at]), correlation, asked)
    pairs = np.unique(np.concatenate([found, _remembered(kept["sample_id"], past.pairs)]), axis=0)
    labels = kept["label"].to_numpy()
    contradicting = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
    usable = np.ones(len(kept), bool)
    usable[contradicting.ravel()] = False
    known = positions(pd.Series(past.contested.keys(), dtype="str"), kept["sample_id"])
    contested = {row: why for row, why in zip(known.tolist(), past.contested.values(), strict=True) if row >= 0}
    usable[list(contested)] = False
    astray = _astray(kept, photos[(~new & usable)[photos.index]])
    usable[list(astray)] = False
    apart = _apart(kept, pairs[usable[pairs].all(axis=1)])
    usable[list(apart)] = False
    near = pairs[usable[pairs].all(axis=1)]
    joined, joining = _join(kept, new, usable, photos, near)
    usable[list(joining)] = False
    bridges = contested | astray | apart | joining
    good = np.flatnonzero(usable)
    groups = kept["group_id"].fillna(pd.Series(joined, dtype="str"))
    chosen = pictures.loc[rows[good]].reset_index(drop=True).assign(group_id=groups.array[good])
    return Selection(
        chosen,
        copies,
        pd.concat([_same_bytes(both), _disputes(kept, contradicting)], ignore_index=True),
        np.concatenate([_one_of_each_label(both), _sound_first(rows[contradicting], labels[contradicting[:, 0]])]),
        _quarantine(kept.iloc[list(bridges)], bridges.values()),
        _left_out(past, pictures["sample_id"], chosen["sample_id"]),
        np.searchsorted(good, near[usable[near].all(axis=1)]),
    )


def _once(pictures: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Keep the first file of each content, but none of those under both labels.

    Returns:
        The kept ones; the photos that they were found in, table (name) with their row numbers as index; the copies; and
        the files whose bytes stand under both labels, ordered by content.
    """
    ordered = pictures[NEEDED].sort_values("sample_id", kind="stable")
    first = ~ordered["sample_id"].duplicated()
    labels = ordered.groupby(first.cumsum())["label"]
    mixed = labels.transform("min") != labels.transform("max")
    kept = ordered[first & ~mixed]
    where = (ordered["source"] + ":" + ordered["photo"]).to_frame("name").set_index((first & ~mixed).cumsum() - 1)
    photos = where[~mixed.to_numpy()].dropna()
    copies = ordered[["path"]].assign(kept=ordered["path"].where(first).ffill())[~first & ~mixed]
    return kept, photos, copies, ordered[mixed]


def _left_out(past: Past, given: pd.Series, chosen: pd.Series) -> pd.DataFrame:
    """Pictures of the past that are given and not chosen: the group that they had, and why they are contested."""
    gone = past.groups.loc[~among(past.groups["sample_id"], chosen), ["sample_id", "group_id"]]
    gone = gone[among(gone["sample_id"], given)]
    return gone.assign(contested=gone["sample_id"].map(past.contested)).astype("str")


def _same_bytes(both: pd.DataFrame) -> pd.DataFrame:
    names = both["path"] + " (" + both["label"].map(dict(enumerate(CLASSES))) + ")"
    listed = names.groupby(both["sample_id"]).transform(", ".join)
    reasons = [f"the same file stands under both labels: {files}" for files in listed]
    return _quarantine(both, reasons)


def _one_of_each_label(both: pd.DataFrame) -> NDArray[np.int64]:
    """Index of the first sound and the first cracked file of each content that stands under both labels."""
    first = both.drop_duplicates(["sample_id", "label"]).sort_values(["sample_id", "label"])
    return first.index.to_numpy(np.int64).reshape(-1, len(CLASSES))


def _sound_first(pairs: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs turned round where the first one, of this label, is the cracked one."""
    return np.where(labels[:, None] == 0, pairs, pairs[:, ::-1])


def _quarantine(pictures: pd.DataFrame, reasons: Iterable[str]) -> pd.DataFrame:
    return pictures[["source", "path"]].assign(reason=pd.array(list(reasons), dtype="str"))


def _remembered(sample_ids: pd.Series, pairs: pd.DataFrame) -> NDArray[np.int64]:
    """Row numbers of the pairs whose pictures are both here."""
    both = np.stack([positions(pairs[name], sample_ids) for name in ("first", "second")], axis=1)
    return both[(both >= 0).all(axis=1)]


def _disputes(kept: pd.DataFrame, contradicting: NDArray[np.int64]) -> pd.DataFrame:
    others: dict[int, list[int]] = defaultdict(list)
    for a, b in contradicting.tolist():
        others[a].append(b)
        others[b].append(a)
    disputed = kept.loc[sorted(others)]
    label = {row: CLASSES[label] for row, label in disputed["label"].items()}
    named = {row: f"{path} ({label[row]})" for row, path in disputed["path"].items()}
    reasons = [
        f"the same picture stands under both labels: this is {label[row]}, nearly the same is "
        + ", ".join(named[other] for other in others[row])
        for row in disputed.index
    ]
    return _quarantine(disputed, reasons)


def _apart(kept: pd.DataFrame, pairs: NDArray[np.int64]) -> dict[int, str]:
    """Pictures of the past that look like one of another group, which another version formed; and why they stay out.

    Of a pair, the version named first keeps its picture.
    """
    groups, versions = kept["group_id"].to_numpy(object), kept["version"].fillna(-1).to_numpy(np.int64)
    told = pairs[(versions[pairs] >= 0).all(axis=1)]
    theirs: dict[int, set[str]] = defaultdict(set)
    for a, b in told[groups[told[:, 0]] != groups[told[:, 1]]].tolist():
        theirs[max(a, b, key=lambda row: (versions[row], row))] |= {groups[a], groups[b]}
    return {row: between(list(both)) for row, both in theirs.items()}


def _astray(kept: pd.DataFrame, photos: pd.DataFrame) -> dict[int, str]:
    """Pictures of the past that turn out to be of a photo most of which stands in another group; and why they stay out.

    Where versions disagree on a photo, the one named first is right.

    A copy of the picture came in with that photo, or the source says something else of photos than it did.

    Args:
        kept: Pictures.
        photos: From `_once`, those of pictures of the past.
    """
    if photos.empty:
        return {}
    told = photos.assign(
        group=kept["group_id"].to_numpy()[photos.index], version=kept["version"].to_numpy()[photos.index]
    )
    groups = told[["name", "group", "version"]].value_counts().reset_index()
    groups = groups.sort_values(["version", "count", "group"], ascending=[False, True, True])
    home = groups.drop_duplicates("name", keep="last").set_index("name")["group"]
    others = told.assign(home=told["name"].map(home)).query("group != home")
    return {row: between(list({*own["group"], *own["home"]})) for row, own in others.groupby(level=0)}


def _join(
    kept: pd.DataFrame, new: NDArray[np.bool_], usable: NDArray[np.bool_], photos: pd.DataFrame, near: NDArray[np.int64]
) -> tuple[dict[int, str], dict[int, str]]:
    """Join what shares a photo or looks the same, without ever joining two groups of the past.

    Only new pictures are gone through, and the past ones that they touch.

    Args:
        kept: Pictures; group_id is missing where they are new.
        new: bool (N,).
        usable: bool (N,): those that may have a group.
        photos: From `_once`.
        near: int64 (M, 2), row numbers of usable ones that look the same.

    Returns:
        The group id by row number of new ones; and by that of those that would join groups of the past, why they stay
        out.
    """
    names: dict[int, list[str]] = defaultdict(list)
    for row, name in photos["name"][(new & usable)[photos.index]].items():
        names[row].append(name)
    neighbours: dict[int, list[int]] = defaultdict(list)
    for a, b in near[new[near].any(axis=1)].tolist():
        neighbours[a].append(b)
        neighbours[b].append(a)
    wanted = {name for own in names.values() for name in own}
    known = photos[(~new & usable)[photos.index] & photos["name"].isin(wanted)].drop_duplicates("name")
    first_of = dict(zip(known["name"], known.index.tolist(), strict=True))
    placed = {row for row in (*neighbours, *first_of.values()) if not new[row]}
    old = kept.loc[list(placed), "group_id"].to_dict()
    clusters, joining = Clusters(len(kept)), {}
    for row in np.flatnonzero(new & usable).tolist():
        linked = [other for other in neighbours[row] if other in placed]
        linked += [first_of[name] for name in names[row] if name in first_of]
        theirs = {old[clusters.root(other)] for other in linked if clusters.root(other) in old}
        if len(theirs) > 1:
            joining[row] = between(list(theirs))
            continue
        placed.add(row)
        for other in linked:
            clusters.join(row, other)
        if theirs:
            old[clusters.root(row)] = theirs.pop()
        for name in names[row]:
            first_of.setdefault(name, row)
    named: dict[int, str] = {}
    for name in sorted(first_of):
        named.setdefault(clusters.root(first_of[name]), name)
    sample_ids = kept["sample_id"].tolist()
    roots = {row: clusters.root(row) for row in placed if new[row]}
    return {row: old.get(root) or named.get(root) or sample_ids[root] for row, root in roots.items()}, joining
