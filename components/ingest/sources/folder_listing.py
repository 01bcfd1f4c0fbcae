"""List folders. A folder that cannot be listed is an error. If we skipped it, its images would be lost silently."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.shared.data.image_kinds import is_hidden
from components.shared.errors import InputError

NAMES_IN_MESSAGE = 8
KINDS_IN_MESSAGE = 5


def entries(folder: Path) -> list[str]:
    """Return the names of everything in a folder, in order.

    Raises:
        InputError: The folder cannot be listed.
    """
    with _listing(folder):
        return sorted(os.listdir(folder))


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, in order, without hidden folders.

    Raises:
        InputError: The folder cannot be listed.
    """
    return [name for name in entries(folder) if (folder / name).is_dir() and not is_hidden(name)]


def files_in(root: Path, part: str) -> list[str]:
    """Return the files of one folder, in order, without the files of its subfolders.

    Args:
        root: The source's folder.
        part: The folder to list, relative to the root.

    Returns:
        Paths relative to the root.

    Raises:
        InputError: The folder cannot be listed.
    """
    return [f"{part}/{name}".strip("/") for name in entries(root / part) if not (root / part / name).is_dir()]


def files_below(root: Path, part: str) -> Iterator[str]:
    """Yield the files of a folder and of its subfolders, in no fixed order.

    A hidden folder is not entered. Its own path is yielded instead of its files, so that the caller can report it. A
    broken link is yielded as a file. The examination refuses it later and reports its name.

    Args:
        root: The source's folder.
        part: The folder to list, relative to the root.

    Yields:
        Paths relative to the root.

    Raises:
        InputError: A folder cannot be listed, a link leads to a folder, or something is not a regular file.
    """
    if not os.path.lexists(f"{root}/{part}"):
        return

    folders = [part]
    while folders:
        folder = folders.pop()
        with _listing(f"{root}/{folder}"), os.scandir(f"{root}/{folder}") as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if is_hidden(entry.name) or not _is_folder(entry):
                    yield path
                else:
                    folders.append(path)


def contents(folder: Path) -> str:
    """Return a text for messages that names the folders in a folder, and the kinds of its files."""
    folders = []
    kinds: Counter[str] = Counter()
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            folders.append(path.name)
        elif path.is_file():
            kinds[path.suffix.lower() or "no suffix"] += 1
    if not folders and not kinds:
        return "nothing, the folder is empty"

    named_folders = "no folders"
    if folders:
        more = ", …" if len(folders) > NAMES_IN_MESSAGE else ""
        named_folders = f"folders {', '.join(folders[:NAMES_IN_MESSAGE])}{more}"

    named_files = "no files"
    if kinds:
        counts = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(KINDS_IN_MESSAGE))
        named_files = f"files {counts}"
    return f"{named_folders}; {named_files}"


@contextmanager
def _listing(folder: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be listed: {error.strerror}; make it readable, or remove it from the data"
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Return true for a folder and false for a file. Raise `InputError` for a link to a folder, a pipe or a device."""
    try:
        mode = entry.stat().st_mode
    except OSError:  # a link to itself or to nothing
        return False

    if stat.S_ISDIR(mode):
        if entry.is_symlink():
            raise InputError(f"{entry.path} is a link to a folder; replace the link with the folder, or remove it")
        return True
    if not stat.S_ISREG(mode):
        raise InputError(f"{entry.path} is not a regular file, but a pipe, socket or device; remove it from the data")
    return False
