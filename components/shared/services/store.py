"""Read and write objects in S3-compatible storage, by keys relative to one root."""

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from components.shared.errors import InputError
from components.shared.events import log
from components.shared.hashing import file_digest
from components.shared.services.s3_client import (
    ATTEMPTS,
    THREADS,
    DamagedObjectError,
    MissingObjectError,
    connect,
    explained,
)

# Each of the THREADS transfers this many parts of an object at the same time.
PARTS_AT_ONCE = 2
# AWS recommends that larger objects are uploaded in parts.
LARGEST_SINGLE_UPLOAD_BYTES = 100 * 2**20
WHOLE_DOWNLOAD_BUFFER_BYTES = 2**20
# The S3 protocol's limit.
KEYS_PER_DELETE = 1000


@dataclass(frozen=True)
class StoredObject:
    """An object in a listing.

    Attributes:
        key: Key of the object, relative to the root.
        size: Size in bytes.
        tag: Entity tag. It changes with the content. It is empty if the server gives none.
        changed: Time when the object was written.
    """

    key: str
    size: int
    tag: str
    changed: datetime


class Store:
    """The objects under one root, `s3://BUCKET/PREFIX`. Keys are relative to this root. Threads can share a store.

    Every method raises `InputError` if the bucket does not exist, or if the credentials are missing or refused. It also
    raises `InputError` if the endpoint cannot be reached after several attempts. No method creates a bucket.
    """

    def __init__(self, uri: str):
        from boto3.s3.transfer import TransferConfig

        match = re.fullmatch(r"s3://(?P<bucket>[^/]+)/?(?P<root>.*?)/?", uri)
        if not match:
            raise InputError(f"store is {uri!r}; write it as s3://BUCKET/PREFIX")

        self.uri = uri.rstrip("/")
        self.bucket = match["bucket"]
        self._root = match["root"]
        self._client = connect(self.uri, self.bucket)
        self._download_config = TransferConfig(max_concurrency=PARTS_AT_ONCE)
        self._upload_config = TransferConfig(
            max_concurrency=PARTS_AT_ONCE, multipart_threshold=LARGEST_SINGLE_UPLOAD_BYTES
        )

    def get_bytes(self, key: str) -> bytes:
        """Return the content of an object. Raises `MissingObjectError`."""
        return self._read(key)

    def get_part(self, key: str, offset: int, size: int) -> bytes:
        """Return `size` bytes (at least one) of an object, beginning at `offset`. Raises `MissingObjectError`."""
        return self._read(key, Range=f"bytes={offset}-{offset + size - 1}")

    def _read(self, key: str, **options: str) -> bytes:
        def read() -> bytes:
            answer = self._client.get_object(Bucket=self.bucket, Key=self._full(key), **options)
            return answer["Body"].read()

        with self._explained(key):
            return _retry_if_cut()(read)

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write an object. Readers see either the complete object or nothing."""
        with self._explained(key):
            self._client.put_object(Bucket=self.bucket, Key=self._full(key), Body=data)

    def get_file(self, key: str, path: str | Path, digest: str | None = None) -> None:
        """Download an object to a file. The file appears only when it is complete.

        Args:
            key: The object.
            path: File to write; its folder is created.
            digest: The sha256 (64 hex characters) that the content must have, if it is known.

        Raises:
            MissingObjectError: The object does not exist.
            DamagedObjectError: The content had another digest in two reads.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")

        try:
            found = self._download_to(key, partial, digest)
            if found != digest:
                log.warning("%s/%s was read with the sha256 %s, not %s; reading it again", self.uri, key, found, digest)
                found = self._download_to(key, partial, digest)
            if found != digest:
                raise DamagedObjectError(
                    f"{self.uri}/{key} is damaged: its sha256 is {found}, not {digest}; restore it from a backup of "
                    "the store, and do not delete it, because other data sets and runs may need it"
                )
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _download_to(self, key: str, path: Path, digest: str | None) -> str | None:
        """Download an object; return its sha256 if a digest is expected, else None."""
        with self._explained(key), open(path, "wb") as file:
            self._download_into(key, file)
        return file_digest(path) if digest else None

    def _download_into(self, key: str, file: BinaryIO) -> None:
        """Fetch the parts of an object in parallel, or all of it at once from a server that allows no parts."""
        from s3transfer.exceptions import S3DownloadFailedError

        def download_whole() -> None:
            file.seek(0)
            file.truncate()
            answer = self._client.get_object(Bucket=self.bucket, Key=self._full(key))
            shutil.copyfileobj(answer["Body"], file, WHOLE_DOWNLOAD_BUFFER_BYTES)

        try:
            self._client.download_fileobj(self.bucket, self._full(key), file, Config=self._download_config)
        except S3DownloadFailedError:
            # boto3 asks for every part with If-Match, so that all parts are of one version of the object. SeaweedFS
            # 3.97 refuses If-Match for some objects (seaweedfs#7274). One request for the whole object needs no
            # If-Match, because one answer is always of one version.
            _retry_if_cut()(download_whole)

    def put_file(self, key: str, path: str | Path, part_bytes: int | None = None) -> None:
        """Upload a file. Readers see all of the object or nothing.

        Args:
            key: The object.
            path: The file.
            part_bytes: Upload it in parts of this size. None uploads only files over 100 MiB in parts.
        """
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        config = self._upload_config
        if part_bytes:
            config = TransferConfig(
                max_concurrency=PARTS_AT_ONCE, multipart_threshold=part_bytes, multipart_chunksize=part_bytes
            )

        with self._explained(key), create_transfer_manager(self._client, config) as manager:
            # By its path, not as an open file: boto3 would read the parts of an open file into memory.
            manager.upload(str(path), self.bucket, self._full(key)).result()

    def exists(self, key: str) -> bool:
        """Return whether an object has exactly this key."""
        return self._size(key) is not None

    def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the sizes in bytes, by key, of the objects that exist. The requests run in parallel."""
        keys = list(keys)
        sizes = self._in_parallel(self._size, [(key,) for key in keys])

        found = {}
        for key, size in zip(keys, sizes, strict=True):
            if size is not None:
                found[key] = size
        return found

    def _size(self, key: str) -> int | None:
        try:
            with self._explained(key):
                return self._client.head_object(Bucket=self.bucket, Key=self._full(key))["ContentLength"]
        except MissingObjectError:
            return None

    def list(self, prefix: str = "") -> list[tuple[str, int]]:
        """Return the keys that start with `prefix`, each with its size in bytes, in the order of the keys."""
        return [(found.key, found.size) for found in self.objects(prefix)]

    def objects(self, prefix: str = "") -> Sequence[StoredObject]:
        """Return the objects whose keys start with `prefix`, in the order of the keys."""
        root_length = len(self._full(""))
        found = []
        with self._explained(prefix):
            paginator = self._client.get_paginator("list_objects_v2")
            for page in paginator.paginate(Bucket=self.bucket, Prefix=self._full(prefix)):
                for item in page.get("Contents", []):
                    key = item["Key"][root_length:]
                    tag = item["ETag"].strip('"')
                    found.append(StoredObject(key, item["Size"], tag, item["LastModified"]))
        return sorted(found, key=lambda stored: stored.key)

    def holds(self, prefix: str = "") -> bool:
        """Return whether at least one key starts with `prefix`."""
        with self._explained(prefix):
            found = self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._full(prefix), MaxKeys=1)
        return bool(found.get("Contents"))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects. A key without an object is not an error."""
        full_keys = list(map(self._full, keys))
        for start in range(0, len(full_keys), KEYS_PER_DELETE):
            objects = [{"Key": key} for key in full_keys[start : start + KEYS_PER_DELETE]]
            with self._explained(objects[0]["Key"]):
                result = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})

            for error in result.get("Errors", []):
                cause = error.get("Message", "")
                raise InputError(
                    f"s3://{self.bucket}/{error['Key']} cannot be deleted: {cause}; check the rights of the access key"
                )

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Upload files in parallel. `files` maps the key of each object to the path of its file."""
        self._in_parallel(self.put_file, files.items())

    def put_folder(self, prefix: str, folder: str | Path, last: str | None = None) -> None:
        """Upload every file of a folder, in parallel.

        Args:
            prefix: Prefix of the objects' keys: `prefix/NAME`.
            folder: Local folder; its subfolders are included.
            last: Name of the file that commits all other files. It is uploaded last.
        """
        folder = Path(folder)
        files = {}
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name != last:
                files[f"{prefix}/{name}"] = path

        self.put_files(files)
        if last is not None:
            self.put_file(f"{prefix}/{last}", folder / last)

    def get_folder(self, prefix: str, folder: str | Path, digests: dict[str, str] | None = None) -> None:
        """Download everything under `prefix/` into a folder, in parallel.

        Args:
            prefix: Prefix of the objects' keys.
            folder: Local folder; it is created.
            digests: sha256 by name (relative to the prefix). If given, exactly these objects are fetched and verified.

        Raises:
            MissingObjectError: There is nothing under the prefix.
        """
        wanted: dict[str, str | None] = dict(digests or {})
        if not wanted:
            for key, _ in self.list(f"{prefix}/"):
                wanted[key.removeprefix(f"{prefix}/")] = None
        if not wanted:
            raise MissingObjectError(f"there is nothing under {self.uri}/{prefix}/")

        calls = []
        for name, digest in wanted.items():
            calls.append((f"{prefix}/{name}", Path(folder) / name, digest))
        self._in_parallel(self.get_file, calls)

    def _in_parallel(self, request: Callable[..., Any], calls: Iterable[tuple]) -> Sequence[Any]:
        """Call a method once for each tuple of arguments. Return the results in order, or raise the first error."""
        with ThreadPoolExecutor(THREADS) as pool:
            pending = [pool.submit(request, *arguments) for arguments in calls]
        return [done.result() for done in pending]

    def _explained(self, key: str) -> AbstractContextManager[None]:
        return explained(self._client, self.uri, key)

    def _full(self, key: str) -> str:
        return f"{self._root}/{key}" if self._root else key


@cache
def _retry_if_cut() -> Any:
    """Return a retry rule: it repeats a read if the connection is lost after the answer began, with pauses as in boto3.

    boto3 itself retries only until the answer begins.
    """
    from botocore.exceptions import IncompleteReadError, ResponseStreamingError
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    return Retrying(
        retry=retry_if_exception_type((IncompleteReadError, ResponseStreamingError)),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(),
        reraise=True,
    )
