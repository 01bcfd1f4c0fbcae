"""Read what people drew in Label Studio, from its JSON export: rectangles, polygons, brush strokes and choices.

Format: https://labelstud.io/guide/task_format and https://labelstud.io/guide/export. Coordinates are in per cent of the
image. The rotation of a rectangle is clockwise, around its upper left corner.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from components.shared.data.annotations.fields import (
    NO_MEANINGS,
    bitmap,
    box,
    classes_of,
    fractions,
    number,
    numbers,
    polygon,
    record,
    records,
    rotated_box,
    side,
    text,
)
from components.shared.data.annotations.run_lengths import DamagedMaskError, decode_alpha
from components.shared.data.annotations.shapes import ImageAnnotation, Shape
from components.shared.data.image_kinds import is_image
from components.shared.data.image_structure import MAX_PIXELS
from components.shared.errors import InputError

RECTANGLE, POLYGON, BRUSH = "rectanglelabels", "polygonlabels", "brushlabels"
SHAPES = (RECTANGLE, POLYGON, BRUSH)
CHOICES = "choices"
NOTES = ("textarea", "rating", "number", "datetime", "relation")  # they mark nothing on an image
PER_CENT = 100.0


@dataclass(frozen=True)
class PersonsMarks:
    """What one person marked on an image.

    Attributes:
        where: The place in the file, for messages.
        choices: The classes that the person chose for the whole image.
        drawn: The shapes. Their labels are the class names in the file. If there are no shapes and no choices, the
            person found nothing.
        is_truth: True if somebody has set the annotation as ground truth.
    """

    where: str
    choices: tuple[str, ...]
    drawn: ImageAnnotation
    is_truth: bool


def is_label_studio(content: Any) -> bool:
    """Return true if parsed JSON is a list of Label Studio's tasks."""
    return isinstance(content, list) and bool(content) and all(isinstance(one, dict) for one in content)


def read_label_studio(path: Path, content: Any, meanings: Mapping[str, str] = NO_MEANINGS) -> list[ImageAnnotation]:
    """Read parsed tasks. Every task that a person has annotated gives one annotation, even if it has no shapes.

    If several people have annotated an image, the annotation that is set as ground truth counts. If no annotation or
    several annotations are set as ground truth, the result for this image has a `problem` and no shapes.

    Args:
        path: The file, for messages.
        content: The parsed content of the file.
        meanings: Class name -> crack or no_crack. Names such as "Cracked" and "Non-cracked" need no entry.

    Raises:
        InputError: A task names no image, or has a mark or class that we cannot use. The message names the task.
    """
    chosen = []
    names: list[str] = []
    for position, task in enumerate(records(content, str(path)), start=1):
        where = f"{path}: task {task.get('id', position)}"
        marks = marks_of(task, where)
        if marks:
            one = _one_of(marks)
            chosen.append((one, replace(one.drawn, name=image_of(task, where))))
            names += [*one.choices, *(shape.label for shape in one.drawn.shapes)]

    classes = classes_of(names, path, meanings)
    annotations = []
    for one, drawn in chosen:
        labels = tuple(classes[name] for name in one.choices)
        shapes = tuple(replace(shape, label=classes[shape.label]) for shape in drawn.shapes)
        annotations.append(replace(drawn, labels=labels, shapes=shapes))
    return annotations


def image_of(task: dict[str, Any], where: str) -> str:
    """Return the path of a task's image in the storage. If the image was uploaded, return its file name.

    Raises:
        InputError: The task has no image, or it has several images and none of them is in the field `image`.
    """
    data = record(task.get("data"), f"{where}, data")
    images = {}
    for name, value in data.items():
        path = path_in(value) if isinstance(value, str) else ""
        if is_image(path):
            images[name] = path
    if len(images) > 1 and "image" not in images:
        raise InputError(
            f"{where} has images in several fields, {', '.join(images)}; keep only one of these fields, or rename one "
            'of them to "image"'
        )
    if images:
        return images.get("image") or next(iter(images.values()))
    return text(task.get("file_upload"), f"{where} has no image in its data; its field file_upload")


def path_in(address: str) -> str:
    """Return the path of a file, given the address of the file in Label Studio.

    The address is a URL, or a path in Label Studio's local storage (`/data/local-files/?d=PATH`).
    """
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d")
    return local[0] if local else unquote(parts.path).lstrip("/")


def marks_of(task: dict[str, Any], where: str) -> list[PersonsMarks]:
    """Return what each person marked on the image of a task. Annotations that a person skipped are left out.

    Raises:
        InputError: The task is in the short form JSON-MIN, or has a mark that we cannot use.
    """
    if "data" not in task:
        raise InputError(
            f'{where} lacks the field "data"; perhaps the file has the short form JSON-MIN. Export the project as JSON'
        )
    found = []
    for position, one in enumerate(records(task.get("annotations") or [], f"{where}, annotations"), start=1):
        if not one.get("was_cancelled"):
            found.append(_marks(one, f"{where}, annotation {one.get('id', position)}"))
    return found


