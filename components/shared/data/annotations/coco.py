"""Read COCO's object annotations: polygons, boxes, and masks. A mask is stored as run lengths, which can be compressed.

Format: https://cocodataset.org/#format-data. This page does not describe compressed run lengths. The function
`rleToString` writes them: https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.shared.data.annotations.fields import (
    NO_MEANINGS,
    bitmap,
    box,
    classes_of,
    key_of,
    numbers,
    polygon,
    record,
    records,
    side,
    text,
)
from components.shared.data.annotations.shapes import ImageAnnotation, Shape
from components.shared.errors import InputError

_FIRST_CHARACTER = 48
_VALUE_BITS, _VALUE, _SIGN, _MORE = 5, 0x1F, 0x10, 0x20


def is_coco(content: Any) -> bool:
    """Return true if parsed JSON is a COCO file."""
    return isinstance(content, dict) and {"images", "categories", "annotations"} <= content.keys()


def read_coco(path: Path, content: Any, meanings: Mapping[str, str] = NO_MEANINGS) -> list[ImageAnnotation]:
    """Read a COCO file whose JSON was parsed. Every image in the file gives one annotation, even if it has no shapes.

    Args:
        path: The file, for messages.
        content: The parsed content of the file.
        meanings: Class name -> crack or no_crack. Names such as "Cracked" and "Non-cracked" need no entry.

    Raises:
        InputError: The content does not have COCO's format, a class is unknown, or an annotation belongs to no image.
            The message names the annotation.
    """
    document = record(content, str(path))
    images = _by_id(document, "images", path)
    names = _class_names(document, path, meanings)

    shapes: dict[Any, list[Shape]] = {key: [] for key in images}
    for position, one in enumerate(records(document.get("annotations"), f"{path}: annotations"), start=1):
        where = f"{path}: annotation {one.get('id', position)}"
        image_id, category_id = key_of(one.get("image_id"), where), key_of(one.get("category_id"), where)
        if image_id not in images:
            raise InputError(
                f"{where} belongs to the image {image_id!r}, which the file does not have; delete the annotation"
            )
        if category_id not in names:
            raise InputError(
                f"{where} has the category {category_id!r}, which the file does not have; delete the annotation"
            )
        shapes[image_id] += _shapes(one, names[category_id], images[image_id], where)

    annotations = []
    for key, image in images.items():
        where = f"{path}: image {key}"
        name = text(image.get("file_name"), f"{where}, file_name")
        width, height = side(image.get("width"), f"{where}, width"), side(image.get("height"), f"{where}, height")
        annotations.append(ImageAnnotation(name, width, height, shapes=tuple(shapes[key])))
    return annotations


def _by_id(document: dict[str, Any], name: str, path: Path) -> dict[Any, dict[str, Any]]:
    """Return the images or the categories of a document as a dict: id -> image or category."""
    found = {}
    for one in records(document.get(name), f"{path}: {name}"):
        key = key_of(one.get("id"), f"{path}: {name}")
        if key in found:
            raise InputError(f"{path}: two {name} have the id {key!r}; give each of the two its own id")
        found[key] = one
    return found


def _class_names(document: dict[str, Any], path: Path, meanings: Mapping[str, str]) -> dict[Any, str]:
    """Return a dict: id of each category in use -> crack or no_crack."""
    used = set()
    for one in records(document.get("annotations"), f"{path}: annotations"):
        used.add(key_of(one.get("category_id"), f"{path}: annotations"))

    names = {}
    for key, category in _by_id(document, "categories", path).items():
        if key in used:
            names[key] = text(category.get("name"), f"{path}: category {key}, name")
    classes = classes_of(names.values(), path, meanings)
    return {key: classes[name] for key, name in names.items()}


def _shapes(annotation: dict[str, Any], label: str, image: dict[str, Any], where: str) -> list[Shape]:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return [_mask(segmentation, label, image, where)]
    if segmentation:
        if not isinstance(segmentation, list):
            raise InputError(f"{where}: its segmentation is neither a list of polygons nor run lengths; correct it")
        return [Shape(label, polygon(numbers(corners, where), where)) for corners in segmentation]

    edges = numbers(annotation.get("bbox"), f"{where}, bbox")
    if edges.shape != (4,):
        raise InputError(f"{where} has neither a segmentation nor a bbox of x, y, width and height; delete it")
    left, top, width, height = edges.tolist()
    return [box(label, left, top, left + width, top + height, where)]


def _mask(encoded: dict[str, Any], label: str, image: dict[str, Any], where: str) -> Shape:
    size = numbers(encoded.get("size"), f"{where}, size")
    if size.shape != (2,):
        raise InputError(
            f"{where}: the size of its mask must be two numbers, the height and the width; correct the size"
        )
    height, width = side(size[0], f"{where}, size"), side(size[1], f"{where}, size")
    if (width, height) != (image.get("width"), image.get("height")):
        raise InputError(
            f"{where}: its mask is {width}x{height} pixels, but the image is {image.get('width')}x"
            f"{image.get('height')}; save both in the same size"
        )

    counts = encoded.get("counts")
    runs = _decompressed(counts, where) if isinstance(counts, str) else numbers(counts, where).astype(np.int64)
    return bitmap(label, runs, (0, 0, width, height), by_columns=True, where=where)


def _decompressed(encoded: str, where: str) -> NDArray[np.int64]:
    """Decode compressed run lengths.

    Each number is written in groups of five bits, the lowest group first. A group also has a sixth bit, which is 1 if
    another group follows. In the last group, the highest of the five bits is the sign. The first three numbers are
    lengths. Each later number is a length minus the length two places before it.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in encoded:
        group = ord(character) - _FIRST_CHARACTER
        if not 0 <= group < 2 * _MORE or shift > 60:
            raise InputError(f"{where}: its run lengths are damaged at {character!r}; export the file again")
        value |= (group & _VALUE) << shift
        shift += _VALUE_BITS
        if group & _MORE:
            continue

        if group & _SIGN:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise InputError(f"{where}: its run lengths end too early; export the file again")
    return np.array(counts, np.int64)
