"""Files that appear whole, or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from components.shared.errors import InputError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a new empty file to write to, which takes its place at `path` when the block ends well.

    Raises:
        InputError: `path` is a folder, or nothing can be written there.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file to write")
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; name another file") from error
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
