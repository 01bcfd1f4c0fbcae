"""Check the values in files of annotations, and convert them. Error messages say what is wrong with a value."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.data.annotations.shapes import Bitmap, Shape, corners
from components.shared.data.class_names import class_of_folder
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from components.shared.regular_file import reason, require_file

MAX_SIDE = 2**20  # pixels; a larger image is a mistake in the file
MAX_BYTES = 2**30  # largest file; its parsed content needs several times as much memory
# A shape in fractions of an image can reach outside the image by at most this fraction of the image's size. Larger
# numbers are not fractions.
FARTHEST_FRACTION = 1.0
# The beginning of a JSON list whose first element is not an object.
_LIST_OF_OTHERS = re.compile(r"\s*\[\s*[^\s{\]]")
NO_MEANINGS: Mapping[str, str] = {}
_SHOWN = 60  # characters of a value in a message


class UnknownClassError(InputError):
    """A file of annotations has a class that is neither crack nor no_crack."""


def read_text(path: Path) -> str:
    """Read a file of annotations as UTF-8. Raise `InputError` if it cannot be read or is too large."""
    try:
        require_file(path)
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InputError(
                f"{path} has {size:,} bytes, more than {MAX_BYTES:,}; split it into several files, each with its "
                "images in a folder of its own"
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}; check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error.reason} at byte {error.start}; save it as UTF-8") from error


def parse_json(path: Path, content: str) -> Any:
    """Parse the content of a JSON file.

    Raises:
        InputError: The content is not valid JSON, or it is a list whose first element is not an object.
    """
    if _LIST_OF_OTHERS.match(content):  # found before parsing, because nested lists can fill the memory
        raise InputError(f"{path} is not a list of objects, but begins with {_shown_text(content)}; export it again")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}; export it again") from error


def classes_of(names: Iterable[str], path: Path, meanings: Mapping[str, str]) -> dict[str, str]:
    """Return crack or no_crack for each class name of a file.

    Args:
        names: The class names, as the file writes them.
        path: The file, for the message.
        meanings: Class name -> crack or no_crack. Names such as "Cracked" and "Non-cracked" need no entry.

    Raises:
        UnknownClassError: A name means neither crack nor no_crack. The message lists all such names.
    """
    classes = {}
    unknown = []
    for name in sorted(set(names)):
        label = class_of_folder(name)
        if name in meanings:
            classes[name] = meanings[name]
        elif label is not None:
            classes[name] = CLASSES[label]
        else:
            unknown.append(repr(name))
    if unknown:
        raise UnknownClassError(
            f"{path}: unknown class {', '.join(unknown)}; we know {' and '.join(CLASSES)}, and names such as Cracked "
            "and Non-cracked. Rename the class, or delete what was drawn with it"
        )
    return classes


def numbers(values: Any, where: str) -> NDArray[np.float64]:
    """Convert numbers to floats. Numbers may be written as text. Raise `InputError` if one is not a finite number."""
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: {_shown(values)} are not numbers; correct them") from error
    if not np.isfinite(array).all():
        raise InputError(f"{where}: {_shown(values)} are not all finite numbers; correct them")
    return array


def number(value: Any, where: str) -> float:
    """Return one finite number. Raise `InputError` if the value is something else."""
    array = numbers(value, where)
    if array.ndim:
        raise InputError(f"{where}: {_shown(value)} is not a number; correct it")
    return float(array)


def side(value: Any, where: str) -> int:
    """Return a width or a height in pixels. Raise `InputError` if it is not a positive whole number."""
    pixels = number(value, where)
    if not 1 <= pixels <= MAX_SIDE or pixels != math.floor(pixels):
        raise InputError(f"{where}: {_shown(value)} is not a width or a height in pixels; correct it")
    return int(pixels)


def text(value: Any, where: str) -> str:
    """Return a text that is not empty. Raise `InputError` if the value is something else."""
    if not isinstance(value, str) or not value:
        raise InputError(f"{where}: {_shown(value)} is not a name; correct it")
    return value


def key_of(value: Any, where: str) -> int | str:
    """Return an id, which is a number or a text. Raise `InputError` if the value is something else."""
    if not isinstance(value, int | str):
        raise InputError(f"{where}: {_shown(value)} is not an id; export the file again")
    return value


def record(value: Any, where: str) -> dict[str, Any]:
    """Return a value from a JSON file. Raise `InputError` if the value is not an object."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: {_shown(value)} is not an object with fields; export the file again")
    return value


