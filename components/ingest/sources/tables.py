"""Read a source that is a CSV or Parquet table. It has one row for each image, with paths relative to its folder."""

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
        path: CSV or Parquet file. Its columns are path and label (0, 1, no_crack, crack), and optionally group (the
            photo), surface and mask (a path). An empty cell in an optional column means unknown.

    Returns:
        The images, ordered by path: a table with the columns of `layouts.FILE_TYPES`.

    Raises:
        InputError: The file is not a table with these columns, a label is unknown, a path occurs twice, or a file is
            missing. The message names the row.
    """
    table = _read(path)
    _check_columns(path, list(table.columns))

    files: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(table.to_dict("records"), start=1):
        where = f"{path}, row {number}"
        file = _file(row, where, path.parent)
        if file["path"] in files:
            raise InputError(f"{where}: the path {file['path']} occurs twice; keep only one row for it")
        files[file["path"]] = file
    if not files:
        raise InputError(f"{path} has no rows; add one row for each image")
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
        problems.append(f"lacks the columns {', '.join(missing)}")

    unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
    if unknown:
        problems.append(f"has the unknown columns {', '.join(unknown)}")
    if problems:
        raise InputError(
            f"{path} {'; '.join(problems)}; the columns path and label are required, {', '.join(OPTIONAL)} are "
            "optional, and other columns are not allowed"
        )


def _file(row: dict[str, Any], where: str, folder: Path) -> dict[str, Any]:
    """Check a row and convert it to the columns of `FILE_TYPES`."""
    cells: dict[str, str | None] = {}
    for name, value in row.items():
        cells[name] = None if value is None else str(value).strip() or None

    path = cells["path"]
    label = cells["label"]
    mask = cells.get("mask")
    if path is None:
        raise InputError(f"{where}: the path is missing; write a path, or delete the row")
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
