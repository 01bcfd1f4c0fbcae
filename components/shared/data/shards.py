"""Image bytes in a few large tar files instead of many small objects.

A shard is a plain tar: `ID.jpg`, and after it `ID.mask.png` where the image has a mask. The manifest holds each
member's offset and size, so an image is read by one slice of a memory map. Shards are named by their content: versions
of a growing data set share them, and who packs the same images packs the same shards.
"""

import hashlib
import mmap
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from components.shared.errors import InputError

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


def write_shards(
    members: Iterable[Member],
    folder: str | Path,
    limit: int = SHARD_BYTES,
    written: Callable[[Path], object] = lambda path: None,
) -> list[Place]:
    """Pack images into tar files named by their own sha256; equal members in equal order give equal files.

    Args:
        members: Images in the order of packing; consumed one by one, so they need not fit into memory.
        folder: Folder to fill; it is made.
        limit: A shard is closed when it reaches this size in bytes.
        written: Called with each shard when it is whole, before the next one is begun.

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
        path = folder / f"{file.digest.hexdigest()}.tar"
        partial.rename(path)
        places += [replace(place, shard=path.name) for place in unnamed]
        written(path)
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
