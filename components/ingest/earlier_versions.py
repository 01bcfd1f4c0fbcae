"""What earlier versions say of the pictures of a source, so that none changes its group or its split.

A picture that was left out keeps the group that it had, for the day when it comes back. Sources that were first
ingested apart come with several versions; a picture on which these disagree is contested, and stays out for ever.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.data.versions import Version
from components.shared.services.store import Store

PLACES = dict.fromkeys(["sample_id", "mask_id", "shard"], "str") | dict.fromkeys(
    ["offset", "size", "mask_offset", "mask_size"], "Int64"
)
GROUPS = {"sample_id": "str", "group_id": "str", "version": "Int64"}
PAIRS = "near_duplicates.parquet"  # in a version: sample_ids of pictures that look the same
PHOTOS = "photos.parquet"  # in a version: sample_ids and photos of the pictures whose photo is known
LEFT_OUT = "left_out.parquet"  # in a version: sample_ids and groups of pictures left out, and why they are contested


def _empty(columns: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(columns)).astype(columns)


@dataclass(frozen=True)
class Past:
    """What earlier versions say of their pictures.

    Attributes:
        groups: Table (sample_id, group_id, version), version being the number of the first one that has the picture.
            Pictures of one version have been compared with each other. Those left out have the number after the last.
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
        past: What they say.
        places: Table of the columns `PLACES`: where their images lie.
        shards: Size by name of their shards.
    """

    past: Past
    places: pd.DataFrame
    shards: dict[str, int]


def read_previous(store: Store, versions: Sequence[Version]) -> Previous:
    """Read what versions say together; of the same picture, the one named first is right."""
    rows, pairs, left_out = [], [], []
    for number, version in enumerate(versions):
        rows.append(_read(store, version, "manifest.parquet", [*PLACES, "group_id"]).assign(version=number))
        pairs.append(_read(store, version, PAIRS, ["first", "second"]))
        left_out.append(_read(store, version, LEFT_OUT, ["sample_id", "group_id", "contested"]).assign(version=number))
    if not rows:
        return Previous(Past(), _empty(PLACES), {})
    together, outside = pd.concat(rows, ignore_index=True), pd.concat(left_out, ignore_index=True)
    contested = outside.dropna(subset="contested").set_index("sample_id")["contested"].to_dict()
    if len(versions) > 1:
        contested |= _in_several_groups(pd.concat([together, outside]))
    groups = pd.concat([together, outside.assign(version=len(versions))])[list(GROUPS)].drop_duplicates("sample_id")
    past = Past(groups, pd.concat(pairs).drop_duplicates(), contested)
    shards = {name: size for version in versions for name, size in version.shards.items()}
    places = together[list(PLACES)].drop_duplicates("sample_id")
    return Previous(past, places, shards)


def _in_several_groups(groups: pd.DataFrame) -> dict[str, str]:
    """Pictures that versions put into different groups, and why they stay out."""
    several = groups.drop_duplicates(["sample_id", "group_id"]).groupby("sample_id")["group_id"].agg(list)
    return {name: between(own) for name, own in several.items() if len(own) > 1}


def between(groups: Sequence[str]) -> str:
    """Why a picture that belongs to several groups stays out."""
    return (
        f"it belongs to {len(groups)} groups that earlier versions keep apart: {', '.join(sorted(groups))}; in either "
        "it would leak what a model is tested on into its training"
    )


def _read(store: Store, version: Version, name: str, columns: list[str]) -> pd.DataFrame:
    table = pq.read_table(BytesIO(store.get_bytes(version.key(name))), columns=columns)
    return table.to_pandas(ignore_metadata=True, types_mapper={pa.int64(): pd.Int64Dtype()}.get)