def records(value: Any, where: str) -> list[dict[str, Any]]:
    """Return a value from a JSON file. Raise `InputError` if the value is not a list of objects."""
    if not isinstance(value, list):
        raise InputError(f"{where}: {_shown(value)} is not a list; export the file again")
    return [record(one, f"{where} {position}") for position, one in enumerate(value, start=1)]


def polygon(points: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """Return the corners of a polygon, float (n, 2). Raise `InputError` if there are fewer than three."""
    if points.ndim == 1 and points.size % 2 == 0:
        points = points.reshape(-1, 2)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise InputError(f"{where}: a polygon needs three corners or more, each with x and y; correct or delete it")
    return points


def fractions(values: NDArray[np.float64], where: str, whole: float = 1.0) -> NDArray[np.float64]:
    """Return coordinates as fractions of an image.

    Args:
        values: Coordinates.
        where: The place in the file, for messages.
        whole: The coordinate of the right and lower edge of the image: 1 for fractions, 100 for per cent.

    Raises:
        InputError: A coordinate is far outside the image: below -100 % or above 200 % of the width or height.
    """
    found = values / whole
    if (found < -FARTHEST_FRACTION).any() or (found > 1 + FARTHEST_FRACTION).any():
        farthest = values.flat[np.abs(found - 0.5).argmax()]
        raise InputError(
            f"{where}: {farthest:g} is far outside the image, whose coordinates go from 0 to {whole:g}. The file may "
            "have coordinates in pixels; export it again"
        )
    return found


def box(label: str, left: float, top: float, right: float, bottom: float, where: str) -> Shape:
    """Return a box. Raise `InputError` if it has no area."""
    if right <= left or bottom <= top:
        raise InputError(f"{where}: the box from {left:g}, {top:g} to {right:g}, {bottom:g} has no area; delete it")
    return Shape(label, corners(left, top, right, bottom), is_box=True)


def rotated_box(
    label: str, edges: tuple[float, float, float, float], degrees: float, pivot: tuple[float, float], where: str
) -> Shape:
    """Return a rotated box.

    Args:
        label: The class.
        edges: left, top, right and bottom before the rotation, pixels.
        degrees: Angle of the rotation, clockwise.
        pivot: x and y of the centre of the rotation, pixels.
        where: The place in the file, for messages.

    Raises:
        InputError: The box has no area.
    """
    upright = box(label, *edges, where)
    if degrees % 360 == 0:
        return upright
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return Shape(label, (upright.polygon - pivot) @ turn + pivot, is_box=True)


def bitmap(
    label: str, counts: Sequence[int] | NDArray, rectangle: tuple[int, int, int, int], by_columns: bool, where: str
) -> Shape:
    """Return a shape from run lengths.

    Args:
        label: crack or no_crack.
        counts: Lengths of runs of pixels. The runs are alternately outside and inside the shape; the first is outside.
        rectangle: left, top, width and height, pixels.
        by_columns: True if the runs go down the columns, false if they go along the rows.
        where: The place in the file, for messages.

    Raises:
        InputError: A run has a negative length, or the runs do not fill the rectangle.
    """
    left, top, width, height = rectangle
    runs = np.asarray(counts, np.int64)
    if width < 1 or height < 1 or (runs < 0).any() or runs.sum() != width * height:
        raise InputError(
            f"{where}: the runs of its mask have {runs.sum()} pixels, but the mask is {width}x{height}; draw it again"
        )
    outline = corners(left, top, left + width, top + height)
    return Shape(label, outline, bitmap=Bitmap(runs, left, top, width, height, by_columns))


def _shown(value: Any) -> str:
    return _shown_text(repr(value))


def _shown_text(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
