"""Objects in S3-compatible storage, by keys relative to one root."""

import os
import random
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from components.shared.errors import InputError
from components.shared.hashing import file_digest
from components.shared.services.s3_client import ATTEMPTS, THREADS, MissingObjectError, connect, explained

PARTS = 2  # of one object at once, in each of the threads
WHOLE = 100 * 2**20  # bytes of an object up to which it goes up in one piece, as AWS advises
DELETE_LIMIT = 1000  # keys in one request, by the S3 protocol


@dataclass(frozen=True)
class StoredObject:
    """What a listing tells of an object.

    Attributes:
        key: Its name.
        size: Bytes.
        tag: Entity tag, which changes with the content; empty where the server gives none.
        changed: When it was written.
    """

    key: str
    size: int
    tag: str
    changed: datetime


class Store:
    """The objects under one root, `s3://BUCKET/PREFIX`; keys are relative to it. Safe to share between threads.

    Every method raises `InputError` when the bucket is missing, the credentials are missing or refused, or the endpoint
    cannot be reached (after retries with backoff). No method creates a bucket.
    """

    def __init__(self, uri: str):
        from boto3.s3.transfer import TransferConfig

        match = re.fullmatch(r"s3://([^/]+)/?(.*?)/?", uri)
        if not match:
            raise InputError(f"store is {uri!r}; it must look like s3://BUCKET/PREFIX")
        self.uri = uri.rstrip("/")
        self.bucket, self._root = match[1], match[2]
        self._client = connect(self.uri, self.bucket)
        self._download = TransferConfig(max_concurrency=PARTS)
        self._upload = TransferConfig(max_concurrency=PARTS, multipart_threshold=WHOLE)

    def get_bytes(self, key: str) -> bytes:
        """Content of an object. Raises `MissingObjectError`."""
        return self._read(key)

    def get_part(self, key: str, offset: int, size: int) -> bytes:
        """`size` bytes (at least one) of an object from `offset` on. Raises `MissingObjectError`."""
        return self._read(key, Range=f"bytes={offset}-{offset + size - 1}")

    def _read(self, key: str, **wanted: str) -> bytes:
        from botocore.exceptions import IncompleteReadError, ResponseStreamingError

        def read() -> bytes:
            return self._client.get_object(Bucket=self.bucket, Key=self._full(key), **wanted)["Body"].read()

        with self._explained(key):
            for attempt in range(ATTEMPTS - 1):  # boto3 asks again until an answer begins, not when it breaks off
                with suppress(IncompleteReadError, ResponseStreamingError):
                    return read()
                time.sleep(random.random() * 2**attempt)  # as boto3 does before it asks again
            return read()

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write an object; it is visible whole or not at all."""
        with self._explained(key):
            self._client.put_object(Bucket=self.bucket, Key=self._full(key), Body=data)

    def get_file(self, key: str, path: str | Path, digest: str | None = None) -> None:
        """Download an object; `path` appears only when it is whole.

        Args:
            key: The object.
            path: File to write; its folder is made.
            digest: The sha256 (64 hex characters) that the content must have, where it is known.

        Raises:
            MissingObjectError: There is no such object.
            InputError: The content does not have the digest.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            with self._explained(key), open(partial, "wb") as file:
                self._client.download_fileobj(self.bucket, self._full(key), file, Config=self._download)
            if digest and (found := file_digest(partial)) != digest:
                raise InputError(
                    f"{self.uri}/{key} is damaged: its sha256 is {found}, not {digest}; delete the object, and do "
                    "again what wrote it"
                )
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def put_file(self, key: str, path: str | Path) -> None:
        """Upload a file; the object is visible whole or not at all."""
        from boto3.s3.transfer import create_transfer_manager

        with self._explained(key), create_transfer_manager(self._client, self._upload) as manager:
            manager.upload(str(path), self.bucket, self._full(key)).result()  # of an open file, parts would fill memory

    def exists(self, key: str) -> bool:
        """Whether an object has exactly this key."""
        return self._size(key) is not None

    def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """Sizes in bytes of those of the objects that exist; asked for in parallel."""
        keys = list(keys)
        with ThreadPoolExecutor(THREADS) as pool:
            return {key: size for key, size in zip(keys, pool.map(self._size, keys), strict=True) if size is not None}

    def _size(self, key: str) -> int | None:
        try:
            with self._explained(key):
                return self._client.head_object(Bucket=self.bucket, Key=self._full(key))["ContentLength"]
        except MissingObjectError:
            return None

    def list(self, prefix: str = "") -> list[tuple[str, int]]:
        """Keys that start with `prefix`, with their sizes in bytes, in the order of the keys."""
        return [(found.key, found.size) for found in self.objects(prefix)]

    def objects(self, prefix: str = "") -> Sequence[StoredObject]:
        """What is stored under keys that start with `prefix`, in the order of the keys."""
        with self._explained(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._full(prefix)
            )
            items = [item for page in pages for item in page.get("Contents", [])]
        start = len(self._full(""))
        found = [StoredObject(i["Key"][start:], i["Size"], i["ETag"].strip('"'), i["LastModified"]) for i in items]
        return sorted(found, key=lambda one: one.key)

    def holds(self, prefix: str = "") -> bool:
        """Whether anything is stored under keys that start with `prefix`."""
        with self._explained(prefix):
            found = self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._full(prefix), MaxKeys=1)
        return bool(found.get("Contents"))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that do not exist are no error."""
        full = [self._full(key) for key in keys]
        for first in range(0, len(full), DELETE_LIMIT):
            objects = [{"Key": key} for key in full[first : first + DELETE_LIMIT]]
            with self._explained(objects[0]["Key"]):
                result = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
            for error in result.get("Errors", []):
                raise InputError(f"cannot delete s3://{self.bucket}/{error['Key']}: {error.get('Message', '')}")

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Upload files by the keys of their objects, in parallel."""
        with ThreadPoolExecutor(THREADS) as pool:
            puts = [pool.submit(self.put_file, key, path) for key, path in files.items()]
        for put in puts:
            put.result()

    def put_folder(self, prefix: str, folder: str | Path, last: str | None = None) -> None:
        """Upload every file of a folder, in parallel.

        Args:
            prefix: Where the folder's files go: `prefix/NAME`.
            folder: Local folder; its subfolders are included.
            last: Name of the file whose presence commits the rest; it is uploaded when all others are there.
        """
        folder = Path(folder)
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        self.put_files({f"{prefix}/{name}": folder / name for name in names if name != last})
        if last is not None:
            self.put_file(f"{prefix}/{last}", folder / last)

    def get_folder(self, prefix: str, folder: str | Path, digests: dict[str, str] | None = None) -> None:
        """Download everything under `prefix/` into a folder, in parallel.

        Args:
            prefix: Where the objects are; raises `MissingObjectError` when nothing is there.
            folder: Local folder; it is made.
            digests: sha256 by name (relative to the prefix); exactly these are then fetched, and verified.
        """
        names = list(digests) if digests else [key[len(prefix) + 1 :] for key, _ in self.list(f"{prefix}/")]
        if not names:
            raise MissingObjectError(f"there is nothing under {self.uri}/{prefix}/")
        known = digests or {}
        with ThreadPoolExecutor(THREADS) as pool:
            gets = [pool.submit(self.get_file, f"{prefix}/{n}", Path(folder) / n, known.get(n)) for n in names]
        for get in gets:
            get.result()

    def _explained(self, key: str) -> AbstractContextManager[None]:
        return explained(self._client, self.uri, key)

    def _full(self, key: str) -> str:
        return f"{self._root}/{key}" if self._root else key
