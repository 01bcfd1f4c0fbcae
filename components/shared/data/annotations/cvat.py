"""Read files in the format "CVAT for images 1.1", with tags, boxes, polygons, polylines and masks.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/. A polyline needs an attribute `width`, in pixels. A
mask is stored as run lengths along the rows of its rectangle. The rotation of a box is clockwise, around its centre.
"""

from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from components.shared.data.annotations.fields import (
    NO_MEANINGS,
    bitmap,
    classes_of,
    number,
    numbers,
    polygon,
    rotated_box,
    side,
    text,
)
from components.shared.data.annotations.safe_xml import parse_xml
from components.shared.data.annotations.shapes import ImageAnnotation, Shape
from components.shared.errors import InputError

SHAPES = ("box", "polygon", "polyline", "mask")


def read_cvat(
    path: Path, root: Element | None = None, meanings: Mapping[str, str] = NO_MEANINGS
) -> list[ImageAnnotation]:
    """Read an XML file in the format "CVAT for images". Every image gives one annotation, even without shapes.

    Args:
        path: The file.
        root: The parsed content of the file. If it is None, this function parses the file.
        meanings: Class name -> crack or no_crack. Names such as "Cracked" and "Non-cracked" need no entry.

    Raises:
        InputError: The file does not have this format, has an unknown class, or has a shape that we cannot read. The
            message names the image.
    """
    root = parse_xml(path) if root is None else root
    images = root.findall("image")
    if root.tag != "annotations" or (not images and root.find("track") is not None):
        raise InputError(f"{path} is not a file of CVAT for images 1.1; export the task in the format CVAT for images")

    names = []
    for image in images:
        for child in image:
            names.append(text(child.get("label"), f"{path}: image {image.get('name')!r}, {child.tag}, label"))
    classes = classes_of(names, path, meanings)
    return [_annotation(image, classes, f"{path}: image {image.get('name')!r}") for image in images]


def _annotation(image: Element, classes: dict[str, str], where: str) -> ImageAnnotation:
    width, height = side(image.get("width"), f"{where}, width"), side(image.get("height"), f"{where}, height")
    labels = []
    shapes = []
    for child in image:
        label = classes[child.get("label", "")]
        if child.tag == "tag":
            labels.append(label)
        else:
            shapes.append(_shape(child, label, f"{where}, {child.tag} {child.get('label')}"))
    return ImageAnnotation(text(image.get("name"), where), width, height, tuple(labels), tuple(shapes))


def _shape(element: Element, label: str, where: str) -> Shape:
    if element.tag == "box":
        left, top, right, bottom = (number(element.get(name), where) for name in ("xtl", "ytl", "xbr", "ybr"))
        middle = ((left + right) / 2, (top + bottom) / 2)
        degrees = number(element.get("rotation", "0"), where)
        return rotated_box(label, (left, top, right, bottom), degrees, middle, where)
    if element.tag == "polygon":
        return Shape(label, polygon(_points(element, where), where))
    if element.tag == "polyline":
        return _line(element, label, where)
    if element.tag == "mask":
        left, top = int(number(element.get("left"), where)), int(number(element.get("top"), where))
        width, height = side(element.get("width"), where), side(element.get("height"), where)
        counts = numbers(element.get("rle", "").split(","), where).astype(np.int64)
        return bitmap(label, counts, (left, top, width, height), by_columns=False, where=where)
    raise InputError(
        f"{where} has an unknown type; the known types are tag, {', '.join(SHAPES)}. Draw it as a polygon, or delete it"
    )


def _line(element: Element, label: str, where: str) -> Shape:
    widths = [child.text for child in element.findall("attribute") if child.get("name") == "width"]
    if not widths:
        raise InputError(
            f"{where} is a line without a width; give it the attribute width, in pixels, or draw a polygon"
        )
    width = number((widths[0] or "").strip(), f"{where}, width")
    if width <= 0:
        raise InputError(f"{where}: its width is {widths[0]!r}; it must be more than 0 pixels")

    points = _points(element, where)
    if len(points) < 2:
        raise InputError(f"{where} has only one point; delete it")
    return Shape(label, points, line_width=width)


def _points(element: Element, where: str) -> np.ndarray:
    pairs = [pair.split(",") for pair in element.get("points", "").split(";")]
    points = numbers(pairs, where)
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"{where}: its points {element.get('points')!r} are not pairs of x and y; correct them")
    return points
