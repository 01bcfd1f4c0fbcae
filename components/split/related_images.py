"""Which images must be in the same split, as ingestion found it in files and names, whatever groups it formed."""

from io import BytesIO

import pandas as pd

from components.shared.data.versions import Version, read_version
from components.shared.events import warn
from components.shared.services.store import MissingObjectError, Store


def related_images(store: Store, digest: str) -> dict[str, list[tuple[str, str]]]:
    """Pairs of sample_ids of a data set version that must be in the same split, by their relation.

    Of a photo, the first image is paired with each of the others. This is enough to find every leak.
    """
    version = read_version(store, digest)
    near_duplicates = _table(store, version, "near_duplicates.parquet", ["first", "second"])
    photos = _table(store, version, "photos.parquet", ["sample_id", "photo"])
    first_of_photo = photos.groupby("photo")["sample_id"].transform("first")
    return {
        "are near duplicates": list(zip(near_duplicates["first"], near_duplicates["second"], strict=True)),
        "are from one photo": list(zip(first_of_photo, photos["sample_id"], strict=True)),
    }


def _table(store: Store, version: Version | None, name: str, columns: list[str]) -> pd.DataFrame:
    """A table of the version; without rows, and with a warning, where the store does not have it."""
    if version is not None:
        try:
            return pd.read_parquet(BytesIO(store.get_bytes(version.key(name))))
        except MissingObjectError:
            pass
    warn(f"the store has no {name} of the data set version, so the leak check used its groups only")
    return pd.DataFrame(columns=columns)
