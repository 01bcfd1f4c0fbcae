"""Remove the old versions of deleted objects. In a bucket that keeps versions, a deletion only hides an object.

A version without content marks the deletion. If this mark is removed before the content, the object exists again.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import repeat
from typing import Any

from components.shared.errors import InputError
from components.shared.services.s3_failures import UnknownRequestError
from components.shared.services.store import KEYS_PER_DELETE, Store


@dataclass
class DeletedObject:
    """An object that is deleted, but whose versions are still stored.

    Attributes:
        key: Key of the object, relative to the root.
        size: Bytes of all its versions.
        deleted: Time of the deletion.
        versions: Ids of its versions with content.
        marks: Ids of the versions that only mark a deletion.
    """

    key: str
    size: int = 0
    deleted: datetime | None = None
    versions: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)


def keeps_versions(store: Store) -> bool:
    """Return whether the bucket keeps the versions of deleted objects. Some servers do not support versions.

    Raises:
        InputError: The server does not answer this question.
    """
    try:
        answer = store.connection.ask("", lambda client: client.get_bucket_versioning(Bucket=store.bucket))
    except UnknownRequestError:
        return False
    except InputError as error:
        raise InputError(
            f"it is unknown whether the bucket {store.bucket} keeps versions of deleted objects: {error}. The access "
            "key needs the right s3:GetBucketVersioning"
        ) from error
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
            if is_version:
                known.versions.append(entry["VersionId"])
                known.size += entry["Size"]
                continue
            known.marks.append(entry["VersionId"])
            if entry["IsLatest"]:
                known.deleted = entry["LastModified"]

    chosen = []
    for known in found.values():
        if known.deleted and (known.deleted < before or known.key in also):
            chosen.append(known)
    return chosen


def _entries(store: Store, prefix: str) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield a pair for each version under a prefix: the version, and whether it has content or marks a deletion."""
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

    If the bucket refuses to remove the content of an object, we keep the deletion mark, so the object stays deleted.

    Raises:
        InputError: The bucket refuses to remove a version, for example because Object Lock protects it. All other
            versions are removed.
    """
    objects = list(objects)
    contents: list[tuple[str, str]] = []
    for one in objects:
        contents += zip(repeat(one.key), one.versions, strict=False)
    refused = _remove(store, contents)

    marks: list[tuple[str, str]] = []
    for one in objects:
        if one.key not in refused:
            marks += zip(repeat(one.key), one.marks, strict=False)
    refused |= _remove(store, marks)

    if refused:
        key, message = next(iter(refused.items()))
        raise InputError(
            f"the bucket {store.bucket} refuses to remove the versions of {len(refused)} of {len(objects)} deleted "
            f"objects, such as {store.uri}/{key}: {message}. If Object Lock protects these versions, run the command "
            "again after the protection ends. Otherwise, give the access key the right s3:DeleteObjectVersion"
        )


def _remove(store: Store, versions: list[tuple[str, str]]) -> dict[str, str]:
    """Remove versions, each given as (key, id). Return the keys of refused versions, each with the server's message."""
    refused = {}
    for start in range(0, len(versions), KEYS_PER_DELETE):
        for error in _errors_of_removal(store, versions[start : start + KEYS_PER_DELETE]):
            key = error.get("Key", "")[len(store.full_key("")) :]
            refused[key] = error.get("Message", "")
    return refused


def _errors_of_removal(store: Store, versions: list[tuple[str, str]]) -> list[dict[str, str]]:
    objects = [{"Key": store.full_key(key), "VersionId": version} for key, version in versions]

    def request(client: Any) -> dict[str, Any]:
        return client.delete_objects(Bucket=store.bucket, Delete={"Objects": objects, "Quiet": True})

    return store.connection.ask(versions[0][0], request).get("Errors", [])
