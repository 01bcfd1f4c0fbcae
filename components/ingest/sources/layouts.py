"""Recognise the layout of a folder of labelled images: find the label, surface, photo and mask of each file.

- ccic: `Positive/`, `Negative/`. The photo of a tile is unknown, because the names do not contain it.
- sdnet2018: `D/CD`, `D/UD` (deck), `P/CP`, `P/UP` (pavement), `W/CW`, `W/UW` (wall). `7001-12.jpg` is tile 12 of photo
  7001. A few names end in `_2`.
- folders: `crack/`, `no_crack/`, and optionally `masks/`. A mask has its image's name, but its suffix can differ.

The files are rows of a table (`FILE_TYPES`), because there can be very many files.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from components.ingest.sources.name_search import first_groups
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError

FILE_TYPES = {
    "path": "str",  # relative to the source's folder, with slashes
    "label": "int64",  # 0 no_crack, 1 crack
    "surface": "str",  # deck, pavement, wall or unknown
    "photo": "str",  # the photo that the tile was cut from; missing if it is not known
    "mask": "str",  # path of the tile's mask, relative to the source's folder; missing without a mask
}
NO_CRACK, CRACK = 0, 1
# By layout, the label and the surface of each class folder.
CLASS_FOLDERS = {
    "ccic": {"Positive": (CRACK, "unknown"), "Negative": (NO_CRACK, "unknown")},
    "sdnet2018": {
        "D/CD": (CRACK, "deck"),
        "D/UD": (NO_CRACK, "deck"),
        "P/CP": (CRACK, "pavement"),
        "P/UP": (NO_CRACK, "pavement"),
        "W/CW": (CRACK, "wall"),
        "W/UW": (NO_CRACK, "wall"),
    },
    "folders": {"crack": (CRACK, "unknown"), "no_crack": (NO_CRACK, "unknown")},
}
SDNET2018_NAME = re.compile(r"(\d+)-\d+(?:_\d+)?\.")
HIDDEN_FILES = (".", "Thumbs.db")
NAMES_IN_MESSAGE = 8
KINDS_IN_MESSAGE = 5


def find_layout(folder: Path, layout: str) -> tuple[str, Path]:
    """Find the layout of a folder.

    Args:
        folder: The source. If a folder holds only one other folder, we also search the inner folder.
        layout: A layout's name, or "auto".

    Returns:
        The layout and the folder that has it.

    Raises:
        InputError: The folder is empty, no layout fits, or a class has no files. The message shows what we expected and
            what we found.
    """
    candidates = list(CLASS_FOLDERS) if layout == "auto" else [layout]
    for root in _roots(folder):
        for name in candidates:
            if any((root / part).is_dir() for part in CLASS_FOLDERS[name]):
                _check_classes(root, name)
                return name, root

    expected = "; ".join(f"{name}: {', '.join(CLASS_FOLDERS[name])}" for name in candidates)
    raise InputError(
        f"{folder} has none of the known layouts. Expected folders ({expected}). Found: {_contents(folder)}. Check "
        "the path, rename the folders, or list the images in a CSV or Parquet table"
    )


def as_files(table: pd.DataFrame) -> pd.DataFrame:
    """Convert a table to the columns and types of `FILE_TYPES`, ordered by path.

    Raises:
        InputError: A name is not UTF-8.
    """
    try:
        return table.astype(FILE_TYPES).sort_values("path", ignore_index=True)
    except UnicodeEncodeError as error:
        raise InputError(f"the name {error.object!r} is not UTF-8; rename the file") from error


def list_files(root: Path, layout: str, group_pattern: str | None = None) -> pd.DataFrame:
    """List the files of the class folders, ordered by path, without hidden files.

    Args:
        root: Folder that has the layout.
        layout: A key of `CLASS_FOLDERS`.
        group_pattern: Regular expression on the file name; its first group is the photo. It replaces the
            photos of the layout.

    Returns:
        Table with the columns of `FILE_TYPES`.

    Raises:
        InputError: The pattern does not match every name, or a name is not UTF-8.
    """
    mask_of_stem = {_stem(path): path for path in _files(root, "masks")}

    tables = []
    for part, (label, surface) in CLASS_FOLDERS[layout].items():
        paths = list(_files(root, part))
        photos = [_sdnet2018_photo(surface, path) for path in paths] if layout == "sdnet2018" else None
        masks = [mask_of_stem.get(_stem(path)) for path in paths] if mask_of_stem else None
        columns = {"path": paths, "label": label, "surface": surface, "photo": photos, "mask": masks}
        tables.append(pd.DataFrame(columns, dtype=object))

    files = as_files(pd.concat(tables))
    return files if group_pattern is None else with_photos(files, group_pattern)


def _sdnet2018_photo(surface: str, path: str) -> str | None:
    match = SDNET2018_NAME.match(_name(path))
    return f"{surface}/{match[1]}" if match else None


def with_photos(files: pd.DataFrame, pattern: str) -> pd.DataFrame:
    """Return the files with the photos that a pattern finds in their names.

    Raises:
        InputError: The pattern does not match a name, its group is empty there, or it takes too long.
    """
    paths = files["path"].tolist()
    photos = first_groups(pattern, [_name(path) for path in paths])
    missed = [path for path, photo in zip(paths, photos, strict=True) if not photo]

    if missed:
        raise InputError(
            f"group_pattern {pattern!r} does not match {len(missed)} of {len(photos)} names, such as {missed[0]!r}; "
            "change the pattern, because tiles of an unknown photo could be put in different splits"
        )
    return files.assign(photo=pd.array(photos, dtype="str"))


def _roots(folder: Path) -> Iterator[Path]:
    """Yield the folder. If it holds only one other folder, also yield the inner folder, and so on."""
    while True:
        yield folder
        with _listing(folder):
            entries = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
        if len(entries) != 1 or not entries[0].is_dir():
            return
        folder = entries[0]


def _files(root: Path, part: str) -> Iterator[str]:
    """Yield the paths of the files below a part of the root, relative to the root, in no fixed order.

    A link that leads nowhere is among them: the examination refuses it with its name.

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
                if _is_folder(entry):
                    folders.append(path)
                elif not entry.name.startswith(HIDDEN_FILES):
                    yield path


