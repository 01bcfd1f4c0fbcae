"""List folders, and report each folder that cannot be listed. Otherwise, its images would be lost without a warning."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from components.shared.data.image_kinds import is_hidden
from components.shared.errors import InputError

NAMES_IN_MESSAGE = 8
KINDS_IN_MESSAGE = 5


def entries(folder: Path) -> list[str]:
    """Return the names of everything in a folder, in order.

    Raises:
        InputError: The folder cannot be listed.
    """
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(_unlistable(folder, error)) from error


def is_listable(folder: Path | str) -> bool:
    """Return whether a folder can be listed."""
    try:
        os.scandir(folder).close()
    except OSError:
        return False
    return True


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
        InputError: The folder cannot be listed, or it has a pipe, socket or device.
    """
    files = []
    for name in entries(root / part):
        path = root / part / name
        if not path.is_dir():
            if path.exists() and not path.is_file():
                raise InputError(_odd(path))
            files.append(f"{part}/{name}".strip("/"))
    return files


class Found(NamedTuple):
    """One path below a folder. It is a file, or something that cannot be read as a file.

    Attributes:
        path: Path relative to the root, with slashes.
        problem: "" for a file. Otherwise the reason why it cannot be used, and what to do.
    """

    path: str
    problem: str = ""


def everything_below(root: Path, part: str = "") -> Iterator[Found]:
    """Yield the files of a folder and of its subfolders, and everything that cannot be used, in no fixed order.

    A hidden folder is not entered. Its own path is yielded instead of its files, so that the caller can report it. A
    broken link is yielded as a file. The reader of the file refuses it later and reports its name.

    Args:
        root: The folder that the paths are relative to.
        part: The folder to list, relative to the root. If it does not exist, nothing is yielded.

    Yields:
        A file, a broken link or a hidden folder has an empty `problem`. A pipe, a socket, a device, a link to a folder,
        or a folder that cannot be listed has the reason in `problem`.
    """
    if not os.path.lexists(f"{root}/{part}"):
        return

    folders = [part]
    while folders:
        folder = folders.pop()
        place = str(root / folder)
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}".lstrip("/")
                    if is_hidden(entry.name):
                        yield Found(path)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                    else:
                        yield Found(path, _problem(entry))
        except OSError as error:
            yield Found(folder, _unlistable(place, error))


def files_below(root: Path, part: str = "") -> Iterator[str]:
    """Yield the same paths as `everything_below`, but raise an error for the first path that has a problem.

    Yields:
        Paths relative to the root.

    Raises:
        InputError: A folder cannot be listed, a link leads to a folder, or something is not a regular file.
    """
    for found in everything_below(root, part):
        if found.problem:
            raise InputError(found.problem)
        yield found.path


def contents(folder: Path) -> str:
    """Return a description of a folder for messages: the names of its folders, and the number of files of each kind."""
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


def _unlistable(folder: Path | str, error: OSError) -> str:
    return f"the folder {folder} cannot be listed: {error.strerror}; make it readable, or remove it from the data"


def _problem(entry: os.DirEntry[str]) -> str:
    """Return why an entry of a folder cannot be used as a file. `entry` must not be a folder; it can be a link to one.

    The result is "" for a regular file and for a broken link.
    """
    try:
        mode = entry.stat().st_mode
    except OSError:  # a link to itself or to nothing
        return ""

    if stat.S_ISDIR(mode):
        return f"{entry.path} is a link to a folder; replace the link with the folder, or remove it"
    if not stat.S_ISREG(mode):
        return _odd(entry.path)
    return ""


def _odd(path: Path | str) -> str:
    return f"{path} is not a regular file, but a pipe, socket or device; remove it from the data"