def _one_of(marks: list[PersonsMarks]) -> PersonsMarks:
    """Return the annotation that counts.

    A single annotation counts. Of several annotations, the one that is set as ground truth counts. If none or several
    of them are set as ground truth, the result is an annotation with a `problem`.
    """
    truths = [one for one in marks if one.is_truth]
    if len(marks) == 1 or len(truths) == 1:
        return (truths or marks)[0]
    problem = (
        f"it has {len(marks)} annotations, and {len(truths)} of them are set as ground truth; set exactly one of them "
        "as ground truth in Label Studio, or delete the others"
    )
    return replace(marks[0], choices=(), drawn=ImageAnnotation("", None, None, problem=problem))


def _marks(annotation: dict[str, Any], where: str) -> PersonsMarks:
    choices: list[str] = []
    shapes: list[Shape] = []
    sizes: set[tuple[int, int] | None] = set()
    for result in records(annotation.get("result") or [], f"{where}, result"):
        kind = result.get("type")
        if kind in SHAPES:
            size = _size(result, where)
            sizes.add(size)
            shapes += _shapes(result, size, where)
        elif kind == CHOICES:
            choices += _words(record(result.get("value"), where), CHOICES, where)
        elif kind not in NOTES:
            raise InputError(
                f"{where} has a mark of the type {kind!r}; we know {', '.join(SHAPES)} and {CHOICES}. Draw it as a "
                "polygon, or delete it"
            )

    if len(sizes) > 1:
        raise InputError(f"{where} has marks for images of different sizes; draw all of them on the same image")
    width, height = next(iter(sizes), None) or (None, None)
    drawn = ImageAnnotation("", width, height, shapes=tuple(shapes))
    return PersonsMarks(where, tuple(choices), drawn, annotation.get("ground_truth") is True)


def _size(result: dict[str, Any], where: str) -> tuple[int, int] | None:
    """Return width and height of the image in pixels; None if the file does not have them."""
    if number(result.get("image_rotation") or 0, f"{where}, image_rotation") % 360:
        raise InputError(f"{where}: the image was turned in Label Studio; turn it back, and draw the mark again")
    if result.get("original_width") is None and result.get("original_height") is None:
        return None
    names = ("original_width", "original_height")
    width, height = (side(result.get(name), f"{where}, {name}") for name in names)
    return width, height


def _shapes(result: dict[str, Any], size: tuple[int, int] | None, where: str) -> list[Shape]:
    """Return a shape for each class of a mark.

    The coordinates are in pixels. If the size of the image is unknown, they are fractions of the image.
    """
    kind = result["type"]
    value = record(result.get("value"), f"{where}, value")
    words = _words(value, kind, where)
    if not words:
        raise InputError(f"{where} has a mark without a class; give it one, or delete it")

    if kind == RECTANGLE:
        shape = _rectangle(value, size, where)
    elif kind == POLYGON:
        points = fractions(numbers(value.get("points"), f"{where}, points"), where, PER_CENT)
        shape = Shape("", polygon(points * (size or (1, 1)), where) if points.ndim == 2 else polygon(points, where))
    else:
        shape = _painted(value, size, where)
    return [replace(shape, label=word) for word in words]


def _rectangle(value: dict[str, Any], size: tuple[int, int] | None, where: str) -> Shape:
    edges = numbers([value.get(name) for name in ("x", "y", "width", "height")], f"{where}, rectangle")
    x, y, width, height = (fractions(edges, where, PER_CENT) * np.tile(size or (1, 1), 2)).tolist()
    degrees = number(value.get("rotation") or 0, f"{where}, rotation")
    if degrees % 360 == 0:
        return box("", x, y, x + width, y + height, where)
    if size is None:
        raise InputError(f"{where}: a turned rectangle needs original_width and original_height; export the file again")
    return rotated_box("", (x, y, x + width, y + height), degrees, (x, y), where)


def _painted(value: dict[str, Any], size: tuple[int, int] | None, where: str) -> Shape:
    if size is None or value.get("format") != "rle":
        raise InputError(
            f'{where}: a brush stroke needs the field "format" with the value "rle", and the fields original_width and '
            "original_height; export the file again"
        )
    width, height = size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{where}: {width}x{height} pixels are more than {MAX_PIXELS}; cut the image into smaller ones"
        )
    try:
        painted = decode_alpha(bytes(value.get("rle") or []), width, height)
    except (DamagedMaskError, TypeError, ValueError) as error:
        raise InputError(f"{where}: its brush stroke is damaged: {error}; export it again") from error

    flat = painted.ravel()
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    runs = np.diff([0, *changes, flat.size])
    return bitmap("", runs, (0, 0, width, height), by_columns=False, where=where)


def _words(value: dict[str, Any], name: str, where: str) -> list[str]:
    words = value.get(name) or []
    if not isinstance(words, list):
        raise InputError(f"{where}: the field {name} is not a list; export the file again")
    return [text(word, f"{where}, {name}") for word in words]
