"""Image bytes in a few large tar files instead of many small objects.

A shard is a plain tar: `ID.jpg`, and after it `ID.mask.png` where the image has a mask. The manifest holds each
member's offset and size, so an image is read by one slice of a memory map. A data set version in the store is the
folder `datasets/DIGEST/`: shards/, manifest.parquet, report.json and, written last, dataset.json with the sha256 of
every shard; without dataset.json there is no version. The bytes of the shards follow from the digest, so writers of one
version cannot harm each other; manifest and report also hold the source's file names, which are no part of the digest.
"""

import errno
import fcntl
import json
import mmap
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from components.shared.cache import make_room, use
from components.shared.runtime import InputError
from components.shared.storage import MissingObjectError, Store, file_digest

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
    """Pack images into `folder/00000.tar`, `00001.tar`, …; equal members in equal order give equal files.

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
    number = 0
    while member is not None:
        shard = f"{number:05d}.tar"
        with open(folder / shard, "wb") as file:
            while member is not None and file.tell() < limit:
                offset = _append(file, f"{member.sample_id}{member.suffix}", member.image)
                mask_offset = None
                if member.mask is not None:
                    mask_offset = _append(file, f"{member.sample_id}.mask{member.mask_suffix}", member.mask)
                mask_size = None if member.mask is None else len(member.mask)
                places.append(Place(member.sample_id, shard, offset, len(member.image), mask_offset, mask_size))
                member = next(iterator, None)
            file.write(bytes(2 * BLOCK))
        number += 1
    return places


def _append(file: BinaryIO, name: str, data: bytes) -> int:
    """Write one tar member with constant times and owners; return the offset of its content."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    file.write(info.tobuf(tarfile.USTAR_FORMAT))
    offset = file.tell()
    file.write(data)
    file.write(bytes(-len(data) % BLOCK))
    return offset


def commit(store: Store, digest: str, folder: str | Path, about: dict[str, Any]) -> None:
    """Upload a folder as the data set version `digest`; it exists from the moment its last object is there.

    Args:
        store: Storage root.
        digest: Digest of the manifest.
        folder: Holds shards/, manifest.parquet and report.json; dataset.json is added to it.
        about: Facts to keep in dataset.json beside the list of shards.
    """
    folder = Path(folder)
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted((folder / "shards").iterdir())
    }
    (folder / COMMIT).write_text(json.dumps({"digest": digest, **about, "files": files}, indent=1), encoding="utf-8")
    store.put_folder(f"datasets/{digest}", folder, last=COMMIT)


def is_committed(store: Store, digest: str) -> bool:
    """Whether the store holds this version, whole."""
    return store.exists(f"datasets/{digest}/{COMMIT}")


def fetch(store: Store, digest: str, cache: str | Path, limit: int | None = None) -> Path:
    """Bring a data set version into the local cache, once for all processes that use the cache.

    Args:
        store: Storage root.
        digest: The version, as `Manifest.digest` names it.
        cache: Folder shared by steps; the version lands in `cache/DIGEST`, and stays while this process lives.
        limit: Largest size of the cache, bytes; versions that no process uses give way to this one. None: no limit.

    Returns:
        Folder for `ShardReader`. Every shard in it had the sha256 that dataset.json tells when it was fetched.

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
        files = json.loads(contents)["files"]
        needed = sum(about["size"] for about in files.values())
        if limit is not None:
            make_room(target, needed, limit)
        try:
            store.get_folder(f"datasets/{digest}", partial, {name: about["sha256"] for name, about in files.items()})
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
    files = json.loads((folder / COMMIT).read_bytes())["files"]
    return all((folder / n).is_file() and (folder / n).stat().st_size == f["size"] for n, f in files.items())


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
