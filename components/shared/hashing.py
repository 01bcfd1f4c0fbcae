"""Compute the sha256 of values, bytes and files. Each digest has 64 hexadecimal characters."""

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(*parts: Any) -> str:
    """Return the sha256 of the parts as canonical JSON. Equal parts give the same digest on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return bytes_digest(text.encode())


def bytes_digest(data: bytes | memoryview) -> str:
    """Return the sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: str | Path) -> str:
    """Return the sha256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
