"""A source that is a table: one row for each image, CSV or Parquet. Paths are absolute, or relative to its folder."""

import os
from pathlib import Path
from typing import Any

import pandas as pd

from components.ingest.sources.layouts import FILE_TYPES, as_files
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError

TABLE_SUFFIXES = (".csv", ".parquet")
REQUIRED, OPTIONAL = ["path", "label"], ["group", "surface", "mask"]
LABELS = {"0": 0, "1": 1, CLASSES[0]: 0, CLASSES[1]: 1}


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of images.

    Args:
        path: CSV or Parquet with the columns path and label (0, 1, no_crack, crack), and, if wanted, group (the photo),
            surface and mask (a path). An empty cell of these three means unknown.

    Returns:
        Its images, ordered by path: a table with the columns of `layouts.FILE_TYPES`.

    Raises:
        InputError: It is not such a table, a label is unknown, a path occurs twice, or a file is missing; the message
            names the row.
    """
    table = _read(path)
    _check_columns(path, list(table.columns))

    files: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(table.to_dict("records"), start=1):
        where = f"{path}, row {number}"
        file = _file(row, where, path.parent)
        if file["path"] in files:
            raise InputError(f"{where}: the path {file['path']} occurs twice; keep one row for each image")
        files[file["path"]] = file
    if not files:
        raise InputError(f"{path} has no rows; add one for each image")
    return as_files(pd.DataFrame(list(files.values()), columns=list(FILE_TYPES)))


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
        else:
            table = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pandas' and Arrow's parsers raise subclasses of ValueError
        raise InputError(
            f"{path} cannot be read as a table: {error}; write a CSV or Parquet table with the columns path and label"
        ) from error
    return table.astype(object).where(table.notna(), None)


def _check_columns(path: Path, columns: list[str]) -> None:
    problems = []
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        problems.append(f"lacks {', '.join(missing)}")

    unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
    if unknown:
        problems.append(f"has {', '.join(unknown)}")
    if problems:
        raise InputError(
            f"{path} {'; '.join(problems)}: its columns must be path and label, and may be {', '.join(OPTIONAL)}"
        )


def _file(row: dict[str, Any], where: str, folder: Path) -> dict[str, Any]:
    """One row of a table with the columns of `FILE_TYPES`."""
    cells: dict[str, str | None] = {}
    for name, value in row.items():
        cells[name] = None if value is None else str(value).strip() or None

    path = cells["path"]
    label = cells["label"]
    mask = cells.get("mask")
    if path is None:
        raise InputError(f"{where}: the path is missing")
    if label not in LABELS:
        raise InputError(f"{where} ({path}): the label is {row['label']!r}; it must be one of {', '.join(LABELS)}")
    for file in filter(None, (path, mask)):
        if not (folder / file).is_file():
            raise InputError(f"{where}: there is no file {folder / file}; correct the row, or add the file")

    return {
        "path": os.path.normpath(_from_folder(path, folder)),
        "label": LABELS[label],
        "surface": cells.get("surface") or "unknown",
        "photo": cells.get("group"),
        "mask": mask and _from_folder(mask, folder),
    }


def _from_folder(path: str, folder: Path) -> str:
    """A path as it is seen from the table's folder; the way may lead out of the folder."""
    return os.path.relpath(path, folder.resolve()) if os.path.isabs(path) else path
