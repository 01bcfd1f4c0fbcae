"""Read a source that is a CSV or Parquet table: one row for each image, with paths relative to the table's folder."""

import csv
import io
import os
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from components.ingest.sources.file_table import FILE_TYPES, as_files
from components.ingest.sources.source_listing import Listing, warn_of_missing_masks
from components.ingest.sources.table_columns import Reading, name_columns, read_csv
from components.shared.data.class_names import class_of_label
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from components.shared.regular_file import require_file

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
PLAIN_LABELS = ("0", "1", *CLASSES)


def read_table(path: Path) -> Listing:
    """Read a table of images.

    Args:
        path: CSV or Parquet file. Its columns are path and label, and optionally group (the photo), surface and mask (a
            path). An empty cell in an optional column means unknown. `table_columns.py` lists the encodings,
            separators and other column names that we accept, and `class_names.py` lists the labels.

    Returns:
        The images, ordered by path, and sentences that say how we read the table.

    Raises:
        InputError: The file is not a table with these columns, a label is not clear, a path occurs twice, or a file is
            missing. The message names the row.
    """
    table, understood = _read(path)
    table = table.astype(object).where(table.notna(), None)

    files: dict[str, dict[str, Any]] = {}
    labels: Counter[tuple[str, int]] = Counter()
    for index, row in zip(table.index, table.to_dict("records"), strict=True):
        where = f"{path}, row {index + 1}"
        file = _file(row, where, path.parent)
        if file["path"] in files:
            raise InputError(f"{where}: the path {file['path']} occurs twice; keep only one row for it")
        files[file["path"]] = file
        labels[str(row["label"]).strip(), file["label"]] += 1
    if not files:
        raise InputError(f"{path} has no rows; add one row for each image")

    understood += _labels_understood(labels)
    listed = as_files(pd.DataFrame(list(files.values()), columns=list(FILE_TYPES)))
    return Listing(listed, understood, list(warn_of_missing_masks(listed)))


def _read(path: Path) -> Reading:
    try:
        require_file(path)
        data = path.read_bytes()
        if path.suffix.lower() == ".parquet":
            return name_columns(pd.read_parquet(io.BytesIO(data)), str(path))
        return read_csv(data, str(path))
    except InputError:
        raise
    except (OSError, ValueError, csv.Error) as error:  # the parsers of pandas and Arrow raise subclasses of ValueError
        raise InputError(
            f"{path} cannot be read as a table: {error}; write a CSV or Parquet table with the columns path and label"
        ) from error


def _labels_understood(labels: Counter[tuple[str, int]]) -> list[str]:
    if all(text in PLAIN_LABELS for text, _ in labels):
        return []
    listed = [f"{text} as {CLASSES[label]} ({number})" for (text, label), number in sorted(labels.items())]
    return [f"the labels are read as follows: {', '.join(listed)}"]


def _file(row: dict[str, Any], where: str, folder: Path) -> dict[str, Any]:
    """Check a row of the table, and convert it to the columns of `FILE_TYPES`."""
    cells: dict[str, str | None] = {}
    for name, value in row.items():
        cells[name] = None if value is None else str(value).strip() or None

    path = cells["path"]
    text = cells["label"]
    if path is None:
        raise InputError(f"{where}: the path is missing; write a path, or delete the row")
    label = None if text is None else class_of_label(text)
    if label is None:
        raise InputError(
            f"{where} ({path}): the label is {row['label']!r}; it must be one of {', '.join(PLAIN_LABELS)}, or a word "
            "such as yes or FALSE"
        )

    mask = cells.get("mask")
    return {
        "path": os.path.normpath(_existing(path, where, folder)),
        "label": label,
        "surface": cells.get("surface") or "unknown",
        "photo": cells.get("group"),
        "mask": mask and _existing(mask, where, folder),
    }


def _files(folder: Path, *readings: str) -> list[str]:
    return [reading for reading in dict.fromkeys(readings) if (folder / reading).is_file()]


def _existing(path: str, where: str, folder: Path) -> str:
    """Return the path of a file relative to the table's folder. The file can be outside this folder.

    In a table that was made on Windows, the path can have backslashes instead of slashes.

    Raises:
        InputError: There is no such file, or there are two: one with backslashes in its name, and one with slashes.
    """
    with_slashes = path.replace("\\", "/")
    files = _files(folder, path, with_slashes)
    if not files:  # an accented letter can be one character or two
        files = _files(folder, *(unicodedata.normalize(form, with_slashes) for form in ("NFC", "NFD")))
    if not files:
        raise InputError(f"{where}: there is no file {folder / path}; correct the row, or add the file")
    if len(files) > 1:
        raise InputError(f"{where}: the path can mean two files, {files[0]} and {files[1]}; rename one of them")
    return os.path.relpath(files[0], folder.resolve()) if os.path.isabs(files[0]) else files[0]
