"""Data set versions: in the store, and fetched into the cache that the steps on a machine share.

A version in the store is the folder `datasets/DIGEST/`: manifest, reports and, written last, dataset.json, which lists
its shards, `shards/SHA256.tar`; without dataset.json there is no version.
"""

import errno
import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.shared.cache import make_room, use
from components.shared.config import StepConfig
from components.shared.runtime import InputError
from components.shared.storage import MissingObjectError, Store

COMMIT = "dataset.json"


def commit(
    store: Store, digest: str, folder: str | Path, about: dict[str, Any], earlier: dict[str, int] | None = None
) -> None:
    """Upload a folder as the data set version `digest`; it exists from the moment its last object is there.

    Where another writer was faster the version stays as it is: images may lie in other shards there.

    Args:
        store: Storage root.
        digest: Digest of the manifest.
        folder: Holds shards/ (those that are new), manifest.parquet and the reports.
        about: Facts to keep in dataset.json beside the list of shards.
        earlier: Size by name of the shards of earlier versions that this one refers to, which are in the store.
    """
    folder = Path(folder)
    shards = (earlier or {}) | {path.name: path.stat().st_size for path in (folder / "shards").iterdir()}
    contents = {"digest": digest, **about, "shards": dict(sorted(shards.items()))}
    store.put_folder("shards", folder / "shards")
    if is_committed(store, digest):
        return
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        store.put_file(f"datasets/{digest}/{path.name}", path)
    store.put_bytes(f"datasets/{digest}/{COMMIT}", json.dumps(contents, indent=1).encode())


def read_commit(store: Store, digest: str) -> dict[str, Any] | None:
    """Content of a version's dataset.json; None where the store does not hold that version, whole."""
    try:
        contents = json.loads(store.get_bytes(f"datasets/{digest}/{COMMIT}"))
    except MissingObjectError:
        return None
    there = dict(store.list("shards/"))
    return contents if all(there.get(f"shards/{n}") == size for n, size in contents["shards"].items()) else None


def is_committed(store: Store, digest: str) -> bool:
    """Whether the store holds this version, whole."""
    return read_commit(store, digest) is not None


def fetch_for_step(config: StepConfig, digest: str) -> Path:
    """Bring a data set version from a step's store into its cache; as `fetch`."""
    return fetch(Store(config.store), digest, config.cache, config.cache_size)


def fetch(store: Store, digest: str, cache: str | Path, limit: int | None = None) -> Path:
    """Bring a data set version into the local cache, once for all processes that use the cache.

    Args:
        store: Storage root.
        digest: The version, as `Manifest.digest` names it.
        cache: Folder shared by steps; the version lands in `cache/DIGEST`, and stays while this process lives.
        limit: Largest size of the cache, bytes; versions that no process uses give way to this one. None: no limit.

    Returns:
        Folder for `ShardReader`. Every shard in it had the sha256 that its name tells when it was fetched.

    Raises:
        InputError: The store has no such version, or a shard of it is damaged; the version is larger than the limit, or
            the disk is full.
    """
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / digest
    with _locked(cache / f".{digest}.lock"):
        use(target)  # before the look, so that nobody removes what was seen
        if _is_whole(target):
            return target
        partial = cache / f".{digest}.part"  # a dead process may have left one: only the holder of the lock touches it
        for leftover in (partial, target):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            contents = store.get_bytes(f"datasets/{digest}/{COMMIT}")
        except MissingObjectError as error:
            raise InputError(f"the store {store.uri} has no data set version {digest}: run ingest first") from error
        shards = json.loads(contents)["shards"]
        needed = sum(shards.values())
        if limit is not None:
            make_room(target, needed, limit)
        try:
            store.get_folder("shards", partial / "shards", {name: name.removesuffix(".tar") for name in shards})
            (partial / COMMIT).write_bytes(contents)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            if error.errno != errno.ENOSPC:
                raise
            raise InputError(
                f"the disk of the cache {cache} is full: the data set version {digest} needs {needed} bytes, and "
                f"{shutil.disk_usage(cache).free} are free; make room, lower cache_size or choose another cache"
            ) from error
        partial.rename(target)
    return target


def _is_whole(folder: Path) -> bool:
    """Whether every shard that dataset.json lists is there with its size; contents were verified when fetched."""
    if not (folder / COMMIT).is_file():
        return False
    shards = json.loads((folder / COMMIT).read_bytes())["shards"]
    files = {folder / "shards" / name: size for name, size in shards.items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in files.items())


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the system lets go of it when the process ends, however it ends
        yield
