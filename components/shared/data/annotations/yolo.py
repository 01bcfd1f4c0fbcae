"""Read YOLO's label files: one for each image, with boxes and polygons in fractions of the image.

Formats: https://docs.ultralytics.com/datasets/detect/ and https://docs.ultralytics.com/datasets/segment/. The names of
the classes are in data.yaml, in classes.txt, or in obj.names of Darknet (https://github.com/AlexeyAB/darknet).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from components.shared.data.annotations.fields import (
    NO_MEANINGS,
    box,
    classes_of,
    fractions,
    numbers,
    polygon,
    read_text,
    text,
)
from components.shared.data.annotations.shapes import ImageAnnotation, Shape
from components.shared.errors import InputError

YAML_FILES = ("data.yaml", "data.yml", "dataset.yaml")
LIST_FILES = ("classes.txt", "obj.names")  # one class in each line
NAMES_FILES = (*YAML_FILES, *LIST_FILES)


@dataclass(frozen=True)
class Line:
    """A line of a label file.

    Attributes:
        name: Name of the class. If there is no file of class names, it is the number of the class, as text.
        values: For a box, float (4,): x and y of its centre, its width and its height. For a polygon with n corners,
            float (2 n,): x and y of each corner. All are fractions of the image.
        where: The place in the file, for messages.
    """

    name: str
    values: NDArray[np.float64]
    where: str

    def shape(self, label: str) -> Shape:
        """Return the box or polygon, in fractions of the image. Raise `InputError` if it has no area."""
        if len(self.values) == 4:
            x, y, width, height = self.values.tolist()
            left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
            return box(label, left, top, right, bottom, self.where)
        return Shape(label, polygon(self.values, self.where))


def read_class_names(path: Path) -> dict[int, str]:
    """Read a file with the names of the classes, and return a dict: number of a class -> its name.

    Raises:
        InputError: The file cannot be read, has no names, or says that labels have keypoints.
    """
    content = read_text(path)
    if path.name.lower() in YAML_FILES:
        return _names_in_yaml(path, content)
    lines = content.strip().splitlines()
    if not lines:
        raise InputError(f"{path} is empty; write the name of each class on its own line")
    return {number: line.strip() for number, line in enumerate(lines)}


def read_label_file(path: Path, names: Mapping[int, str]) -> list[Line]:
    """Read a label file.

    Args:
        path: The file. An empty file means that a person found nothing in the image.
        names: Number of a class -> its name. If it is empty, the number is used as the name.

    Raises:
        InputError: A line is not a class with a box or a polygon. The message names the line.
    """
    found = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            found.append(_line(line.split(), names, f"{path}, line {number}"))
    return found


def read_yolo(
    path: Path, name: str, names: Mapping[int, str], meanings: Mapping[str, str] = NO_MEANINGS
) -> ImageAnnotation:
    """Read the label file of one image.

    Args:
        path: The label file.
        name: Name of the image.
        names: Number of a class -> its name.
        meanings: Class name -> crack or no_crack. Names such as "Cracked" and "Non-cracked" need no entry.

    Raises:
        InputError: A line cannot be used, or has an unknown class.
    """
    lines = read_label_file(path, names)
    classes = classes_of([line.name for line in lines], path, meanings)
    shapes = tuple(line.shape(classes[line.name]) for line in lines)
    return ImageAnnotation(name, None, None, shapes=shapes)


def _line(fields: list[str], names: Mapping[int, str], where: str) -> Line:
    if not (fields[0].isascii() and fields[0].isdigit()):
        raise InputError(f"{where}: {fields[0]!r} is not the number of a class; correct it")
    number = int(fields[0])
    if names and number not in names:
        raise InputError(
            f"{where}: the class {number} has no name; the named classes are {_listed(names)}. Correct the number, or "
            "add the name"
        )

    values = numbers(fields[1:], where)
    if len(values) == 5:
        raise InputError(
            f"{where} has a number after the box, such as the confidence of a network; delete the last number"
        )
    if len(values) < 4 or len(values) % 2:
        raise InputError(
            f"{where} has {len(values)} numbers after the class. A box has 4 numbers, and a polygon has x and y of "
            "each corner; correct the line"
        )
    return Line(names.get(number, str(number)), fractions(values, where), where)


def _names_in_yaml(path: Path, content: str) -> dict[int, str]:
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} is not valid YAML: {error}; correct it") from error
    if not isinstance(document, dict) or not document.get("names"):
        raise InputError(f"{path} has no field `names` with the names of the classes; add it")
    if "kpt_shape" in document:
        raise InputError(f"{path} has kpt_shape, so its labels have keypoints, which have no area; draw polygons")

    names: Any = document["names"]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(isinstance(number, int) for number in names):
        raise InputError(f"{path}: `names` is neither a list nor a mapping from numbers to names; correct it")
    return {number: text(name, f"{path}, names") for number, name in names.items()}


def _listed(names: Mapping[int, str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in sorted(names.items()))