@contextmanager
def _listing(folder: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the folder {folder} cannot be listed: {error.strerror}; make it readable, or remove it from the data"
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, and not a file. Raises `InputError` if it is neither, or a link to a folder."""
    try:
        mode = entry.stat().st_mode
    except OSError:  # a link to itself or to nothing
        return False

    if stat.S_ISDIR(mode):
        if entry.is_symlink():
            raise InputError(
                f"{entry.path} is a link to a folder; replace the link with the folder, or remove the link"
            )
        return True
    if not stat.S_ISREG(mode):
        raise InputError(f"{entry.path} is not a regular file, but a pipe, socket or device; remove it from the data")
    return False


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _stem(path: str) -> str:
    return os.path.splitext(_name(path))[0]


def _check_classes(root: Path, layout: str) -> None:
    missing = []
    for label in (CRACK, NO_CRACK):
        parts = []
        has_files = False
        for part, (own_label, _) in CLASS_FOLDERS[layout].items():
            if own_label == label:
                parts.append(part)
                has_files = has_files or next(_files(root, part), None) is not None
        if not has_files:
            missing.append(f"images of the class {CLASSES[label]} in {' or '.join(parts)}")

    if missing:
        problem = "only one class" if len(missing) == 1 else "no images"
        raise InputError(
            f"{root} has {problem}: layout {layout} expects {' and '.join(missing)}, but there are none. Found: "
            f"{_contents(root)}. Add the missing images, or choose another layout"
        )


def _contents(folder: Path) -> str:
    """Describe the content of a folder for messages."""
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
