"""Read objects that other programs uploaded. We do not have a digest of these objects.

So we compare the content with the entity tag of the object, which is usually the MD5 of the content. The entity tag is
not the MD5 if the object was uploaded in parts, or is encrypted with a key of its own. In this case, we read the object
until two reads return the same content.
"""

import hashlib
import re
import threading
from collections.abc import Mapping
from typing import Any

from components.shared.events import log, warn
from components.shared.services.s3_client import ATTEMPTS
from components.shared.services.store import DamagedObjectError, Store, StoredObject

MD5 = re.compile("[0-9a-f]{32}")
# If an answer has one of these fields, the object is encrypted with a key of its own, and its entity tag is not the
# MD5.
OWN_KEYS = ("SSECustomerAlgorithm", "SSEKMSKeyId")


class ForeignObjects:
    """A reader of objects under one root that other programs uploaded. Threads can share the reader."""

    def __init__(self, store: Store):
        self._store = store
        self._lock = threading.Lock()
        self._confirmed = 0
        self._without_md5: list[str] = []
        self._contradicted: list[str] = []
        self._said = 0

    def read(self, one: StoredObject) -> bytes:
        """Return the content of an object that was listed.

        Raises:
            MissingObjectError: The object does not exist any more.
            DamagedObjectError: Each read returned different content, or the size differs from the listing.
        """
        last = None
        for _ in range(ATTEMPTS):
            data, answer = self._store.get_answer(one.key)
            if len(data) != one.size:
                log.warning("%s/%s has %d bytes, not %d", self._store.uri, one.key, len(data), one.size)
                continue

            expected = _md5(answer, one)
            if hashlib.md5(data, usedforsecurity=False).hexdigest() == expected:
                with self._lock:
                    self._confirmed += 1
                return data
            if data == last:
                with self._lock:
                    (self._contradicted if expected else self._without_md5).append(one.key)
                return data
            last = data
        raise DamagedObjectError(
            f"{self._store.uri}/{one.key} was read {ATTEMPTS} times. Either each read returned different "
            f"content, or the size was not {one.size} bytes, as the listing says. Check that no program changes the "
            "object, and check the network and the storage server"
        )

    def check(self) -> None:
        """Warn of objects that could not be compared with a checksum.

        Raises:
            DamagedObjectError: The MD5 of an object differs from its entity tag, although this server uses the MD5 as
                entity tag for other objects.
        """
        with self._lock:
            contradicted, without_md5 = sorted(self._contradicted), sorted(self._without_md5)
            confirmed = self._confirmed
        if contradicted and confirmed:
            others = "1 other object" if confirmed == 1 else f"{confirmed:,} other objects"
            raise DamagedObjectError(
                f"{self._store.uri}/{contradicted[0]} was read twice, and both times its MD5 differed from its entity "
                f"tag. For {others}, MD5 and entity tag are equal, so the store has damaged this "
                "object; upload it again, or remove it"
            )

        unchecked = [*contradicted, *without_md5]
        if len(unchecked) > self._said:
            self._said = len(unchecked)
            warn(
                f"{len(unchecked)} of {len(unchecked) + confirmed} objects of {self._store.uri} have no checksum that "
                f"can be compared, so each was read twice; the first is {unchecked[0]}"
            )


def _md5(answer: Mapping[str, Any], one: StoredObject) -> str:
    """Return the MD5 that the server gives for an object. Return "" if the server does not give an MD5."""
    tag = str(answer.get("ETag", "")).strip('"') or one.tag
    has_own_key = any(answer.get(name) for name in OWN_KEYS)
    return "" if has_own_key or not MD5.fullmatch(tag) else tag


def read_agreed(store: Store, key: str) -> bytes:
    """Return the content of a small object as soon as two reads return the same content.

    Raises:
        MissingObjectError: The object does not exist.
        DamagedObjectError: Each read returned different content.
    """
    last = store.get_bytes(key)
    for _ in range(ATTEMPTS):
        data = store.get_bytes(key)
        if data == last:
            return data
        last = data
    raise DamagedObjectError(f"{store.uri}/{key} is different in every read; check the network and the storage server")
