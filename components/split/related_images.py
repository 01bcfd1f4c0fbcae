"""Which pictures must not be parted, as ingestion saw it in files and names, whatever groups it made of them."""

from io import BytesIO

import pandas as pd

from components.shared.data.versions import Version, read_version
from components.shared.events import warn
from components.shared.services.store import MissingObjectError, Store


def kin(store: Store, digest: str) -> dict[str, list[tuple[str, str]]]:
    """Return pairs of sample_ids of a version that must not be parted, by what they do.

    Two of each photo are enough: the first one with each of the others.
    """
    version = read_version(store, digest)
    alike = _table(store, version, "near_duplicates", ["first", "second"])
    photos = _table(store, version, "photos", ["sample_id", "photo"])
    photos["first"] = photos.groupby("photo")["sample_id"].transform("first")
    return {
        "look the same": list(zip(alike["first"], alike["second"], strict=True)),
        "are of one photo": list(zip(photos["first"], photos["sample_id"], strict=True)),
    }


def _table(store: Store, version: Version | None, name: str, columns: list[str]) -> pd.DataFrame:
    try:
        if version is not None:
            return pd.read_parquet(BytesIO(store.get_bytes(version.key(f"{name}.parquet"))))
    except MissingObjectError:
        pass
    warn(f"the store has no {name}.parquet of the data set version: leaks were looked for by its groups only")
    return pd.DataFrame(columns=columns)
