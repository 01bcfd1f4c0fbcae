"""Write a file completely, or write no file."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from components.shared.errors import InputError


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write to. It is moved to `path` when the `with` block ends without an error.

    Raises:
        InputError: `path` is a folder, or its folder cannot be written to.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file")

    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; give another file") from error

    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
