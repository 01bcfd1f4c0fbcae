"""Unpack an archive that nobody vouches for: no file outside the folder, no links, no bombs."""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO

from components.shared.errors import InputError

SMALLEST = 4096  # bytes that a file takes on disk, however short
PIECE = 2**20
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError)


def is_archive(path: Path) -> bool:
    """Whether the file is a zip or a tar, compressed or not, by its content."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path, limit: int, name: str) -> None:
    """Unpack a zip or tar into a folder.

    Args:
        archive: The file.
        folder: Where to; it is made.
        limit: Most bytes to write.
        name: The archive as the user knows it, for messages.

    Raises:
        InputError: The archive is damaged or encrypted, holds a link, a device, a name twice or a name that leads out
            of the folder, or more than `limit` bytes. What was unpacked until then is left to the caller to remove.
    """
    folder.mkdir(parents=True, exist_ok=True)
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    left = limit
    try:
        with closing(members(archive, name)) as found:
            for member, content in found:
                target = folder / _safe(member, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                left = _write(content, target, left)
                if left < 0:
                    raise InputError(
                        f"the archive {name} holds more than max_unpacked {limit} bytes; if it is meant to, raise "
                        "max_unpacked"
                    )
    except InputError:
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"the archive {name} holds a name twice: {Path(str(error.filename)).name}") from error
    except DAMAGE as error:
        raise InputError(f"the archive {name} is damaged or of an unknown kind: {error}; fetch it again") from error


def _write(content: IO[bytes], target: Path, left: int) -> int:
    """Copy as far as the limit allows; return how many bytes are left, negative when it was too much."""
    written = 0
    with open(target, "xb") as file:
        while written <= left and (piece := content.read(PIECE)):
            file.write(piece)
            written += len(piece)
    return left - max(written, SMALLEST)


def _safe(member: str, name: str) -> PurePosixPath:
    path = PurePosixPath(member.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in member or ":" in path.parts[0]:
        raise InputError(f"the archive {name} is refused: its member {member!r} leads out of the archive's folder")
    return path


def _zip_members(archive: Path, name: str) -> Generator[tuple[str, IO[bytes]], None, None]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            mode = info.external_attr >> 16
            if info.flag_bits & 1:
                raise InputError(f"the archive {name} is encrypted; unpack it first")
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise InputError(f"the archive {name} is refused: its member {info.filename!r} is a link or a device")
            if not info.is_dir():
                with opened.open(info) as content:
                    yield info.filename, content


def _tar_members(archive: Path, name: str) -> Generator[tuple[str, IO[bytes]], None, None]:
    with tarfile.open(archive) as opened:
        for info in opened:
            if not (info.isfile() or info.isdir()):
                raise InputError(f"the archive {name} is refused: its member {info.name!r} is a link or a device")
            content = opened.extractfile(info) if info.isfile() else None
            if content is not None:
                yield info.name, content
