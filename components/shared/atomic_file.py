"""Write a file completely, or write no file."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from components.shared.errors import InputError

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)


def require_place(path: Path) -> None:
    """Raise InputError if a file at `path` would replace a folder, pipe, socket or device."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is a pipe, socket or device, which would be replaced; give a file")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write to. It is moved to `path` when the `with` block ends without an error.

    Raises:
        InputError: `path` is a folder, pipe, socket or device. Or no file can be written into the folder of `path`. Or
            the disk is full.
    """
    require_place(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; give another file") from error

    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        if error.errno not in DISK_IS_FULL:
            raise
        # The error of a full disk does not name the file.
        raise InputError(f"{path} cannot be written: {error.strerror}; free space there, and try again") from error
    finally:
        unfinished.unlink(missing_ok=True)
