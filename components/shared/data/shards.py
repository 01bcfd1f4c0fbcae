"""Store image files in a few large tar files instead of many small objects.

A shard is a plain tar: `ID.jpg`, followed by `ID.mask.png` if the image has a mask. The manifest holds each member's
offset and size, so one slice of a memory map reads an image. A shard's name is the sha256 of its content. So the same
images in the same order give the same shards, and the versions of a growing data set share shards.
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
# The tar format pads every file to whole blocks and ends with two empty blocks.
BLOCK_BYTES = 512


@dataclass(frozen=True)
class Member:
    """The content of a shard for one image: the bytes of the image and its mask, and their suffixes (".jpg")."""

    sample_id: str
    image: bytes
    suffix: str
    mask: bytes | None = None
    mask_suffix: str = ""


@dataclass(frozen=True)
class Place:
    """The place of an image and its mask: shard name, offsets and sizes in bytes. The mask's fields can be None."""

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
    """Pack images into tar files that are named after their sha256. Equal members in equal order give equal files.

    Args:
        members: Images in the order of packing. They are read one by one, so they need not fit into memory.
        folder: Folder to fill; it is created.
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

        # The shard's name is the digest of all its bytes, so it is known only now.
        path = folder / f"{file.digest.hexdigest()}.tar"
        partial.rename(path)
        places += [replace(place, shard=path.name) for place in places_in_shard]
        written(path)
    return places


class _HashedFile:
    """A file that is being written, with its sha256 and its length so far."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.digest = hashlib.sha256()
        self.position = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.position += len(data)


def _append_member(file: _HashedFile, member: Member) -> Place:
    """Write an image and its mask. Return their place without the shard's name, which is not known yet."""
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
    """A reader of a fetched data set version. It reads members by offset, from memory maps.

    All readers on a machine share the memory. A reader can be pickled and used after a fork, because each process opens
    a map when it first needs it.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._maps: dict[str, mmap.mmap] = {}

    def read(self, shard: str, offset: int, size: int) -> bytes:
        """Return the `size` bytes at `offset` of a shard.

        Raises:
            InputError: The data set version does not have this shard, or the shard ends before these bytes.
        """
        if shard not in self._maps:
            self._maps[shard] = self._map(shard)

        data = self._maps[shard][offset : offset + size]
        if len(data) != size:
            raise InputError(
                f"{self.folder / 'shards' / shard} ends before byte {offset + size}; run the step again to fetch it"
            )
        return data

    def _map(self, shard: str) -> mmap.mmap:
        path = self.folder / "shards" / shard
        try:
            with open(path, "rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError as error:
            raise InputError(f"there is no shard {path}; run the step again to fetch it") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_maps": {}}
