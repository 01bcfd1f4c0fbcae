"""Store image files in a few large tar files instead of many small objects.

A shard is a plain tar file. For each image, it contains a file such as `ID.jpg`. If the image has a mask, a file such
as `ID.mask.png` follows. The manifest contains the offset and the size of each image, so one read is enough for an
image. A shard's name is the sha256 of its content. So the same images in the same order give the same shards, and the
versions of a growing data set share shards.
"""

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

from components.shared.errors import InputError

SHARD_BYTES = 64 * 2**20
# The tar format pads every file to whole blocks and ends with two empty blocks.
BLOCK_BYTES = 512


@dataclass(frozen=True)
class Member:
    """An image that is packed into a shard, and its mask.

    Attributes:
        sample_id: The image's id.
        image: The bytes of the image file.
        suffix: The suffix of the image file, such as ".jpg".
        mask: The bytes of the mask file. None if the image has no mask.
        mask_suffix: The suffix of the mask file. It is empty if the image has no mask.
    """

    sample_id: str
    image: bytes
    suffix: str
    mask: bytes | None = None
    mask_suffix: str = ""


@dataclass(frozen=True)
class Place:
    """The place of an image and its mask: the name of the shard, and the offsets and sizes in bytes.

    If the image has no mask, the fields of the mask are None.
    """

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
        members: Images in the order of packing. They are read one by one, so they need not fit into memory together.
        folder: Folder to fill. It is created if it does not exist.
        limit: A shard is closed when it reaches this size in bytes.
        written: Function that is called with the path of each finished shard, before the next shard is started.

    Returns:
        One `Place` for each member, in order.
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

        # The shard's name is the digest of all its bytes, so the name is known only now.
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
    """Write one file into the tar, with constant times and owners. Return the offset of its content."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    file.write(header.tobuf(tarfile.USTAR_FORMAT))

    offset = file.position
    file.write(data)
    padding = -len(data) % BLOCK_BYTES
    file.write(bytes(padding))
    return offset


class ShardReader:
    """A reader of a fetched data set version. It reads images and masks by their offsets.

    We do not map the shards into memory. The system would count mapped data as memory of every process that reads it,
    so a step's memory would grow with the data set. With normal reads, the system caches the data once for all
    processes. A reader can be pickled, and it can be used after a fork.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._files: dict[str, FileIO] = {}

    def read(self, shard: str, offset: int, size: int) -> bytes:
        """Return the `size` bytes at `offset` of a shard.

        Raises:
            InputError: The data set version does not have this shard, or the shard ends before these bytes.
        """
        if shard not in self._files:
            self._files[shard] = self._open(shard)

        data = os.pread(self._files[shard].fileno(), size, offset)
        if len(data) != size:
            raise InputError(
                f"{self.folder / 'shards' / shard} ends before byte {offset + size}; run the step again, which "
                "fetches the file again"
            )
        return data

    def _open(self, shard: str) -> FileIO:
        path = self.folder / "shards" / shard
        try:
            return FileIO(path)
        except FileNotFoundError as error:
            raise InputError(f"there is no shard {path}; run the step again, which fetches the file again") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_files": {}}
