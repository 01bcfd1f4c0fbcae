"""Compute the sha256 of values, bytes and files. Each digest has 64 hexadecimal characters."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from components.shared.regular_file import require_file


def digest(*parts: Any) -> str:
    """Convert the parts to canonical JSON, and return its sha256. Equal parts give equal digests on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return bytes_digest(text.encode())


def bytes_digest(data: bytes | memoryview) -> str:
    """Return the sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: str | Path) -> str:
    """Return the sha256 of a file's content. Raise `OSError` if the path does not lead to a regular file."""
    require_file(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: str | Path, without: Collection[str] = ()) -> str:
    """Return the sha256 of the names and contents of all files in a folder and its subfolders.

    Args:
        folder: The folder. Empty subfolders do not count.
        without: Files that do not count, as paths relative to the folder.
    """
    folder = Path(folder)
    files = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in without:
            files[name] = file_digest(path)
    return digest(files)
