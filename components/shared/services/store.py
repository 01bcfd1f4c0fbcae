"""Read and write objects in S3-compatible storage, by keys relative to one root.

A server can confirm a write and then lose the object, or return other bytes than we wrote. So we check its answers:

- After a write, we read the object back. For a large object, we compare only the size.
- If the caller gives a digest, every read is compared with this digest, and a wrong read is repeated.
- A server may end a listing too early. So we ask for keys after the last listed key. If there are such keys, we list
  again. We also list until two listings agree.
"""

import os
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from components.shared.errors import InputError
from components.shared.events import log
from components.shared.hashing import bytes_digest, file_digest
from components.shared.services.listing import StoredObject, list_objects, list_page
from components.shared.services.s3_client import ATTEMPTS, THREADS, Connection
from components.shared.services.s3_failures import DamagedObjectError, MissingObjectError

# Each of the THREADS threads transfers this many parts of an object at the same time.
PARTS_AT_ONCE = 2
# AWS recommends that larger objects are uploaded in parts.
LARGEST_SINGLE_UPLOAD_BYTES = 100 * 2**20
# Larger files are not read back, because this would double the traffic. The server checks the MD5 of all data that it
# receives.
LARGEST_READ_BACK_BYTES = 8 * 2**20
WHOLE_DOWNLOAD_BUFFER_BYTES = 2**20
# The S3 protocol allows at most this many keys in one request.
KEYS_PER_DELETE = 1000
RESTORE = "restore it from a backup of the store, and do not delete it, because other data sets and runs may need it"

Content = TypeVar("Content", bytes, Path)


