"""Unpack an archive that may be malicious. Refuse links, names that lead out of the folder, and too much content."""

import errno
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

SMALLEST_FILE_BYTES = 4096  # every file uses at least this much disk space, even an empty file
CHUNK_BYTES = 2**20
ENCRYPTED_FLAG = 1
READABLE_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
# The names of other compression methods, by their number in the zip format (APPNOTE.TXT, 4.4.5).
METHODS = {
    1: "Shrink", 6: "Implode", 9: "Deflate64", 10: "PKWARE DCL Implode", 20: "Zstandard", 93: "Zstandard", 94: "MP3",
    95: "XZ", 96: "JPEG", 97: "WavPack", 98: "PPMd", 99: "AES encryption",
}  # fmt: skip
ERRORS_OF_DAMAGED_ARCHIVES = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    ValueError,
)


def is_archive(path: Path) -> bool:
    """Return true if the file's content is a zip or a tar, compressed or not."""
    return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)


def unpack(archive: Path, folder: Path, limit: int, name: str) -> None:
    """Unpack a zip or tar into a folder.

    Args:
        archive: The archive.
        folder: The folder to unpack to; it is created.
        limit: The largest number of bytes to write.
        name: The archive as the user wrote it, for messages.

    Raises:
        InputError: The archive is damaged or encrypted, or its compression is not supported. Or it holds a link, a
            device, a name twice, a name that leads out of the folder, or a name that a file cannot have. Or it holds
            more than `limit` bytes. The caller must remove the files that were unpacked before the error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members

    bytes_left = limit
    try:
        with closing(members(archive, name)) as found:
            for member, content in found:
                target = folder / _safe_path(member, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                bytes_left = _write(content, target, bytes_left)
                if bytes_left < 0:
                    raise InputError(
                        f"the archive {name} contains more than {limit} bytes, the limit ingest.max_unpacked; check "
                        "that the archive is the right one, or raise ingest.max_unpacked"
                    )
    except InputError:
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        twice = Path(str(error.filename)).name
        raise InputError(f"the archive {name} contains the name {twice!r} twice; rename one of the two") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise InputError(
            f"the archive {name} contains the name {Path(str(error.filename)).name[:40]!r}…, which is too long "
            "for this file system; rename this member"
        ) from error
    except ERRORS_OF_DAMAGED_ARCHIVES as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(
        f"the archive {name} is damaged, or we do not know its format: {error}; download it again, or unpack it "
        "yourself and give the folder instead"
    )


def check_names(archive: Path, name: str) -> None:
    """Raise the errors of `unpack` that the names in a zip show. Nothing is unpacked. A tar has no list of its names.

    Args:
        archive: A zip or tar.
        name: The archive as the user wrote it, for messages.
    """
    if not zipfile.is_zipfile(archive):
        return
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
    except ERRORS_OF_DAMAGED_ARCHIVES as error:
        raise _damaged(name, error) from error

    for info in members:
        _check_member(info, name)
        _safe_path(info.filename, name)


def _write(content: IO[bytes], target: Path, bytes_left: int) -> int:
    """Write a new file of at most `bytes_left` bytes. Return how many of these bytes are left.

    If the file is larger, stop and return a negative number.
    """
    written = 0
    with open(target, "xb") as file:
        while written <= bytes_left:
            chunk = content.read(CHUNK_BYTES)
            if not chunk:
                break
            file.write(chunk)
            written += len(chunk)
    return bytes_left - max(written, SMALLEST_FILE_BYTES)


def _safe_path(member: str, name: str) -> PurePosixPath:
    path = PurePosixPath(member.replace("\\", "/"))
    if not path.parts:
        raise InputError(f"the archive {name} is refused: its member {member!r} has no name; pack it again")
    has_drive = ":" in path.parts[0]

    if path.is_absolute() or ".." in path.parts or "\0" in member or has_drive:
        raise InputError(
            f"the archive {name} is refused: its member {member!r} leads out of the archive's folder; use an archive "
            "from a source that you trust"
        )
    return path


def _zip_members(archive: Path, name: str) -> Generator[tuple[str, IO[bytes]], None, None]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            _check_member(info, name)
        for info in opened.infolist():
            if not info.is_dir():
                with opened.open(info) as content:
                    yield info.filename, content


def _check_member(info: zipfile.ZipInfo, name: str) -> None:
    unix_mode = info.external_attr >> 16
    if stat.S_IFMT(unix_mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _special_file(name, info.filename)
    if info.flag_bits & ENCRYPTED_FLAG:
        raise InputError(f"the archive {name} is encrypted; unpack it yourself and give the folder instead")
    if info.compress_type not in READABLE_METHODS:
        method = METHODS.get(info.compress_type, f"the unknown method {info.compress_type}")
        raise InputError(
            f"the archive {name} is compressed with {method}, which we cannot unpack. Either unpack it (`7z x`, or "
            "Windows Explorer) and give the folder, or pack it again with the method Deflate"
        )


def _tar_members(archive: Path, name: str) -> Generator[tuple[str, IO[bytes]], None, None]:
    with tarfile.open(archive) as opened:
        for info in opened:
            if not (info.isfile() or info.isdir()):
                raise _special_file(name, info.name)

            content = opened.extractfile(info) if info.isfile() else None
            if content is not None:
                yield info.name, content


def _special_file(name: str, member: str) -> InputError:
    return InputError(
        f"the archive {name} is refused: its member {member!r} is a link or a device; pack plain files only"
    )
