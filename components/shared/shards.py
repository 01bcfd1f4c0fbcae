"""Image bytes in a few large tar files instead of many small objects.

A shard is a plain tar: `ID.jpg`, and after it `ID.mask.png` where the image has a mask. The manifest holds each
member's offset and size, so an image is read by one slice of a memory map. Shards are named by their content,
`shards/SHA256.tar`, so that versions of a growing data set share them. A data set version in the store is the folder
`datasets/DIGEST/`: manifest, reports and, written last, dataset.json, which lists its shards; without dataset.json
there is no version. Who packs the same images packs the same shards, so writers of one version cannot harm each other.
"""

import errno
import fcntl
import hashlib
import json
import mmap
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from components.shared.cache import make_room, use
from components.shared.runtime import InputError
from components.shared.storage import MissingObjectError, Store

COMMIT = "dataset.json"
SHARD_BYTES = 64 * 2**20
BLOCK = 512


@dataclass(frozen=True)
class Member:
    """What goes into a shard for one image: the bytes as they are, and the suffixes that say their kind (".jpg")."""

    sample_id: str
    image: bytes
    suffix: str
    mask: bytes | None = None
    mask_suffix: str = ""


@dataclass(frozen=True)
class Place:
    """Where an image and its mask lie: shard name, offsets and sizes in bytes."""

    sample_id: str
    shard: str
    offset: int
    size: int
    mask_offset: int | None
    mask_size: int | None


def write_shards(members: Iterable[Member], folder: str | Path, limit: int = SHARD_BYTES) -> list[Place]:
    """Pack images into tar files named by their own sha256; equal members in equal order give equal files.

    Args:
        members: Images in the order of packing; consumed one by one, so they need not fit into memory.
        folder: Folder to fill; it is made.
        limit: A shard is closed when it reaches this size in bytes.

    Returns:
        One place for each member, in order.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    places: list[Place] = []
    iterator = iter(members)
    member = next(iterator, None)
    while member is not None:
        unnamed: list[Place] = []
        partial = folder / ".part"
        with open(partial, "wb") as raw:
            file = _Hashed(raw)
            while member is not None and file.position < limit:
                offset = _append(file, f"{member.sample_id}{member.suffix}", member.image)
                mask_offset = mask_size = None
                if member.mask is not None:
                    mask_offset = _append(file, f"{member.sample_id}.mask{member.mask_suffix}", member.mask)
                    mask_size = len(member.mask)
                unnamed.append(Place(member.sample_id, "", offset, len(member.image), mask_offset, mask_size))
                member = next(iterator, None)
            file.write(bytes(2 * BLOCK))
        shard = f"{file.digest.hexdigest()}.tar"
        partial.rename(folder / shard)
        places += [replace(place, shard=shard) for place in unnamed]
    return places


class _Hashed:
    """A file being written, its sha256 so far and its length."""

    def __init__(self, file: BinaryIO):
        self._file, self.digest, self.position = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.position += len(data)


def _append(file: _Hashed, name: str, data: bytes) -> int:
    """Write one tar member with constant times and owners; return the offset of its content."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    file.write(info.tobuf(tarfile.USTAR_FORMAT))
    offset = file.position
    file.write(data)
    file.write(bytes(-len(data) % BLOCK))
    return offset


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


class ShardReader:
    """Reads members of a fetched version by offset, from memory maps that all readers on a machine share.

    It may be pickled, and used after a fork: maps are opened by each process when it first needs them.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._maps: dict[str, mmap.mmap] = {}

    def read(self, shard: str, offset: int, size: int) -> bytes:
        """The `size` bytes at `offset` of a shard.

        Raises:
            InputError: The version has no such shard, or it ends before that.
        """
        if shard not in self._maps:
            self._maps[shard] = self._map(shard)
        data = self._maps[shard][offset : offset + size]
        if len(data) != size:
            raise InputError(f"{self.folder / 'shards' / shard} ends before byte {offset + size}: fetch it again")
        return data

    def _map(self, shard: str) -> mmap.mmap:
        path = self.folder / "shards" / shard
        try:
            with open(path, "rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise InputError(f"there is no shard {path}: fetch the data set version again") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_maps": {}}
