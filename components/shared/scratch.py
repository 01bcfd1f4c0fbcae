"""Make temporary folders. A process that is killed cannot remove its folder, so a later process removes it."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "crack-tmp-"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a temporary folder and remove it at the end. First remove the folders of processes that were killed.

    A process holds a lock on its folder while it runs. So a folder without a lock belongs to a process that has ended.
    The lock is on the folder itself. A separate lock file would need a lock of its own while it is created.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # The folder may be in use, belong to another user, or be removed in the meantime.
        with suppress(OSError):
            _remove_if_unlocked(folder)

    folder, lock = _make_locked()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_if_unlocked(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _make_locked() -> tuple[Path, int]:
    """Make and lock a folder. Try again if another process removed the folder before it was locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if folder.exists():
                return folder, lock
            os.close(lock)
