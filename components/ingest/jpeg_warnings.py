"""Catch the warnings of libjpeg about damaged JPEG files.

libjpeg does not refuse a damaged JPEG. It prints a warning, and makes all unreadable pixels grey. OpenCV prints these
warnings to stderr, and Pillow drops them. While we decode, we redirect stderr to a temporary file. If the file grows,
libjpeg has warned. At the end, we write the file's lines to stderr, except the warnings of libjpeg.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

# Beginnings of the messages in libjpeg's jerror.h that mean lost image data.
DAMAGE = (b"Corrupt JPEG data", b"Premature end of JPEG file", b"Inconsistent progression sequence")
STDERR = 2


class Messages:
    """The text that was written to stderr since the redirection began."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def size(self) -> int:
        """Return the size of the text in bytes. This must be fast, because it is called twice for each image."""
        return os.fstat(self._file.fileno()).st_size

    def damage_since(self, position: int) -> str:
        """Search the text after a position. Return the first message about a damaged JPEG, or "" if there is none."""
        text = os.pread(self._file.fileno(), self.size() - position, position)
        for line in text.splitlines():
            if line.startswith(DAMAGE):
                return line.decode(errors="replace")
        return ""


@contextmanager
def listening() -> Iterator[Messages]:
    """Redirect stderr to a temporary file. At the end, write the file's content to stderr, without JPEG warnings."""
    sys.stderr.flush()
    original = os.dup(STDERR)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), STDERR)
        try:
            yield Messages(file)
        finally:
            sys.stderr.flush()
            os.dup2(original, STDERR)
            os.close(original)

            file.seek(0)
            for line in file:
                if not line.startswith(DAMAGE):
                    os.write(STDERR, line)
