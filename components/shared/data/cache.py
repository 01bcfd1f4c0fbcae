"""Which data set versions a cache folder keeps: as many as its size allows, those used last, and every one in use.

Beside `DIGEST/` lies `.DIGEST.use`: a process that uses the version holds a shared lock on it until it ends, however it
ends, and the file's time tells when the version was last asked for. Who removes a version holds the lock alone.
"""

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

from components.shared.errors import InputError
from components.shared.events import log

_held: dict[Path, IO[str]] = {}  # by version: keeps the shared locks of this process


def use(version: Path) -> None:
    """Mark a version as in use until this process, and those forked from it, have ended; it need not be there yet."""
    file = open(_mark(version), "a")  # noqa: SIM115 - stays open on purpose
    fcntl.flock(file, fcntl.LOCK_SH)
    os.utime(_mark(version))
    _held[version] = file


def make_room(version: Path, needed: int, limit: int) -> None:
    """Remove versions that nobody uses, the one used longest ago first, until `version` fits beside the others.

    Args:
        version: Folder of the version about to be fetched, in the cache; never removed.
        needed: Its size, bytes.
        limit: Largest size of the cache, bytes. Versions in use are kept even where it is thereby exceeded.

    Raises:
        InputError: The version alone is larger than the limit.
    """
    if needed > limit:
        raise InputError(
            f"the data set version {version.name} has {needed} bytes, more than cache_size {limit} allows for the "
            f"cache {version.parent}; raise cache_size"
        )
    with open(version.parent / ".room.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one at a time, so that none counts what another is removing
        others = [folder for folder in version.parent.iterdir() if _is_version(folder) and folder != version]
        sizes = {folder: _size(folder) for folder in others}
        total = needed + sum(sizes.values())
        for folder in sorted(others, key=_last_used):
            if total > limit and _remove_unused(folder):
                log.info("removed %s from the cache %s", folder.name, folder.parent)
                total -= sizes[folder]
    if total > limit:
        log.warning("the cache %s exceeds cache_size %d: every other version is in use", version.parent, limit)


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
