"""Refuse pipes, sockets and devices where a file is expected. A command that reads a pipe could wait for ever."""

import errno
import os
import stat
from pathlib import Path


def require_file(path: Path | str) -> None:
    """Check that a path leads to a regular file, before the file is opened.

    Raises:
        OSError: The path does not exist, or it leads to a folder, pipe, socket or device. The attribute `strerror`
            gives the reason.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode):
        return

    if not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is a pipe, socket or device, not a regular file", str(path))
    os.scandir(path).close()  # the error of a folder that cannot be listed is more helpful than the error below
    kind = "a link to a folder" if os.path.islink(path) else "a folder"
    raise IsADirectoryError(errno.EISDIR, f"it is {kind}, not a file", str(path))


def reason(error: OSError) -> str:
    """Return the reason that an `OSError` gives, without the error number and the path."""
    return error.strerror or str(error)
