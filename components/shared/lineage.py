"""What versions of a growing data set were split into, so that no image ever moves to another split.

A version names those that it grew from. The assignment of each, by parameters and seed, is kept inside it as
`splits/KEY.parquet`: written once, and gone with the version.
"""

from collections.abc import Iterator
from io import BytesIO

import pandas as pd

from components.shared.storage import MissingObjectError, Store
from components.shared.versions import read_version

Assignment = dict[str, str]  # split by group_id


def earlier_assignment(store: Store, digest: str, key: str) -> Assignment:
    """Return the assignment of the version itself, or else what those that it grew from say together.

    Args:
        store: Storage root.
        digest: The version.
        key: Name of the assignments by the same parameters and seed.

    Returns:
        Split by group_id. Where two versions disagree on a group, the one named first is right: ingestion has left out
        the pictures that the other had put elsewhere.
    """
    found: Assignment = {}
    seen, pending = set[str](), [digest]
    while pending:
        version = pending.pop(0)
        if version in seen:
            continue
        seen.add(version)
        try:
            table = pd.read_parquet(BytesIO(store.get_bytes(_place(version, key))))
            found = dict(zip(table["group_id"], table["split"], strict=True)) | found
        except MissingObjectError:
            pending += _grew_from(store, version)
    return found


def keep_assignment(store: Store, digest: str, key: str, chosen: Assignment) -> None:
    """Keep an assignment for the versions that grow from this one; the first one kept stays."""
    if store.exists(_place(digest, key)):
        return
    buffer = BytesIO()
    pd.DataFrame({"group_id": list(chosen), "split": list(chosen.values())}).to_parquet(buffer, index=False)
    store.put_bytes(_place(digest, key), buffer.getvalue())


def assignment_keys(store: Store, digest: str) -> set[str]:
    """Keys of all assignments of the version and of those that it grew from, directly or not."""
    return {
        name.rpartition("/")[2].removesuffix(".parquet")
        for version in _ancestry(store, digest)
        for name, _ in store.list(f"datasets/{version}/splits/")
    }


def _ancestry(store: Store, digest: str) -> Iterator[str]:
    seen, pending = set[str](), [digest]
    while pending:
        version = pending.pop(0)
        if version not in seen:
            seen.add(version)
            yield version
            pending += _grew_from(store, version)


def _grew_from(store: Store, digest: str) -> list[str]:
    version = read_version(store, digest)
    return version.grew_from if version else []


def _place(digest: str, key: str) -> str:
    return f"datasets/{digest}/splits/{key}.parquet"
