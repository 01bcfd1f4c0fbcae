"""Read tables from spreadsheet programs: find the text encoding, the separator, and the meaning of the columns."""

import codecs
import csv
import io
from operator import itemgetter
from typing import NamedTuple

import pandas as pd

from components.shared.data.class_names import simple_name
from components.shared.errors import InputError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# Our name of each column -> the names that we accept for it, in the form that `simple_name` returns.
NAMES_OF_COLUMN = {
    "path": ("path", "file", "filename", "filepath", "image", "imagepath", "imagefile"),
    "label": ("label", "class", "cracked"),
    "group": ("group", "photo"),
    "surface": ("surface",),
    "mask": ("mask", "maskpath", "maskfile"),
}
REQUIRED, OPTIONAL = ["path", "label"], ["group", "surface", "mask"]
NAMES_OF_INDEX = ("", "index", "unnamed0", "id", "no", "nr", "number")
NAMELESS = "Unnamed: "  # pandas gives such a name to a column without a name
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SEPARATOR_LINE = "sep="  # some tables of Excel begin with a line of this text and the separator


class Reading(NamedTuple):
    """A table whose columns have our names, and sentences for the user that say how we read the table."""

    table: pd.DataFrame
    understood: list[str]


def read_csv(data: bytes, where: str) -> Reading:
    """Read a CSV table with one of the SEPARATORS. All cells are texts. An empty cell is a missing value.

    Raises:
        InputError: The table can be read in two ways, or its columns are not clear.
        ValueError: pandas cannot read the table.
    """
    text, encoding = _decoded(data)
    separator, text = _separator(text.lstrip("\r\n"), where)
    text = _with_whole_header(text, separator)
    cells = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, na_values=[""])
    table, understood = name_columns(cells, where)
    if (separator, encoding) != (",", "UTF-8"):
        understood.insert(0, f"the table is {encoding} text with {SEPARATORS[separator]} between the columns")
    return Reading(table, understood)


def name_columns(table: pd.DataFrame, where: str) -> Reading:
    """Give the columns our names. Drop empty rows, nameless empty columns, and a column that only numbers the rows.

    The index of a row is the number of rows before it, empty rows included.

    Raises:
        InputError: A required column is missing, two columns have the same meaning, or we do not know the
            meaning of a column.
    """
    table = table.reset_index(drop=True).dropna(how="all")
    nameless = [column for column in table.columns if str(column).startswith(NAMELESS) and table[column].isna().all()]
    table = table.drop(columns=nameless)

    column_of_name: dict[str, str] = {}
    unknown, dropped = [], []
    for column in table.columns:
        name = _meaning(str(column))
        if name is None and _numbers_rows(table[column], str(column)):
            dropped.append(column)
        elif name is None:
            unknown.append(str(column))
        elif name in column_of_name:
            raise InputError(
                f"{where}: both columns {column_of_name[name]!r} and {column!r} can be the {name}; delete or rename one"
            )
        else:
            column_of_name[name] = column
    _check_columns(where, column_of_name, unknown)

    understood = []
    renamed = [f"{column} as {name}" for name, column in column_of_name.items() if column != name]
    if renamed:
        understood.append(f"these columns are read under other names: {', '.join(renamed)}")
    if dropped:
        understood.append(f"the column {str(dropped[0])!r} is ignored, because it only numbers the rows")
    chosen = table[list(column_of_name.values())]
    return Reading(chosen.set_axis(list(column_of_name), axis=1), understood)


def _decoded(data: bytes) -> tuple[str, str]:
    """Return the text and the name of its encoding. Spreadsheets write UTF-8, UTF-16 or Windows code page 1252."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding), "UTF-8" if mark == codecs.BOM_UTF8 else "UTF-16"
    if data[1:2] == b"\0":
        return data.decode("utf-16-le"), "UTF-16"
    try:
        return data.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        return data.decode("cp1252"), "Latin-1"


def _separator(text: str, where: str) -> tuple[str, str]:
    """Return the separator, and the text without the line `sep=…` if there is one.

    Raises:
        InputError: Several separators fit: with each of them, the first line has the columns path and label.
    """
    header, _, rest = text.partition("\n")
    if header.startswith(SEPARATOR_LINE) and header.strip().removeprefix(SEPARATOR_LINE) in SEPARATORS:
        return header.strip().removeprefix(SEPARATOR_LINE), rest

    fitting = []
    for separator in SEPARATORS:
        names = {_meaning(cell) for cell in next(csv.reader([header.strip("\r")], delimiter=separator), [])}
        if names.issuperset(REQUIRED):
            fitting.append(separator)
    if len(fitting) > 1:
        readings = " or ".join(SEPARATORS[separator] for separator in fitting)
        raise InputError(
            f"{where}: the first line {header.strip()!r} can be split at {readings}, and each way gives the columns "
            "path and label; save the table with one separator"
        )
    return (fitting or [","])[0], text


def _with_whole_header(text: str, separator: str) -> str:
    """Add nameless columns to the first line if other lines have more cells. Return the whole text.

    Some programs end all lines except the first one with a separator. Others number the rows, but give the first line
    no cell for the numbers.
    """
    header, *rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator)) or [[]]
    missing = max(map(len, rows), default=0) - len(header)
    if missing < 1:
        return text

    first_line, _, other_lines = text.partition("\n")
    first_cells = pd.Series(map(itemgetter(0), filter(None, rows)))
    if missing == 1 and _numbers_rows(first_cells, ""):
        return f"{separator}{text}"
    whole_header = first_line.rstrip("\r") + separator * missing
    return f"{whole_header}\n{other_lines}"


def _meaning(column: str) -> str | None:
    simple = simple_name(column)
    for name, names in NAMES_OF_COLUMN.items():
        if simple in names:
            return name
    return None


def _numbers_rows(cells: pd.Series, column: str) -> bool:
    if simple_name(column) not in NAMES_OF_INDEX:
        return False
    numbers = pd.to_numeric(cells, errors="coerce")
    return bool((numbers.diff().iloc[1:] == 1).all() and numbers.iloc[:1].isin([0, 1]).all())


def _check_columns(where: str, column_of_name: dict[str, str], unknown: list[str]) -> None:
    problems = []
    missing = [name for name in REQUIRED if name not in column_of_name]
    if missing:
        problems.append(f"lacks the columns {', '.join(missing)}")
    if unknown:
        problems.append(f"has the unknown columns {', '.join(unknown)}")
    if problems:
        raise InputError(
            f"{where} {'; '.join(problems)}; the columns path and label are required, {', '.join(OPTIONAL)} are "
            "optional, and other columns are not allowed"
        )
