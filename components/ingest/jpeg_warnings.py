"""What the JPEG decoder says of a damaged file while it decodes it all the same.

libjpeg fills what it cannot read and warns. OpenCV passes the warnings on to nobody: they go to standard error, and
Pillow drops them. So, while files are examined, standard error is a file of ours; one that grew during a decoding tells
of a warning. What others wrote there meanwhile is written to standard error afterwards.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

DAMAGE = (b"Corrupt JPEG data", b"Premature end of JPEG file", b"Inconsistent progression sequence")  # of jerror.h
STDERR = 2


class Messages:
    """What was written to standard error since the listening began."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def size(self) -> int:
        """Bytes so far; cheap, for it is asked twice for each file."""
        return os.fstat(self._file.fileno()).st_size

    def damage_since(self, position: int) -> str:
        """The first message behind a position that tells of a damaged JPEG; empty without one."""
        lines = os.pread(self._file.fileno(), self.size() - position, position).splitlines()
        return next((line.decode(errors="replace") for line in lines if line.startswith(DAMAGE)), "")


@contextmanager
def listening() -> Iterator[Messages]:
    """Listen to standard error, of this whole process."""
    sys.stderr.flush()
    kept = os.dup(STDERR)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), STDERR)
        try:
            yield Messages(file)
        finally:
            sys.stderr.flush()
            os.dup2(kept, STDERR)
            os.close(kept)
            file.seek(0)
            for line in file:
                if not line.startswith(DAMAGE):
                    os.write(STDERR, line)
