"""Objects in S3-compatible storage.

Endpoint and credentials come from the standard AWS_* environment and nowhere else. A local run has a storage of its
own, the bucket LOCAL_BUCKET; it hands on the AWS_* environment of its user, for all other buckets, as OUTSIDE_AWS_*.
Checksums are sent only where the protocol requires them: the trailers that boto3 adds by default corrupt contents on
some S3-compatible servers.
"""

import hashlib
import os
import random
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from components.shared.runtime import InputError

THREADS = 8
PARTS = 2  # of one object at once, in each of the threads
ATTEMPTS = 4
DELETE_LIMIT = 1000  # keys in one request, by the S3 protocol
OUTSIDE = "OUTSIDE_"
KEYS = {
    "aws_access_key_id": "AWS_ACCESS_KEY_ID",
    "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
}


class MissingObjectError(InputError):
    """No object has this key."""


@dataclass(frozen=True)
class StoredObject:
    """What a listing tells of an object: key, size in bytes, entity tag (changes with the content), last change."""

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
        self._client = _client(self.uri, self.bucket)
        self._transfer = TransferConfig(max_concurrency=PARTS)

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
                self._client.download_fileobj(self.bucket, self._full(key), file, Config=self._transfer)
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

        with self._explained(key), create_transfer_manager(self._client, self._transfer) as manager:
            manager.upload(str(path), self.bucket, self._full(key)).result()  # of an open file, parts would fill memory

    def exists(self, key: str) -> bool:
        """Whether an object has exactly this key."""
        try:
            with self._explained(key):
                self._client.head_object(Bucket=self.bucket, Key=self._full(key))
        except MissingObjectError:
            return False
        return True

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

    def put_folder(self, prefix: str, folder: str | Path, last: str | None = None) -> None:
        """Upload every file of a folder, in parallel.

        Args:
            prefix: Where the folder's files go: `prefix/NAME`.
            folder: Local folder; its subfolders are included.
            last: Name of the file whose presence commits the rest; it is uploaded when all others are there.
        """
        folder = Path(folder)
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        with ThreadPoolExecutor(THREADS) as pool:
            puts = [pool.submit(self.put_file, f"{prefix}/{n}", folder / n) for n in names if n != last]
        for put in puts:
            put.result()
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

    def _full(self, key: str) -> str:
        return f"{self._root}/{key}" if self._root else key

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Turn the errors that a user can mend into `InputError`."""
        from botocore import exceptions
        from s3transfer.exceptions import RetriesExceededError

        endpoint = self._client.meta.endpoint_url
        try:
            yield
        except exceptions.ClientError as error:
            raise self._explain(error, key) from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as error:
            raise InputError(
                f"no credentials for the store {self.uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        except (RetriesExceededError, exceptions.IncompleteReadError, exceptions.ResponseStreamingError) as error:
            raise InputError(
                f"the connection to {endpoint} was cut again and again while {self.uri}/{key} was fetched: "
                f"{getattr(error, 'last_exception', error)}; look at the network and the storage server"
            ) from error
        except (exceptions.HTTPClientError, exceptions.ConnectionError) as error:
            raise InputError(
                f"cannot reach the storage endpoint {endpoint} (AWS_ENDPOINT_URL_S3): {error}; is it up, and is the "
                "address right?"
            ) from error

    def _explain(self, error: Any, key: str) -> Exception:
        code, endpoint = str(error.response.get("Error", {}).get("Code", "")), self._client.meta.endpoint_url
        if code in ("404", "NoSuchKey", "NotFound") and self._has_bucket():
            return MissingObjectError(f"there is no object {self.uri}/{key}")
        if code in ("404", "NoSuchBucket", "NotFound"):
            return InputError(
                f"the bucket {self.bucket!r} of {self.uri} does not exist at {endpoint}; create it, or correct its name"
            )
        if code in ("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
            return InputError(
                f"{endpoint} refuses access to {self.uri}/{key} ({code}): check AWS_ACCESS_KEY_ID, "
                "AWS_SECRET_ACCESS_KEY and the rights of that key"
            )
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
            return InputError(
                f"the storage server {endpoint} fails at {error.operation_name} of {self.uri}/{key}, also when asked "
                f"again: {error.response['Error'].get('Message') or code}; is its disk full? Look at its log"
            )
        return error

    def _has_bucket(self) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._client.head_bucket(Bucket=self.bucket)
        except ClientError:
            return False
        return True


def file_digest(path: str | Path) -> str:
    """sha256 of a file's content, as 64 hex characters."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _settings(bucket: str) -> Mapping[str, str]:
    """The AWS_* environment that a bucket is reached with."""
    if os.environ.get("LOCAL_BUCKET", bucket) == bucket:
        return os.environ
    names = [name for name in os.environ if name.startswith(OUTSIDE)]
    return {name.removeprefix(OUTSIDE): os.environ[name] for name in names}


def _client(uri: str, bucket: str) -> Any:
    import boto3
    import botocore.session
    from botocore.config import Config

    settings = _settings(bucket)
    endpoint = settings.get("AWS_ENDPOINT_URL_S3") or settings.get("AWS_ENDPOINT_URL")
    region = settings.get("AWS_REGION") or settings.get("AWS_DEFAULT_REGION")
    if not endpoint and not region:
        raise InputError(f"no storage endpoint for {uri}: set AWS_ENDPOINT_URL_S3 (for AWS itself, AWS_REGION)")
    keys: dict[str, str | None] = {}
    if settings is not os.environ:  # what boto3 is not told, it would take from the local run's own environment
        keys = {argument: settings.get(name) for argument, name in KEYS.items()}
        endpoint = endpoint or f"https://s3.{region}.amazonaws.com"
        if not keys["aws_access_key_id"] or not keys["aws_secret_access_key"]:
            raise InputError(f"no credentials for {uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=2 * THREADS,
    )
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    return boto3.session.Session(botocore_session=session).client(
        "s3",
        region_name=region or "us-east-1",
        endpoint_url=endpoint,
        verify=settings.get("AWS_CA_BUNDLE"),
        config=config,
        **keys,
    )


@cache
def _loader() -> Any:
    """What botocore knows of its services, read once in a process: it is much."""
    from botocore.loaders import create_loader

    return create_loader()