class Store:
    """The objects under one root, `s3://BUCKET/PREFIX`. Keys are relative to this root. Threads can share a store.

    Every method raises `InputError` if the bucket does not exist, or if the credentials are missing or refused. It also
    raises `InputError` if the endpoint cannot be reached after several attempts. No method creates a bucket.
    """

    def __init__(self, uri: str):
        match = re.fullmatch(r"s3://(?P<bucket>[^/]+)/?(?P<root>.*?)/?", uri)
        if not match:
            raise InputError(f"store is {uri!r}; write it as s3://BUCKET/PREFIX")

        self.uri = uri.rstrip("/")
        self.bucket = match["bucket"]
        self.connection = Connection(self.uri, self.bucket)
        self._root = match["root"]

    def get_bytes(self, key: str, digest: str | None = None) -> bytes:
        """Return the content of an object.

        Args:
            key: Key of the object.
            digest: The sha256 (64 hex characters) that the content must have. If it is None, nothing is checked.

        Raises:
            MissingObjectError: The object does not exist.
            DamagedObjectError: No read returned content with the right digest.
        """
        return self._until_correct(key, digest, lambda: self.get_answer(key)[0], bytes_digest)

    def get_part(self, key: str, offset: int, size: int, digest: str | None = None) -> bytes:
        """Return `size` bytes of an object, beginning at `offset`. `size` is at least 1. See also `get_bytes`.

        Raises:
            MissingObjectError: The object does not exist.
            DamagedObjectError: No read returned bytes with the sha256 `digest`, or the object is too short.
        """

        def read() -> bytes:
            return self.get_answer(key, Range=f"bytes={offset}-{offset + size - 1}")[0]

        data = self._until_correct(key, digest, read, bytes_digest)
        if len(data) != size:
            raise DamagedObjectError(f"{self.uri}/{key} ends before byte {offset + size}; {RESTORE}")
        return data

    def get_answer(self, key: str, **options: str) -> tuple[bytes, Mapping[str, Any]]:
        """Return the content of an object, and all fields of the server's response. The content is not checked.

        Args:
            key: Key of the object.
            options: Further arguments of boto3's get_object.
        """

        def read(client: Any) -> tuple[bytes, Mapping[str, Any]]:
            answer = client.get_object(Bucket=self.bucket, Key=self.full_key(key), **options)
            return answer["Body"].read(), answer

        return self.connection.ask(key, read)

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write an object, and read it back. Readers never see a part of the object."""
        digest = bytes_digest(data)

        def put(client: Any) -> None:
            client.put_object(Bucket=self.bucket, Key=self.full_key(key), Body=data)

        self._write(key, put, lambda: self._has(key, digest))

    def get_file(self, key: str, path: str | Path, digest: str | None = None) -> None:
        """Download an object to a file. The file appears only when it is complete.

        Args:
            key: Key of the object.
            path: File to write; its folder is created.
            digest: The sha256 (64 hex characters) that the content must have. If it is None, nothing is checked.

        Raises:
            MissingObjectError: The object does not exist.
            DamagedObjectError: No read returned content with the right digest.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")

        def download() -> Path:
            with open(partial, "wb") as file:
                self.connection.ask(key, lambda client: self._download_into(client, key, file))
            return partial

        try:
            self._until_correct(key, digest, download, file_digest)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _until_correct(
        self, key: str, digest: str | None, read: Callable[[], Content], digest_of: Callable[[Content], str]
    ) -> Content:
        """Read until the content has the digest. Without a digest, return the content of the first read."""
        found = ""
        for _ in range(ATTEMPTS):
            content = read()
            if digest is None:
                return content
            found = digest_of(content)
            if found == digest:
                return content
            log.warning("%s/%s was read with the sha256 %s, not %s; reading it again", self.uri, key, found, digest)
        raise DamagedObjectError(f"{self.uri}/{key} is damaged: its sha256 is {found}, not {digest}; {RESTORE}")

    def _download_into(self, client: Any, key: str, file: BinaryIO) -> None:
        """Fetch an object in parallel parts. If the server refuses this, fetch the whole object in one request."""
        from boto3.s3.transfer import TransferConfig
        from s3transfer.exceptions import S3DownloadFailedError

        file.seek(0)
        file.truncate()
        try:
            config = TransferConfig(max_concurrency=PARTS_AT_ONCE)
            client.download_fileobj(self.bucket, self.full_key(key), file, Config=config)
        except S3DownloadFailedError:
            # boto3 requests every part with If-Match, so that all parts belong to the same version of the object.
            # SeaweedFS 3.97 refuses If-Match for some objects (seaweedfs#7274). A single request for the whole object
            # needs no If-Match.
            file.seek(0)
            file.truncate()
            answer = client.get_object(Bucket=self.bucket, Key=self.full_key(key))
            shutil.copyfileobj(answer["Body"], file, WHOLE_DOWNLOAD_BUFFER_BYTES)

    def put_file(self, key: str, path: str | Path, part_bytes: int | None = None) -> None:
        """Upload a file, and check that the store has it. Readers never see a part of the object.

        Args:
            key: Key of the object.
            path: The file.
            part_bytes: Size of the parts in which the file is uploaded. If it is None, only files over 100 MiB are
                uploaded in parts.
        """
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        size = Path(path).stat().st_size
        config = TransferConfig(max_concurrency=PARTS_AT_ONCE, multipart_threshold=LARGEST_SINGLE_UPLOAD_BYTES)
        if part_bytes:
            config = TransferConfig(
                max_concurrency=PARTS_AT_ONCE, multipart_threshold=part_bytes, multipart_chunksize=part_bytes
            )

        def upload(client: Any) -> None:
            with create_transfer_manager(client, config) as manager:
                # We pass the path and not an open file, because boto3 would read the parts of an open file into memory.
                manager.upload(str(path), self.bucket, self.full_key(key)).result()

        def is_there() -> bool:
            return self._size(key) == size if size > LARGEST_READ_BACK_BYTES else self._has(key, file_digest(path))

        self._write(key, upload, is_there)

    def _write(self, key: str, request: Callable[[Any], None], is_there: Callable[[], bool]) -> None:
        """Repeat a write until `is_there` finds that the store has the object."""
        for _ in range(ATTEMPTS):
            self.connection.ask(key, request)
            if is_there():
                return
            log.warning("%s/%s is not in the store as it was written; writing it again", self.uri, key)
            # If two writers replace each other's object, a random pause lets one of them go first.
            time.sleep(random.random())
        raise InputError(
            f"the store confirmed {ATTEMPTS} times that {self.uri}/{key} is written, but it does not have the content "
            "that we sent; check the storage server, its disks, and any proxy between the server and this machine"
        )

    def _has(self, key: str, digest: str) -> bool:
        """Return whether the object can be read back and its content has the sha256 `digest`."""
        try:
            self.get_bytes(key, digest)
        except (MissingObjectError, DamagedObjectError):
            return False
        return True

    def exists(self, key: str) -> bool:
        """Return whether an object has exactly this key."""
        return self._size(key) is not None

    def sizes(self, keys: Iterable[str]) -> dict[str, int]:
        """Return a dict of the objects that exist: key -> size in bytes. The requests run in parallel."""
        keys = list(keys)
        sizes = self._in_parallel(self._size, [(key,) for key in keys])

        found = {}
        for key, size in zip(keys, sizes, strict=True):
            if size is not None:
                found[key] = size
        return found

    def _size(self, key: str) -> int | None:
        try:
            answer = self.connection.ask(
                key, lambda client: client.head_object(Bucket=self.bucket, Key=self.full_key(key))
            )
        except MissingObjectError:
            return None
        return answer["ContentLength"]

    def list(self, prefix: str = "") -> list[tuple[str, int]]:
        """Return the keys that start with `prefix`, each with its size in bytes, in the order of the keys."""
        return [(found.key, found.size) for found in self.objects(prefix)]

    def objects(self, prefix: str = "") -> Sequence[StoredObject]:
        """Return the objects whose keys start with `prefix`, in the order of the keys."""
        root_length = len(self.full_key(""))
        found = []
        for one in list_objects(self.connection, self.bucket, self.full_key(prefix)):
            found.append(replace(one, key=one.key[root_length:]))
        return found

    def holds(self, prefix: str = "") -> bool:
        """Return whether at least one key starts with `prefix`."""
        page, _ = list_page(self.connection, self.bucket, self.full_key(prefix))
        return bool(page)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, and check that they are gone. A key without an object is not an error."""
        remaining = list(keys)
        for _ in range(ATTEMPTS):
            for start in range(0, len(remaining), KEYS_PER_DELETE):
                self._delete(remaining[start : start + KEYS_PER_DELETE])
            remaining = sorted(self.sizes(remaining))
            if not remaining:
                return
            log.warning("%s/%s was deleted and is still there; deleting it again", self.uri, remaining[0])
        raise InputError(
            f"the store confirmed {ATTEMPTS} times that {self.uri}/{remaining[0]} is deleted, but the object is still "
            "there; check the storage server"
        )

    def _delete(self, keys: Sequence[str]) -> None:
        objects = [{"Key": self.full_key(key)} for key in keys]
        result = self.connection.ask(
            keys[0],
            lambda client: client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True}),
        )
        for error in result.get("Errors", []):
            raise InputError(
                f"s3://{self.bucket}/{error.get('Key', '')} cannot be deleted: {error.get('Message', '')}; check the "
                "rights of the access key"
            )

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Upload files in parallel. `files` maps the key of each object to the path of its file."""
        self._in_parallel(self.put_file, files.items())

    def put_folder(self, prefix: str, folder: str | Path) -> None:
        """Upload every file of a folder, also in its subfolders, in parallel. The objects' keys are `prefix/NAME`."""
        folder = Path(folder)
        files = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                files[f"{prefix}/{path.relative_to(folder).as_posix()}"] = path
        self.put_files(files)

    def get_folder(self, prefix: str, folder: str | Path, digests: Mapping[str, str]) -> None:
        """Download objects into a folder, in parallel.

        Args:
            prefix: Prefix of the objects' keys.
            folder: Local folder. It is created if it does not exist.
            digests: A dict: name of an object, relative to the prefix -> sha256 of the content.

        Raises:
            MissingObjectError: One of the objects does not exist.
            DamagedObjectError: No read of an object returned content with the sha256 in `digests`.
        """
        calls = []
        for name, digest in digests.items():
            calls.append((f"{prefix}/{name}", Path(folder) / name, digest))
        self._in_parallel(self.get_file, calls)

    def _in_parallel(self, request: Callable[..., Any], calls: Iterable[tuple]) -> Sequence[Any]:
        """Call a method once for each tuple of arguments. Return the results in order, or raise the first error."""
        with ThreadPoolExecutor(THREADS) as pool:
            pending = [pool.submit(request, *arguments) for arguments in calls]
        return [done.result() for done in pending]

    def full_key(self, key: str) -> str:
        """Return the complete key in the bucket: the root and the key."""
        return f"{self._root}/{key}" if self._root else key
