"""Bring pictures from elsewhere onto this machine: one archive from the web, or the objects under a prefix."""

import errno
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from components.shared.errors import InputError
from components.shared.events import log, progress
from components.shared.services.store import THREADS, Store

ATTEMPTS = 4
PAUSE = 0.5  # seconds before the second attempt, doubled before each further one
TIMEOUT = 60  # seconds without a byte
PIECE = 2**20
PASSING = (408, 425, 429)  # HTTP status codes below 500 that may be others a moment later


def download(address: str, path: Path, sha256: str) -> None:
    """Fetch one file over HTTP, again with a growing pause when the connection fails, and verify its sha256.

    Raises:
        InputError: The server refuses, cannot be reached in `ATTEMPTS` attempts, or the content is another one.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            found = _fetch(address, path)
            break
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in PASSING:
                raise InputError(f"{address}: the server answers {error.code} {error.reason}; is it right?") from error
            cause: Exception = error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            cause = error
        if attempt == ATTEMPTS:
            raise InputError(f"{address} cannot be fetched, tried {ATTEMPTS} times: {cause}") from cause
        log.warning("%s: %s; trying again", address, cause)
        time.sleep(PAUSE * 2 ** (attempt - 1))
    if found != sha256:
        raise InputError(
            f"{address} has the sha256 {found}, not {sha256}: it is not the archive you meant, or the checksum is wrong"
        )


def _fetch(address: str, path: Path) -> str:
    digest = hashlib.sha256()
    with urllib.request.urlopen(address, timeout=TIMEOUT) as response, open(path, "wb") as file:
        length, done = int(response.headers.get("Content-Length") or 0), 0
        while piece := response.read(PIECE):
            file.write(piece)
            digest.update(piece)
            done += len(piece)
            progress(done, max(length, done), "downloading")
    if done < length:
        raise ConnectionError(f"the connection was cut after {done} of {length} bytes")
    return digest.hexdigest()


class Objects:
    """The objects under `s3://BUCKET/PREFIX/` as a folder of empty files, each filled when it is asked for."""

    def __init__(self, uri: str, folder: Path):
        """List the objects and make the folder.

        Raises:
            InputError: Nothing is there, a key is no name for a file, or the storage cannot be used.
        """
        self._store, self._folder = Store(uri), folder
        found = [one for one in self._store.objects() if not one.key.endswith("/")]
        if not found:
            raise InputError(f"there is nothing under {self._store.uri}/")
        for key in (one.key for one in found):
            if key.startswith("/") or ".." in PurePosixPath(key).parts or "\0" in key:
                raise InputError(f"the object {self._store.uri}/{key} is refused: its key leads out of the folder")
            if str(PurePosixPath(key)) != key:
                raise InputError(
                    f"the object {self._store.uri}/{key} is refused: its key is no name of a file; rename it"
                )
        try:
            for parent in {(folder / one.key).parent for one in found}:
                parent.mkdir(parents=True, exist_ok=True)
            for one in found:
                (folder / one.key).touch(exist_ok=False)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise InputError(f"the objects of {self._store.uri} cannot all be files here: {error}") from error
        self._tags = {f"{folder}/{one.key}": f"{one.size}-{one.tag or one.changed.timestamp()}" for one in found}

    def tag(self, path: str) -> str:
        """Size and entity tag of the object that the file stands for; of a server without tags, its time of change."""
        return self._tags[path]

    def bring(self, paths: Iterable[str]) -> None:
        """Fetch the objects that these files stand for, in parallel, but those that were fetched before."""
        keys = sorted({os.path.relpath(path, self._folder) for path in paths if not os.path.getsize(path)})
        with ThreadPoolExecutor(THREADS) as pool:
            gets = [pool.submit(self._store.get_file, key, self._folder / key) for key in keys]
            try:
                for number, get in enumerate(gets):
                    get.result()
                    if number % 100 == 0:
                        progress(number, len(gets), "downloading")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # what has not begun is not worth beginning
                raise
