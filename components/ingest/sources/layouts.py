"""How a folder of labelled pictures is laid out: which file has which label, surface, photo and mask.

- ccic: `Positive/`, `Negative/`; the names tell no photo.
- sdnet2018: `D/CD`, `D/UD` (deck), `P/CP`, `P/UP` (pavement), `W/CW`, `W/UW` (wall); `7001-12.jpg` is tile 12 of photo
  7001, and a few names end in `_2`.
- folders: `crack/`, `no_crack/`, and `masks/` (optional) with one file for each masked picture, of the same stem.

Files are kept in tables (`FILES`), one row each: there may be very many.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd

from components.shared.errors import InputError

FILES = {
    "path": "str",  # relative to the source's folder, with slashes
    "label": "int64",  # 0 no_crack, 1 crack
    "surface": "str",  # deck, pavement, wall or unknown
    "photo": "str",  # that it was cut from; missing where it is not known
    "mask": "str",  # name of its mask, relative to the source's folder; missing without one
}
SURFACES = {"D": "deck", "P": "pavement", "W": "wall"}
FOLDERS = {  # class folders by layout: (label, surface)
    "ccic": {"Positive": (1, "unknown"), "Negative": (0, "unknown")},
    "sdnet2018": {
        f"{letter}/{kind}{letter}": (label, surface)
        for letter, surface in SURFACES.items()
        for kind, label in (("C", 1), ("U", 0))
    },
    "folders": {"crack": (1, "unknown"), "no_crack": (0, "unknown")},
}
PHOTO = re.compile(r"(\d+)-\d+(?:_\d+)?\.")  # of SDNET2018's names


def find_layout(folder: Path, layout: str) -> tuple[str, Path]:
    """Find out how a folder is laid out.

    Args:
        folder: The source; a folder that holds nothing but one other folder stands for that one.
        layout: A layout's name, or "auto".

    Returns:
        The layout and the folder that has it.

    Raises:
        InputError: Nothing there, no layout fits, or a class has no folder; says what was looked for and found.
    """
    wanted = list(FOLDERS) if layout == "auto" else [layout]
    for root in _roots(folder):
        found = [name for name in wanted if any((root / part).is_dir() for part in FOLDERS[name])]
        if found:
            _check_classes(root, found[0])
            return found[0], root
    looked = "; ".join(f"{name}: {', '.join(FOLDERS[name])}" for name in wanted)
    raise InputError(f"{folder} has no layout that is known. Looked for folders ({looked}). Found: {_contents(folder)}")


def as_files(table: pd.DataFrame) -> pd.DataFrame:
    """A table of the columns `FILES`, with their types, ordered by path. Raises `InputError` where one is not UTF-8."""
    try:
        return table.astype(FILES).sort_values("path", ignore_index=True)
    except UnicodeEncodeError as error:
        raise InputError(f"the name {error.object!r} is not UTF-8; rename it") from error


def list_files(root: Path, layout: str, group_pattern: str | None = None) -> pd.DataFrame:
    """List the files of the class folders, ordered by name; hidden files are passed over.

    Args:
        root: Folder that has the layout.
        layout: A key of `FOLDERS`.
        group_pattern: Regular expression on the file name whose first group is the photo; wins over the layout's own.

    Returns:
        Table of the columns `FILES`.

    Raises:
        InputError: The pattern does not match every name, or a name is not UTF-8.
    """
    masks = {_stem(name): name for name in _files(root, "masks")}
    parts = []
    for part, (label, surface) in FOLDERS[layout].items():
        names = list(_files(root, part))
        photos = [_photo(surface, name) for name in names] if layout == "sdnet2018" else None
        found = [masks.get(_stem(name)) for name in names] if masks else None
        columns = {"path": names, "label": label, "surface": surface, "photo": photos, "mask": found}
        parts.append(pd.DataFrame(columns, dtype=object))
    files = as_files(pd.concat(parts))
    return files if group_pattern is None else with_photos(files, group_pattern)


def _photo(surface: str, name: str) -> str | None:
    match = PHOTO.match(name.rpartition("/")[2])
    return f"{surface}/{match[1]}" if match else None


def with_photos(files: pd.DataFrame, pattern: str) -> pd.DataFrame:
    """The files with the photos that the pattern finds in their names. Raises `InputError` where it finds none."""
    paths = files["path"].tolist()
    matches = [re.search(pattern, path.rpartition("/")[2]) for path in paths]
    photos = [match[1] if match else None for match in matches]
    missed = [path for path, photo in zip(paths, photos, strict=True) if not photo]
    if missed:
        raise InputError(
            f"group_pattern {pattern!r} does not match {len(missed)} of {len(paths)} names, such as {missed[0]!r}: "
            "a tile whose photo is not known could leak between splits"
        )
    return files.assign(photo=pd.array(photos, dtype="str"))


def _roots(folder: Path) -> Iterator[Path]:
    while True:
        yield folder
        entries = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
        if len(entries) != 1 or not entries[0].is_dir():
            return
        folder = entries[0]


def _files(root: Path, part: str) -> Iterator[str]:
    """Names of the files below a part of the root, relative to the root, as they are found: there may be very many."""
    hidden, folders = (".", "Thumbs.db"), [part]
    while folders:
        folder = folders.pop()
        with suppress(OSError), os.scandir(f"{root}/{folder}") as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}"
                if not entry.is_dir():
                    if not entry.name.startswith(hidden):
                        yield name
                elif not entry.is_symlink():
                    folders.append(name)


def _stem(name: str) -> str:
    return os.path.splitext(name.rpartition("/")[2])[0]


def _check_classes(root: Path, layout: str) -> None:
    missing = {}
    for label, name in ((1, "crack"), (0, "no_crack")):
        parts = [part for part, (own, _) in FOLDERS[layout].items() if own == label]
        if not any(True for part in parts for _ in _files(root, part)):
            missing[name] = " or ".join(parts)
    if missing:
        raise InputError(
            f"{root} has {'only one class' if len(missing) == 1 else 'no pictures'}: layout {layout} keeps "
            f"{', '.join(f'{name} in {parts}' for name, parts in missing.items())}, and no file is there. Found: "
            f"{_contents(root)}"
        )


def _contents(folder: Path) -> str:
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    kinds = Counter(path.suffix.lower() or "no suffix" for path in folder.iterdir() if path.is_file())
    files = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(5))
    if not folders and not files:
        return "nothing, the folder is empty"
    named = f"folders {', '.join(folders[:8])}{', …' if len(folders) > 8 else ''}" if folders else "no folders"
    return f"{named}; {'files ' + files if files else 'no files'}"
