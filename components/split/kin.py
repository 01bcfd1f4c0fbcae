"""What earlier versions of a growing data set were split into, so that no image ever moves to another split.

A version's dataset.json names the version that it grew from. The assignment of each, by parameters and seed, is kept
inside it as `splits/KEY.parquet`: written once, and gone with the version.
"""

import json
from io import BytesIO

import pandas as pd

from components.shared.runtime import digest, warn
from components.shared.storage import MissingObjectError, Store
from components.shared.versions import COMMIT
from components.split.config import SplitConfig

Assignment = dict[str, str]  # split by group_id


def assignment_key(config: SplitConfig, seed: int) -> str:
    """Name of the assignments by these parameters and this seed."""
    return digest(config.identity(), seed)


def earlier_assignment(store: Store, version: str, key: str) -> Assignment:
    """Return the assignment of the version itself, or of the nearest one that it grew from; else nothing."""
    seen: set[str] = set()
    while version and version not in seen:
        seen.add(version)
        try:
            table = pd.read_parquet(BytesIO(store.get_bytes(_place(version, key))))
            return dict(zip(table["group_id"], table["split"], strict=True))
        except MissingObjectError:
            version = _grew_from(store, version)
    return {}


def keep_assignment(store: Store, version: str, key: str, chosen: Assignment) -> None:
    """Keep an assignment for the versions that grow from this one; the first one kept stays."""
    if store.exists(_place(version, key)):
        return
    buffer = BytesIO()
    pd.DataFrame({"group_id": list(chosen), "split": list(chosen.values())}).to_parquet(buffer, index=False)
    store.put_bytes(_place(version, key), buffer.getvalue())


def kin(store: Store, version: str) -> dict[str, list[tuple[str, str]]]:
    """Return pairs of sample_ids that must not be parted, as ingestion saw them in the files and their names.

    Two of each photo are enough: the first one with each of the others.
    """
    alike = _table(store, version, "near_duplicates", ["first", "second"])
    photos = _table(store, version, "photos", ["sample_id", "photo"])
    photos["first"] = photos.groupby("photo")["sample_id"].transform("first")
    return {
        "look the same": list(zip(alike["first"], alike["second"], strict=True)),
        "are of one photo": list(zip(photos["first"], photos["sample_id"], strict=True)),
    }


def _table(store: Store, version: str, name: str, columns: list[str]) -> pd.DataFrame:
    try:
        return pd.read_parquet(BytesIO(store.get_bytes(f"datasets/{version}/{name}.parquet")))
    except MissingObjectError:
        warn(f"the data set version {version[:12]} has no {name}.parquet: leaks were looked for by its groups only")
        return pd.DataFrame(columns=columns)


def _place(version: str, key: str) -> str:
    return f"datasets/{version}/splits/{key}.parquet"


def _grew_from(store: Store, version: str) -> str:
    try:
        return json.loads(store.get_bytes(f"datasets/{version}/{COMMIT}")).get("previous") or ""
    except MissingObjectError:
        return ""
