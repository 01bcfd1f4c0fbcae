"""What earlier versions say of the pictures of a source, so that none changes its group or its split.

Sources that were first ingested apart come with several versions. A picture on which these disagree is contested: it
stays out, now and in all versions that grow from this one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.lineage import assignment_keys, earlier_assignment
from components.shared.storage import Store
from components.shared.versions import Version

PLACES = dict.fromkeys(["sample_id", "mask_id", "shard"], "str") | dict.fromkeys(
    ["offset", "size", "mask_offset", "mask_size"], "Int64"
)
GROUPS = {"sample_id": "str", "group_id": "str", "version": "Int64"}
PAIRS = "near_duplicates.parquet"  # in a version: sample_ids of pictures that look the same
PHOTOS = "photos.parquet"  # in a version: sample_ids and photos of the pictures whose photo is known
CONTESTED = "contested.parquet"  # in a version: sample_ids of the contested pictures, and why
LEAKS = "; in either it would leak what a model is tested on into its training"


def _empty(columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(columns)).astype(columns)


@dataclass(frozen=True)
class Past:
    """What earlier versions say of their pictures.

    Attributes:
        groups: Table (sample_id, group_id, version), version being the number of the first one that has the picture.
            Pictures of one version have been compared with each other.
        pairs: Table (first, second) of sample_ids that look the same.
        contested: Why a picture must stay out, by sample_id.
    """

    groups: pd.DataFrame = field(default_factory=lambda: _empty(GROUPS))
    pairs: pd.DataFrame = field(default_factory=lambda: _empty({"first": "str", "second": "str"}))
    contested: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Previous:
    """The versions that the sources last were part of.

    Attributes:
        digests: Their names.
        past: What they say.
        places: Table of the columns `PLACES`: where their images lie.
        shards: Size by name of their shards.
    """

    digests: list[str]
    past: Past
    places: pd.DataFrame
    shards: dict[str, int]


def read_previous(store: Store, versions: Sequence[Version]) -> Previous:
    """Read what versions say together; of the same picture, the one named first is right."""
    rows, pairs = [], []
    contested: dict[str, str] = {}
    for number, version in enumerate(versions):
        rows.append(_read(store, version, "manifest.parquet", [*PLACES, "group_id"]).assign(version=number))
        pairs.append(_read(store, version, PAIRS, ["first", "second"]))
        told = _read(store, version, CONTESTED, ["sample_id", "reason"])
        contested |= dict(zip(told["sample_id"], told["reason"], strict=True))
    if not rows:
        return Previous([], Past(), _empty(PLACES), {})
    together = pd.concat(rows, ignore_index=True)
    groups = together[list(GROUPS)]
    if len(versions) > 1:
        contested |= _disagreements(store, versions, groups)
    past = Past(groups.drop_duplicates("sample_id"), pd.concat(pairs).drop_duplicates(), contested)
    shards = {name: size for version in versions for name, size in version.shards.items()}
    places = together[list(PLACES)].drop_duplicates(["sample_id", "mask_id"])
    return Previous([version.digest for version in versions], past, places, shards)


def _disagreements(store: Store, versions: Sequence[Version], groups: pd.DataFrame) -> dict[str, str]:
    """Pictures that stand in two groups, and those whose group a version put into another split than one before it."""
    found = {}
    for key in sorted(set[str]().union(*(assignment_keys(store, version.digest) for version in versions))):
        assigned = [earlier_assignment(store, version.digest, key) for version in versions]
        rows = zip(groups["version"], groups["group_id"], strict=True)
        splits = [assigned[number].get(group) for number, group in rows]
        told = groups.assign(split=splits).dropna(subset="split")
        told["first"] = told.groupby("group_id")["split"].transform("first")
        for row in told[told["split"] != told["first"]].itertuples():
            found[row.sample_id] = (
                f"its group {row.group_id} is in {row.first} in one earlier version and in {row.split} in another"
                f"{LEAKS}"
            )
    several = groups.drop_duplicates(["sample_id", "group_id"]).groupby("sample_id")["group_id"].agg(list)
    return found | {name: between(own) for name, own in several.items() if len(own) > 1}


def between(groups: Sequence[str]) -> str:
    """Why a picture that belongs to several groups stays out."""
    return f"it belongs to {len(groups)} groups that earlier versions keep apart: {', '.join(sorted(groups))}{LEAKS}"


def _read(store: Store, version: Version, name: str, columns: list[str]) -> pd.DataFrame:
    table = pq.read_table(BytesIO(store.get_bytes(version.key(name))), columns=columns)
    return table.to_pandas(ignore_metadata=True, types_mapper={pa.int64(): pd.Int64Dtype()}.get)
