"""List the objects of a bucket completely and correctly.

SeaweedFS can give a wrong continuation token. Then a listing ends early (seaweedfs#8287, #10652). To notice this, we
request one more page. This page starts after the last key of the listing, so the request needs no token.

A listing has no checksum. If one byte of a key changes on the way, the object seems to be missing, and nobody would
notice. So we list until two listings agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from components.shared.errors import InputError
from components.shared.events import log
from components.shared.services.s3_client import ATTEMPTS, Connection
from components.shared.services.s3_failures import UnsoundAnswerError

FACTS = ("Key", "Size", "LastModified")


@dataclass(frozen=True)
class StoredObject:
    """An object in a listing.

    Attributes:
        key: Key of the object.
        size: Size in bytes.
        tag: Entity tag. It changes if the content changes. It is empty if the server does not give a tag.
        changed: Time when the object was written.
    """

    key: str
    size: int
    tag: str
    changed: datetime


def list_objects(connection: Connection, bucket: str, prefix: str) -> Sequence[StoredObject]:
    """Return the objects whose keys start with `prefix`, in the order of the keys. List until two listings agree.

    If other programs add objects all the time, no two listings are equal. Then the result lacks the newest objects.

    Raises:
        InputError: The listing ends early, although the bucket has more objects. Or the listings contradict each other.
    """
    found = _complete_listing(connection, bucket, prefix)
    for _ in range(ATTEMPTS):
        earlier, found = found, _complete_listing(connection, bucket, prefix)
        if found == earlier:
            break
        lost = sorted(earlier.items() - found.items())
        if lost:
            log.warning("two listings of s3://%s/%s differ in %s; listing again", bucket, prefix, lost[0][0])
    else:
        if lost:
            raise InputError(
                f"{ATTEMPTS + 1} listings of s3://{bucket}/{prefix} contradict each other, the last two about "
                f"{lost[0][0]}; wait until no program changes or deletes these objects, or check the network and the "
                "storage server"
            )
    return [earlier[key] for key in sorted(earlier)]


def _complete_listing(connection: Connection, bucket: str, prefix: str) -> dict[str, StoredObject]:
    following = ""
    for _ in range(ATTEMPTS):
        found = _all_pages(connection, bucket, prefix)
        following = _key_after(connection, bucket, prefix, found)
        if not following:
            return found
        # Another writer may have added the key in the meantime. Then the next listing contains the key.
        log.warning("s3://%s/%s follows the last object of a listing; listing again", bucket, following)
    raise InputError(
        f"the listing of s3://{bucket}/{prefix} is not complete: the server stopped before {following}. The server "
        "gives a wrong continuation token (in SeaweedFS: issues 8287 and 10652); update the server or use another one"
    )


def _all_pages(connection: Connection, bucket: str, prefix: str) -> dict[str, StoredObject]:
    """Return the objects on all pages of a listing: key -> object, in the server's order."""
    found: dict[str, StoredObject] = {}
    position: dict[str, str] = {}
    while True:
        page, token = list_page(connection, bucket, prefix, **position)
        known = len(found)
        found |= {one.key: one for one in page}
        nothing_new = len(found) == known
        if not token or nothing_new:
            return found
        position = {"ContinuationToken": token}


def _key_after(connection: Connection, bucket: str, prefix: str, found: dict[str, StoredObject]) -> str:
    """Return the first key in the bucket after the last key of a listing. Return "" if the listing is complete."""
    if not found:
        return ""
    last = next(reversed(found))
    page, _ = list_page(connection, bucket, prefix, StartAfter=last)
    missed = [one.key for one in page if one.key not in found]
    return missed[0] if missed else ""


def list_page(connection: Connection, bucket: str, prefix: str, **position: str) -> tuple[Sequence[StoredObject], str]:
    """Return one page of a listing, and the token of the next page. On the last page, the token is empty.

    Args:
        connection: The connection to the bucket.
        bucket: Name of the bucket.
        prefix: Only keys that start with this prefix are listed.
        position: Where the page starts: boto3's argument ContinuationToken or StartAfter.
    """

    def request(client: Any) -> tuple[Sequence[StoredObject], str]:
        page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **position)
        found = [_stored_object(entry, prefix) for entry in page.get("Contents", [])]
        if page.get("KeyCount", len(found)) != len(found):
            raise UnsoundAnswerError(f"a listing says that it has {page['KeyCount']} keys, but it has {len(found)}")
        if len({one.key for one in found}) != len(found):
            raise UnsoundAnswerError(f"a listing of {prefix!r} has a key twice")
        return found, page.get("NextContinuationToken", "") if page.get("IsTruncated") else ""

    return connection.ask(prefix, request)


def _stored_object(entry: Mapping[str, Any], prefix: str) -> StoredObject:
    if not set(FACTS) <= set(entry) or not entry["Key"].startswith(prefix):
        raise UnsoundAnswerError(f"a listing of {prefix!r} has the malformed entry {dict(entry)}")
    return StoredObject(entry["Key"], entry["Size"], entry.get("ETag", "").strip('"'), entry["LastModified"])
