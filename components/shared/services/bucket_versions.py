"""Remove the old versions of deleted objects. In a bucket that keeps versions, a deletion only hides an object."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from components.shared.errors import InputError
from components.shared.services.store import KEYS_PER_DELETE, Store


@dataclass
class DeletedObject:
    """An object that is deleted, but whose versions are still stored.

    Attributes:
        key: Key of the object, relative to the root.
        size: Bytes of all its versions.
        deleted: Time of the deletion.
        versions: Ids of all its versions, including the versions that only mark a deletion.
    """

    key: str
    size: int = 0
    deleted: datetime | None = None
    versions: list[str] = field(default_factory=list)


def keeps_versions(store: Store) -> bool:
    """Return whether the bucket keeps the versions of deleted objects. Some servers do not support versions."""
    try:
        answer = store.connection.ask("", lambda client: client.get_bucket_versioning(Bucket=store.bucket))
    except InputError:
        return False
    return answer.get("Status") in ("Enabled", "Suspended")


def deleted_objects(
    store: Store, prefixes: Iterable[str], before: datetime, also: Collection[str] = ()
) -> list[DeletedObject]:
    """Return deleted objects whose versions are still stored.

    Args:
        store: Storage root.
        prefixes: Only objects whose keys start with one of these prefixes are returned.
        before: Only objects that were deleted before this time are returned.
        also: Keys of objects that are returned even if they were deleted later.
    """
    found: dict[str, DeletedObject] = {}
    for prefix in prefixes:
        for entry, is_version in _entries(store, prefix):
            key = entry["Key"][len(store.full_key("")) :]
            known = found.setdefault(key, DeletedObject(key))
            known.versions.append(entry["VersionId"])
            known.size += entry["Size"] if is_version else 0
            if entry["IsLatest"] and not is_version:
                known.deleted = entry["LastModified"]

    chosen = []
    for known in found.values():
        if known.deleted and (known.deleted < before or known.key in also):
            chosen.append(known)
    return chosen


def _entries(store: Store, prefix: str) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield each version under a prefix, and true if it has content. A version without content marks a deletion."""
    position: dict[str, str] = {}
    while True:
        page = _page(store, prefix, position)
        for entry in page.get("Versions", []):
            yield entry, True
        for entry in page.get("DeleteMarkers", []):
            yield entry, False

        if not page.get("IsTruncated"):
            return
        position = {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}


def _page(store: Store, prefix: str, position: dict[str, str]) -> dict[str, Any]:
    def request(client: Any) -> dict[str, Any]:
        return client.list_object_versions(Bucket=store.bucket, Prefix=store.full_key(prefix), **position)

    return store.connection.ask(prefix, request)


def remove_versions(store: Store, objects: Iterable[DeletedObject]) -> None:
    """Remove all versions of deleted objects. Nobody can restore them afterwards.

    Raises:
        InputError: The bucket refuses to remove a version, for example because Object Lock protects it.
    """
    versions = []
    for one in objects:
        for version in one.versions:
            versions.append({"Key": store.full_key(one.key), "VersionId": version})

    for start in range(0, len(versions), KEYS_PER_DELETE):
        _remove(store, versions[start : start + KEYS_PER_DELETE])


def _remove(store: Store, versions: list[dict[str, str]]) -> None:
    def request(client: Any) -> dict[str, Any]:
        return client.delete_objects(Bucket=store.bucket, Delete={"Objects": versions, "Quiet": True})

    answer = store.connection.ask(versions[0]["Key"], request)
    for error in answer.get("Errors", []):
        raise InputError(
            f"the bucket {store.bucket} refuses to remove a version of {error.get('Key', '')}: "
            f"{error.get('Message', '')}; if Object Lock protects the version, wait until the protection ends"
        )
