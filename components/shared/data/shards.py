"""Image bytes in a few large tar files instead of many small objects.

A shard is a plain tar: `ID.jpg`, followed by `ID.mask.png` if the image has a mask. The manifest holds each member's
offset and size, so one slice of a memory map reads an image. A shard's name is the sha256 of its content: versions of a
growing data set share shards, and the same images packed in the same order give the same shards.
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
# The tar format pads every content to whole blocks and ends with two empty ones.
BLOCK_BYTES = 512


@dataclass(frozen=True)
class Member:
    """What goes into a shard for one image: the files' bytes, and their suffixes (".jpg")."""

    sample_id: str
    image: bytes
    suffix: str
    mask: bytes | None = None
    mask_suffix: str = ""


@dataclass(frozen=True)
class Place:
    """Where an image and its mask are: shard name, offsets and sizes in bytes."""

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
    """Pack images into tar files named by their own sha256. Equal members in equal order give equal files.

    Args:
        members: Images in the order of packing. They are consumed one by one, so they need not fit into memory.
        folder: Folder to fill; it is made.
        limit: A shard is closed when it reaches this size in bytes.
        written: Called with each finished shard before the next one is started.

    Returns:
        One place for each member, in order.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / ".part"

    places: list[Place] = []
    remaining = iter(members)
    member = next(remaining, None)
    while member is not None:
        places_in_shard: list[Place] = []
        with open(partial, "wb") as raw:
            file = _HashedFile(raw)
            while member is not None and file.position < limit:
                places_in_shard.append(_append_member(file, member))
                member = next(remaining, None)
            file.write(bytes(2 * BLOCK_BYTES))

        # The shard's name is known only now.
        path = folder / f"{file.digest.hexdigest()}.tar"
        partial.rename(path)
        places += [replace(place, shard=path.name) for place in places_in_shard]
        written(path)
    return places


class _HashedFile:
    """A file that is being written, its sha256 so far and its length."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.digest = hashlib.sha256()
        self.position = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.position += len(data)


def _append_member(file: _HashedFile, member: Member) -> Place:
    """Write an image and its mask; return their place, still without the shard's name."""
    offset = _append_file(file, f"{member.sample_id}{member.suffix}", member.image)
    if member.mask is None:
        return Place(member.sample_id, "", offset, len(member.image), None, None)

    mask_offset = _append_file(file, f"{member.sample_id}.mask{member.mask_suffix}", member.mask)
    return Place(member.sample_id, "", offset, len(member.image), mask_offset, len(member.mask))


def _append_file(file: _HashedFile, name: str, data: bytes) -> int:
    """Write one tar member with constant times and owners; return the offset of its content."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    file.write(header.tobuf(tarfile.USTAR_FORMAT))

    offset = file.position
    file.write(data)
    padding = -len(data) % BLOCK_BYTES
    file.write(bytes(padding))
    return offset


class ShardReader:
    """Reads members of a fetched version by offset, from memory maps that all readers on a machine share.

    It can be pickled, and used after a fork: each process opens a map when it first needs it.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._maps: dict[str, mmap.mmap] = {}

    def read(self, shard: str, offset: int, size: int) -> bytes:
        """The `size` bytes at `offset` of a shard.

        Raises:
            InputError: The version has no such shard, or the shard ends before these bytes.
        """
        if shard not in self._maps:
            self._maps[shard] = self._map(shard)

        data = self._maps[shard][offset : offset + size]
        if len(data) != size:
            raise InputError(
                f"{self.folder / 'shards' / shard} ends before byte {offset + size}; run again to fetch it again"
            )
        return data

    def _map(self, shard: str) -> mmap.mmap:
        path = self.folder / "shards" / shard
        try:
            with open(path, "rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise InputError(f"there is no shard {path}; run again to fetch the data set version again") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_maps": {}}
