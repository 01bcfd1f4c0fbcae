"""The table of a source's files, one row for each image. A source can have very many files."""

from collections.abc import Iterator

import pandas as pd

from components.shared.errors import InputError
from components.shared.name_search import first_groups

FILE_TYPES = {
    "path": "str",  # relative to the source's folder, with slashes
    "label": "int64",  # 0 no_crack, 1 crack
    "surface": "str",  # deck, pavement, wall or unknown
    "photo": "str",  # the photo that the tile was cut from; missing if it is not known
    "mask": "str",  # path of the tile's mask, relative to the source's folder; missing if the tile has no mask
}


def as_files(table: pd.DataFrame) -> pd.DataFrame:
    """Convert a table to the columns and types of `FILE_TYPES`, ordered by path.

    Raises:
        InputError: A name is not UTF-8.
    """
    try:
        return table.astype(FILE_TYPES).sort_values("path", ignore_index=True)
    except UnicodeEncodeError as error:
        raise InputError(f"the name {error.object!r} is not UTF-8; rename the file") from error


def with_photos(files: pd.DataFrame, pattern: str) -> pd.DataFrame:
    """Fill in the column `photo`. The pattern finds the name of the photo in the file name. Return the new table.

    Args:
        files: Table with the columns of `FILE_TYPES`.
        pattern: Regular expression on the file name. Its first capturing group matches the name of the photo.

    Raises:
        InputError: A name does not match the pattern, the capturing group is empty, or the search takes too long.
    """
    paths = files["path"].tolist()
    photos = first_groups(pattern, [name_of(path) for path in paths])
    missed = [path for path, photo in zip(paths, photos, strict=True) if not photo]

    if missed:
        raise InputError(
            f"group_pattern {pattern!r} finds no photo in {len(missed)} of {len(photos)} names, such as {missed[0]!r}; "
            "change the pattern, because otherwise tiles of one photo could be put in different splits"
        )
    return files.assign(photo=pd.array(photos, dtype="str"))


def name_of(path: str) -> str:
    """Return the part of a path after the last slash."""
    return path.rpartition("/")[2]


def folder_of(path: str) -> str:
    """Return a path without its last part. Return "" if the path has only one part."""
    return path.rpartition("/")[0]


def folders_around(path: str) -> Iterator[str]:
    """Yield the folder of a path, then the folder around this folder, and so on. The last one is ""."""
    while path:
        path = folder_of(path)
        yield path
