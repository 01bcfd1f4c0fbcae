"""Read the groups of earlier data set versions, so that an image of a source never changes its group or its split.

An image in quarantine keeps its earlier group, and returns to that group if it is accepted again. If sources were first
ingested separately, we read several earlier versions. These versions may put the same image into different groups. Such
an image is called contested, and it stays in quarantine permanently.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.data.versions import Version
from components.shared.services.store import Store

TEXT, INTEGER = "str", "Int64"
PLACE_TYPES = {
    "sample_id": TEXT,
    "mask_id": TEXT,
    "shard": TEXT,
    "offset": INTEGER,
    "size": INTEGER,
    "mask_offset": INTEGER,
    "mask_size": INTEGER,
}
GROUP_TYPES = {"sample_id": TEXT, "group_id": TEXT, "version": INTEGER}
PAIR_TYPES = {"first": TEXT, "second": TEXT}
OVERLAP_TYPES = PAIR_TYPES | {"correlation": "float64", "shared": "float64"}

# Files of a data set version.
OVERLAPS = "overlaps.parquet"  # pairs of sample_ids: columns first, second, correlation, shared
NEAR_DUPLICATES = "near_duplicates.parquet"  # pairs of sample_ids: columns first, second
PHOTOS = "photos.parquet"  # the photos of images, where we know them: columns sample_id, photo
# The images of earlier versions that are in quarantine: columns sample_id, group_id, contested. `contested` is the
# reason why an image must stay in quarantine permanently. The reason is missing if the image can return.
QUARANTINED = "quarantined.parquet"


def _empty(types: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(columns=list(types)).astype(types)


@dataclass(frozen=True)
class EarlierGroups:
    """The groups of earlier data set versions.

    Attributes:
        groups: Table (sample_id, group_id, version), one row for each image. `version` says in which data set version
            the image is: 0 for the first version that we read, 1 for the second version, and so on. If several versions
            have the image, the first version counts. All images of one data set version have been compared with each
            other. If an image is only in quarantine, its `version` is the number of versions that we read.
        pairs: Table (first, second): in each row, the sample_ids of two near duplicates.
        overlaps: Table (first, second, correlation, shared): in each row, the sample_ids of two overlapping tiles, and
            the values of `overlap_check.Overlap`.
        contested: sample_id of an image -> the reason why the image must stay in quarantine permanently.
    """

    groups: pd.DataFrame = field(default_factory=lambda: _empty(GROUP_TYPES))
    pairs: pd.DataFrame = field(default_factory=lambda: _empty(PAIR_TYPES))
    contested: dict[str, str] = field(default_factory=dict)
    overlaps: pd.DataFrame = field(default_factory=lambda: _empty(OVERLAP_TYPES))


@dataclass(frozen=True)
class EarlierVersions:
    """The combined content of the latest data set version of each source.

    Attributes:
        groups: The groups of these versions.
        places: Table with the columns of `PLACE_TYPES`: where each image and its mask are in the store.
        shards: Name of each shard -> its size in bytes.
    """

    groups: EarlierGroups
    places: pd.DataFrame
    shards: dict[str, int]


def read_earlier_versions(store: Store, versions: Sequence[Version]) -> EarlierVersions:
    """Read and combine data set versions. If they disagree about an image, the first version in the list decides."""
    if not versions:
        return EarlierVersions(EarlierGroups(), _empty(PLACE_TYPES), {})

    manifests, pairs, quarantined, overlaps = [], [], [], []
    shards: dict[str, int] = {}
    for number, version in enumerate(versions):
        manifest = _read(store, version, "manifest.parquet", [*PLACE_TYPES, "group_id"])
        manifests.append(manifest.assign(version=number))
        pairs.append(_read(store, version, NEAR_DUPLICATES, list(PAIR_TYPES)))
        quarantined.append(_read(store, version, QUARANTINED, ["sample_id", "group_id", "contested"]))
        if OVERLAPS in version.files:  # early releases did not look for overlaps
            overlaps.append(_read(store, version, OVERLAPS, list(OVERLAP_TYPES)))
        shards |= version.shards
    kept = pd.concat(manifests, ignore_index=True)
    outside = pd.concat(quarantined, ignore_index=True).assign(version=len(versions))
    every_mention = pd.concat([kept, outside])

    contested = outside.dropna(subset="contested").set_index("sample_id")["contested"].to_dict()
    if len(versions) > 1:
        contested |= _in_several_groups(every_mention)
    groups = EarlierGroups(
        groups=every_mention[list(GROUP_TYPES)].drop_duplicates("sample_id"),
        pairs=pd.concat(pairs).drop_duplicates(),
        contested=contested,
        overlaps=pd.concat([_empty(OVERLAP_TYPES), *overlaps]).drop_duplicates(["first", "second"]),
    )
    places = kept[list(PLACE_TYPES)].drop_duplicates("sample_id")
    return EarlierVersions(groups, places, shards)


def _in_several_groups(mentions: pd.DataFrame) -> dict[str, str]:
    """Find the images whose group differs between versions. Return a dict: sample_id -> quarantine reason."""
    different = mentions.drop_duplicates(["sample_id", "group_id"])
    several = different[different["sample_id"].duplicated(keep=False)]
    return {name: between_groups(groups) for name, groups in several.groupby("sample_id")["group_id"]}


def between_groups(groups: Iterable[str]) -> str:
    """Return the quarantine reason of an image that belongs to several groups."""
    names = sorted(groups)
    return (
        f"it belongs to {len(names)} groups that earlier data set versions keep apart: {', '.join(names)}; these "
        "groups can be in different splits, so a model could be trained on what it is tested on"
    )


def _read(store: Store, version: Version, name: str, columns: list[str]) -> pd.DataFrame:
    table = pq.read_table(BytesIO(version.read(store, name)), columns=columns)
    return table.to_pandas(ignore_metadata=True, types_mapper={pa.int64(): pd.Int64Dtype()}.get)
