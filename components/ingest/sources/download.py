"""Download images to this machine: an archive from the web, or the objects under an S3 prefix."""

import errno
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from components.shared.errors import InputError
from components.shared.events import log, progress
from components.shared.services.foreign import ForeignObjects
from components.shared.services.store import THREADS, Store, StoredObject

ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.5  # doubled before each further attempt
SECONDS_WITHOUT_A_BYTE = 60
CHUNK_BYTES = 2**20
OBJECTS_PER_MESSAGE = 100
TEMPORARY_CLIENT_ERRORS = (408, 425, 429)  # HTTP status codes; another attempt can succeed
NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


def download(address: str, path: Path, sha256: str) -> None:
    """Download one file over HTTP and verify its sha256. Try failed connections again, with growing pauses.

    Raises:
        InputError: The server refuses the request, all `ATTEMPTS` attempts fail, or the file has another sha256.
    """

    def warn(state: RetryCallState) -> None:
        cause = state.outcome.exception() if state.outcome else None
        log.warning("%s: %s; trying again", address, cause)

    attempts = Retrying(
        retry=retry_if_exception(_may_go_away),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(FIRST_PAUSE_SECONDS),
        before_sleep=warn,
        reraise=True,
    )
    try:
        found = attempts(_fetch, address, path)
    except NETWORK_ERRORS as error:
        if isinstance(error, urllib.error.HTTPError) and not _may_go_away(error):
            raise InputError(f"{address}: the server answers {error.code} {error.reason}; check the address") from error
        raise InputError(
            f"{address} could not be downloaded in {ATTEMPTS} attempts: {error}; check the network and the server"
        ) from error
    if found != sha256:
        raise InputError(
            f"{address} has the sha256 {found}, not {sha256}; either the archive or the checksum is wrong, so correct "
            "the address or the checksum"
        )


def _may_go_away(error: BaseException) -> bool:
    """Return true if another attempt can succeed after this error."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in TEMPORARY_CLIENT_ERRORS
    return isinstance(error, NETWORK_ERRORS)


def _fetch(address: str, path: Path) -> str:
    """Download a file and return its sha256."""
    digest = hashlib.sha256()
    done = 0
    with urllib.request.urlopen(address, timeout=SECONDS_WITHOUT_A_BYTE) as response, open(path, "wb") as file:
        length = int(response.headers.get("Content-Length") or 0)
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(done, max(length, done), "downloading")
    if done < length:
        raise ConnectionError(f"the connection was cut after {done} of {length} bytes")
    return digest.hexdigest()


class Objects:
    """A local folder with one file for each object under `s3://BUCKET/PREFIX/`.

    A file is empty until `bring` downloads its object.
    """

    def __init__(self, uri: str, folder: Path):
        """List the objects and create the folder.

        Raises:
            InputError: There are no objects, a key cannot be the name of a file, or the storage cannot be used.
        """
        self._store = Store(uri)
        self._folder = folder
        found = [one for one in self._store.objects() if not one.key.endswith("/")]
        if not found:
            raise InputError(f"there is no object under {self._store.uri}/; check the bucket and the prefix")

        for one in found:
            self._check_key(one.key)
        self._make_empty_files(found)

        self._found = {f"{folder}/{one.key}": one for one in found}
        self._reader = ForeignObjects(self._store)

    def _check_key(self, key: str) -> None:
        path = PurePosixPath(key)
        name = f"the object {self._store.uri}/{key}"
        if key.startswith("/") or ".." in path.parts or "\0" in key:
            raise InputError(f"{name} is refused: its key leads out of the prefix; rename the object")
        if str(path) != key:
            raise InputError(f"{name} is refused: its key cannot be the name of a file; rename the object")

    def _make_empty_files(self, objects: Sequence[StoredObject]) -> None:
        paths = [self._folder / one.key for one in objects]
        parents = {path.parent for path in paths}
        try:
            for parent in parents:
                parent.mkdir(parents=True, exist_ok=True)
            for path in paths:
                path.touch(exist_ok=False)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise InputError(
                f"the objects of {self._store.uri} cannot all be stored as files on this machine: {error}; rename one "
                "of these objects"
            ) from error

    def tag(self, path: str) -> str:
        """Return a text that changes if the object of a local file changes.

        The text has the object's size and its entity tag (ETag). If the object has no ETag, the time of its last change
        is used instead.
        """
        one = self._found[path]
        return f"{one.size}-{one.tag or one.changed.timestamp()}"

    def bring(self, paths: Iterable[str]) -> None:
        """Download the objects of these files in parallel. Files that were downloaded before are skipped.

        Raises:
            DamagedObjectError: The bytes of an object differ from those that were uploaded (see `ForeignObjects`).
        """
        wanted = sorted({path for path in paths if os.path.getsize(path) == 0})
        with ThreadPoolExecutor(THREADS) as pool:
            downloads = [pool.submit(self._fetch, path) for path in wanted]
            try:
                for number, each in enumerate(downloads):
                    each.result()
                    if number % OBJECTS_PER_MESSAGE == 0:
                        progress(number, len(downloads), "downloading")
            except BaseException:
                # The ingestion has failed, so do not start the other downloads.
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self._reader.check()

    def _fetch(self, path: str) -> None:
        Path(path).write_bytes(self._reader.read(self._found[path]))
