"""Read a file of annotations in any format that we know, except YOLO. (YOLO has one file for each image.)"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from components.shared.data.annotations.coco import is_coco, read_coco
from components.shared.data.annotations.cvat import read_cvat
from components.shared.data.annotations.fields import NO_MEANINGS, parse_json, read_text
from components.shared.data.annotations.label_studio import is_label_studio, read_label_studio
from components.shared.data.annotations.safe_xml import parse_xml
from components.shared.data.annotations.shapes import ImageAnnotation
from components.shared.data.annotations.table import delimiter_of, read_table
from components.shared.errors import InputError

SUFFIXES = (".json", ".xml", ".csv")
KINDS = "COCO (.json), Label Studio (.json), CVAT for images 1.1 (.xml), a table of shapes (.csv)"


class Recognised(NamedTuple):
    """The format of a file of annotations, and the function that reads the file.

    The function takes the argument `meanings` of `read_annotations`.
    """

    format: str
    read: Callable[[Mapping[str, str]], list[ImageAnnotation]]


def recognise(path: Path) -> Recognised | None:
    """Recognise the format of a file from its content. Return None if it is not a file of annotations that we know.

    Raises:
        InputError: The file cannot be read, is empty or damaged, or is a table that can be read with two delimiters.
    """
    content = read_text(path)
    if not content.strip():
        raise InputError(f"{path} is empty; export it again, or remove it")

    suffix = path.suffix.lower()
    if suffix == ".xml":
        root = parse_xml(path)
        if root.tag == "annotations":
            return Recognised("CVAT", lambda meanings: read_cvat(path, root, meanings))
    if suffix == ".json":
        parsed = parse_json(path, content)
        if is_coco(parsed):
            return Recognised("COCO", lambda meanings: read_coco(path, parsed, meanings))
        if is_label_studio(parsed):
            return Recognised("Label Studio", lambda meanings: read_label_studio(path, parsed, meanings))
    if suffix == ".csv":
        delimiter = delimiter_of(content, path)
        if delimiter is not None:
            return Recognised("CSV", lambda meanings: read_table(path, content, delimiter, meanings))
    return None


def read_annotations(path: Path, meanings: Mapping[str, str] = NO_MEANINGS) -> list[ImageAnnotation]:
    """Read annotations. The format is recognised from the content.

    Args:
        path: A file in one of the KINDS.
        meanings: Class name -> crack or no_crack. Names such as "Cracked" and "Non-cracked" need no entry.

    Returns:
        One annotation for each image that a person has annotated, in the order of the file.

    Raises:
        UnknownClassError: The file has an unknown class.
        InputError: The format is not known, the file is damaged, or a shape or a number in it cannot be used. The
            message names the file and the image or annotation.
    """
    recognised = recognise(path)
    if recognised is None:
        raise not_known(path)
    return recognised.read(meanings)


def not_known(path: Path) -> InputError:
    """Return the error for a file that is not a file of annotations."""
    return InputError(f"{path} is not a file of annotations that we know; give {KINDS}")
