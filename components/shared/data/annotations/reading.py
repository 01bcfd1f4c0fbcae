"""Read a file or folder of annotations in any format that we know."""

from pathlib import Path

from components.shared.data.annotations.coco import is_coco, read_coco
from components.shared.data.annotations.cvat import read_cvat
from components.shared.data.annotations.fields import parse_json, read_text
from components.shared.data.annotations.shapes import ImageAnnotation
from components.shared.errors import InputError

KINDS = "COCO (.json), CVAT for images 1.1 (.xml)"


def read_annotations(path: Path) -> list[ImageAnnotation]:
    """Read annotations. The format is recognised from the content.

    Args:
        path: A JSON file of COCO, or an XML file of CVAT.

    Returns:
        One annotation for each image that the file names, in the order of the file.

    Raises:
        InputError: The format is not known, the file is damaged, or a class, a shape or a number in it cannot be used.
            The message names the file and the image or annotation.
    """
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return read_cvat(path)
    if suffix == ".json":
        content = parse_json(path, read_text(path))
        if is_coco(content):
            return read_coco(path, content)
    raise InputError(f"{path} is not a file of annotations that we know; give {KINDS}")
