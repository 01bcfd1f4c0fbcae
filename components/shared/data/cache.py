"""Keep a cache folder of data set versions within its size limit. A data set version in use is never removed.

If there is too little room, the least recently used data set version is removed first. Next to the folder `DIGEST/` is
the file `.DIGEST.use`. The time of this file is the time of the last use. A process that uses the data set version
holds a shared lock on this file. The system releases the lock when the process ends, even if it is killed. A process
that removes a data set version holds an exclusive lock. We use `fcntl.flock`, because filelock has no shared locks.
"""

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from filelock import FileLock

from components.shared.errors import InputError
from components.shared.events import log

# Folder of a data set version -> open file that keeps the shared lock of this process.
_held: dict[Path, IO[str]] = {}


def use(version: Path) -> None:
    """Mark a data set version as in use until this process and its forks end.

    `version` is the folder of the data set version. It may not exist yet.
    """
    file = open(_mark(version), "a")  # noqa: SIM115 - stays open on purpose
    fcntl.flock(file, fcntl.LOCK_SH)
    os.utime(_mark(version))
    _held[version] = file


def make_room(version: Path, needed: int, limit: int) -> None:
    """Remove unused data set versions until `version` fits. The least recently used version is removed first.

    Args:
        version: Folder, inside the cache, of the data set version that will be fetched. It is never removed.
        needed: Size of this data set version, bytes.
        limit: Largest size of the cache, bytes. Data set versions in use stay, even if the cache exceeds the limit.

    Raises:
        InputError: The data set version alone is larger than the limit.
    """
    cache = version.parent
    if needed > limit:
        raise InputError(
            f"the data set version {version.name} has {needed} bytes, more than cache_size {limit} allows for the "
            f"cache {cache}; raise cache_size"
        )

    # Only one process at a time makes room. Otherwise, a process could count a folder that another process is removing.
    with FileLock(cache / ".room.lock"):
        sizes = {}
        for folder in filter(_is_version, cache.iterdir()):
            if folder != version:
                sizes[folder] = _size(folder)
        total = needed + sum(sizes.values())

        for folder in sorted(sizes, key=_last_used):
            if total > limit and _remove_unused(folder):
                log.info("removed %s from the cache %s", folder.name, cache)
                total -= sizes[folder]

    if total > limit:
        log.warning(
            "the cache %s is larger than cache_size %d, because its data set versions are in use; raise cache_size",
            cache,
            limit,
        )


def _remove_unused(version: Path) -> bool:
    with open(_mark(version), "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(version, ignore_errors=True)
        return True


def _size(version: Path) -> int:
    return sum(file.stat().st_size for file in version.rglob("*") if file.is_file())


def _is_version(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _last_used(version: Path) -> float:
    mark = _mark(version)
    return mark.stat().st_mtime if mark.exists() else 0.0


def _mark(version: Path) -> Path:
    return version.with_name(f".{version.name}.use")
