"""Read a CSV table of boxes and polygons, one row for each shape.

The table has the columns `photo` and `class`. It also has the columns `left`, `top`, `right` and `bottom` for boxes, or
the column `polygon`, or all of them. A polygon is written in the form `x y, x y, …`, with one pair for each corner, or
in the form `POLYGON ((x y, …))` (WKT). All coordinates are in pixels of the photo. If the optional columns
`photo_width` and `photo_height` are filled in, they must agree with the photo. A row in which only `photo` is filled in
means that a person found nothing in the photo.
"""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

from components.shared.data.annotations.fields import (
    NO_MEANINGS,
    box,
    classes_of,
    number,
    numbers,
    polygon,
    side,
    text,
)
from components.shared.data.annotations.shapes import ImageAnnotation, Shape
from components.shared.errors import InputError

BOX = ("left", "top", "right", "bottom")
SIZE = ("photo_width", "photo_height")
COLUMNS = ("photo", "class", *BOX, "polygon", *SIZE)
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_WELL_KNOWN = re.compile(r"\s*POLYGON\s*\(\s*\(([^()]*)\)\s*\)\s*", re.IGNORECASE)


def delimiter_of(content: str, path: Path) -> str | None:
    """Return the delimiter of a table of shapes. Return None if the content is not such a table.

    Raises:
        InputError: The first line can be read with more than one delimiter.
    """
    header = content.lstrip().partition("\n")[0].strip()
    fitting = []
    for delimiter in DELIMITERS:
        columns = {name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])}
        if columns >= {"photo", "class"} and (columns >= set(BOX) or "polygon" in columns):
            fitting.append(delimiter)
    if len(fitting) > 1:
        readings = " or ".join(DELIMITERS[one] for one in fitting)
        raise InputError(
            f"{path}: the first line {header!r} can be split at {readings}; save the table with only one separator"
        )
    return fitting[0] if fitting else None


def read_table(
    path: Path, content: str, delimiter: str, meanings: Mapping[str, str] = NO_MEANINGS
) -> list[ImageAnnotation]:
    """Read a table of shapes. Every photo of the table gives one annotation.

    Args:
        path: The file, for messages.
        content: The text of the file.
        delimiter: The character between two cells. If it is not a comma, numbers of a box can have a decimal comma.
        meanings: Class name -> crack or no_crack. Names such as "Cracked" and "Non-cracked" need no entry.

    Raises:
        InputError: A column is unknown, or a row cannot be used. The message names the line.
    """
    rows = _rows(path, content, delimiter)
    classes = classes_of([row["class"] for _, row in rows if row["class"]], path, meanings)
    shapes: dict[str, list[Shape]] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for where, row in rows:
        photo = text(row["photo"], f"{where}, photo")
        size = _size(row, where)
        if sizes.setdefault(photo, size) != size:
            raise InputError(f"{where}: {photo} has another size than in earlier rows; correct {' or '.join(SIZE)}")
        shapes.setdefault(photo, []).extend(_shapes(row, classes, where))

    annotations = []
    for photo, own in shapes.items():
        width, height = sizes[photo] or (None, None)
        annotations.append(ImageAnnotation(photo, width, height, shapes=tuple(own), is_in_pixels=True))
    return annotations


def _rows(path: Path, content: str, delimiter: str) -> list[tuple[str, dict[str, str]]]:
    """Return the place of each row in the file, and its cells: column -> text. Missing cells are empty."""
    reader = csv.reader(io.StringIO(content.lstrip(), newline=""), delimiter=delimiter, strict=True)
    header = [name.strip().lower() for name in next(reader)]
    while header and not header[-1]:  # some programs end every line with a delimiter
        header.pop()
    wrong = [name for name in header if name not in COLUMNS or header.count(name) > 1]
    if wrong:
        raise InputError(
            f"{path} has the columns {', '.join(wrong)}, which are unknown or appear twice; a table of shapes can have "
            f"{', '.join(COLUMNS)}, each once"
        )

    rows = []
    try:
        for cells in reader:
            where = f"{path}, line {reader.line_num}"
            more = cells[len(header) :]
            if any(map(str.strip, more)) or (more and delimiter == ","):  # an unquoted polygon has commas
                raise InputError(
                    f"{where} has {len(cells)} cells, but the first line has {len(header)}; put the polygon in "
                    "quotation marks"
                )
            row = dict.fromkeys(COLUMNS, "") | dict(zip(header, map(str.strip, cells), strict=False))
            if delimiter != ",":
                row |= {name: row[name].replace(",", ".") for name in BOX}
            if any(row.values()):
                rows.append((where, row))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num} is not valid CSV: {error}; save it again") from error
    return rows


def _size(row: dict[str, str], where: str) -> tuple[int, int] | None:
    if not any(row[name] for name in SIZE):
        return None
    width, height = (side(row[name], f"{where}, {name}") for name in SIZE)
    return width, height


def _shapes(row: dict[str, str], classes: dict[str, str], where: str) -> list[Shape]:
    has_box, has_polygon = any(row[name] for name in BOX), bool(row["polygon"])
    if has_box and has_polygon:
        raise InputError(f"{where} has a box and a polygon; write each of them on its own line")
    if not (has_box or has_polygon or row["class"]):
        return []
    if not row["class"] or not (has_box or has_polygon):
        found, missing = ("class", "shape") if row["class"] else ("shape", "class")
        raise InputError(f"{where} has a {found}, but no {missing}; write both, or leave both empty")

    label = classes[row["class"]]
    if has_box:
        left, top, right, bottom = (number(row[name], f"{where}, {name}") for name in BOX)
        return [box(label, left, top, right, bottom, where)]
    well_known = _WELL_KNOWN.fullmatch(row["polygon"])
    pairs = [pair.split() for pair in (well_known[1] if well_known else row["polygon"]).split(",")]
    corners = numbers(pairs, f"{where}, polygon")
    if well_known and len(corners) > 3 and (corners[0] == corners[-1]).all():
        corners = corners[:-1]
    return [Shape(label, polygon(corners, where))]
