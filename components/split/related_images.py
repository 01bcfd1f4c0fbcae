"""Read which images must be in the same split: near duplicates, overlapping images, and images of one photo.

The pairs do not depend on the groups that ingestion formed. So the leak check also finds errors in the groups.
"""

from io import BytesIO

import pandas as pd

from components.shared.data.versions import Version, read_version
from components.shared.events import warn
from components.shared.services.store import MissingObjectError, Store


def related_images(store: Store, digest: str) -> dict[str, list[tuple[str, str]]]:
    """Return a dict: relation -> pairs of sample_ids that must be in the same split.

    The relations are near duplicates, overlapping images, and images of one photo. The first image of a photo is paired
    with every image of the photo. These pairs are enough to find every leak.
    """
    version = read_version(store, digest)
    near_duplicates = _table(store, version, "near_duplicates.parquet", ["first", "second"])
    overlaps = _table(store, version, "overlaps.parquet", ["first", "second"], optional=True)
    photos = _table(store, version, "photos.parquet", ["sample_id", "photo"])
    first_of_photo = photos.groupby("photo")["sample_id"].transform("first")
    return {
        "are near duplicates": list(zip(near_duplicates["first"], near_duplicates["second"], strict=True)),
        "overlap": list(zip(overlaps["first"], overlaps["second"], strict=True)),
        "are from one photo": list(zip(first_of_photo, photos["sample_id"], strict=True)),
    }


def _table(
    store: Store, version: Version | None, name: str, columns: list[str], optional: bool = False
) -> pd.DataFrame:
    """Read a table of the data set version. If the store does not have the table, return an empty table.

    If a table is missing, we warn. But we do not warn if `optional` is true and the store has the data set version,
    because early releases did not write the optional tables.
    """
    if version is not None:
        try:
            return pd.read_parquet(BytesIO(version.read(store, name)))
        except MissingObjectError:
            if optional:
                return pd.DataFrame(columns=columns)
    warn(
        f"the store has no {name} for the data set version, so the leak check used only the groups; check that "
        "ingest and split use the same store"
    )
    return pd.DataFrame(columns=columns)
