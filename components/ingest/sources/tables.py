"""A source that is a table: one row for each picture, CSV or Parquet, with paths relative to the table's folder."""

import os
from pathlib import Path

import pandas as pd

from components.ingest.sources.layouts import FILES, as_files
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError

SUFFIXES = (".csv", ".parquet")
NEEDED, OPTIONAL = ["path", "label"], ["group", "surface", "mask"]
LABELS = {"0": 0, "1": 1, CLASSES[0]: 0, CLASSES[1]: 1}


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of pictures.

    Args:
        path: CSV or Parquet with the columns path and label (0, 1, no_crack, crack), and if wanted group (the photo),
            surface and mask (a path); empty cells of these are unknown.

    Returns:
        Its pictures, ordered by path: a table of the columns `layouts.FILES`.

    Raises:
        InputError: Not such a table, a label is another one, a path stands twice, or a file is missing; names the row.
    """
    table = _read(path)
    columns = list(table.columns)
    missing = [name for name in NEEDED if name not in columns]
    unknown = [name for name in columns if name not in NEEDED + OPTIONAL]
    if missing or unknown:
        wrong = "; ".join(
            f"{what} {', '.join(names)}" for what, names in (("lacks", missing), ("has", unknown)) if names
        )
        raise InputError(f"{path} {wrong}: its columns must be path and label, and may be {', '.join(OPTIONAL)}")
    files: dict[str, tuple] = {}
    for number, row in enumerate(table.to_dict("records"), start=1):
        file = _file(row, f"{path}, row {number}", path.parent)
        if file[0] in files:
            raise InputError(f"{path}, row {number}: the path {file[0]} stands twice; keep one row for each picture")
        files[file[0]] = file
    if not files:
        raise InputError(f"{path} has no rows")
    return as_files(pd.DataFrame(files.values(), columns=list(FILES)))


def _read(path: Path) -> pd.DataFrame:
    try:
        table = (
            pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
            if path.suffix.lower() == ".csv"
            else pd.read_parquet(path)
        )
    except (OSError, ValueError) as error:  # pandas' and Arrow's parsers raise subclasses of ValueError
        raise InputError(f"{path} cannot be read as a table: {error}") from error
    return table.astype(object).where(table.notna(), None)


def _file(row: dict, where: str, folder: Path) -> tuple[str, int, str, str | None, str | None]:
    cells = {name: None if value is None else str(value).strip() or None for name, value in row.items()}
    path, label, mask = cells["path"], cells["label"], cells.get("mask")
    if path is None:
        raise InputError(f"{where}: the path is missing")
    if label not in LABELS:
        raise InputError(f"{where} ({path}): the label is {row['label']!r}; it must be one of {', '.join(LABELS)}")
    for name in filter(None, (path, mask)):
        if not (folder / name).is_file():
            raise InputError(f"{where}: there is no file {folder / name}")
    return os.path.normpath(path), LABELS[label], cells.get("surface") or "unknown", cells.get("group"), mask
