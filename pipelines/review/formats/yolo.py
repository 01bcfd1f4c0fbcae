"""YOLO: a folder with images/, labels/ and data.yaml; or a folder with one subfolder for each class.

Format: https://docs.ultralytics.com/datasets/detect/ and https://docs.ultralytics.com/datasets/classify/. A class of
the whole tile is a box around the tile. A label file without lines means that the tile shows no crack.
"""

import re
import shutil
from pathlib import Path

import numpy as np

from components.shared.data.annotations.fields import box, polygon
from components.shared.data.annotations.shapes import ImageAnnotation, Shape
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from pipelines.review.answers import WORDS, checked_word, tile_of, word_of
from pipelines.review.formats.exported import ExportedTile
from pipelines.review.formats.marks import WHOLE_TILE, Marks

FOLDER, IMAGES, LABELS, NAMES = "yolo", "images", "labels", "data.yaml"
CLASS_FILES = (NAMES, "classes.txt")
WHOLE = "0.5 0.5 1 1"  # middle, width and height, as shares of the tile


def write(tiles: list[ExportedTile], folder: Path) -> Path:
    """Write copies of the images, a label file for each tile with an answer, and the names of the classes."""
    target = folder / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    (target / LABELS).mkdir(parents=True)
    (target / IMAGES).mkdir()
    for tile in tiles:
        shutil.copyfile(folder / tile.file, target / IMAGES / tile.name)
        if tile.label:
            line = f"{WORDS.index(tile.label)} {WHOLE}\n"
            (target / LABELS / f"{tile.tile}.txt").write_text(line, encoding="utf-8")
    names = "\n".join(f"  {number}: {word}" for number, word in enumerate(WORDS))
    (target / NAMES).write_text(f"path: .\ntrain: {IMAGES}\nval: {IMAGES}\nnames:\n{names}\n", encoding="utf-8")
    return target


def read(folder: Path) -> list[Marks]:
    """Read a folder.

    Raises:
        InputError: The folder is in neither form, or a file cannot be read.
    """
    if (folder / LABELS).is_dir():
        return _read_boxes(folder)

    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and word_of(path.parent.name) is not None:
            found.append(Marks(tile_of([path.name], str(path)), str(path), [path.parent.name]))
    if not found:
        raise InputError(
            f"{folder} has neither a folder {LABELS} nor folders that are named like an answer ({', '.join(WORDS)}); "
            "give the folder of a YOLO data set"
        )
    return found


def _read_boxes(folder: Path) -> list[Marks]:
    names = _class_names(folder)
    found = []
    for path in sorted((folder / LABELS).rglob("*.txt")):
        if path.name not in CLASS_FILES:
            found.append(_read_label_file(path, names))

    labelled = {marks.tile for marks in found}
    for path in sorted((folder / IMAGES).rglob("*")):
        if path.is_file():
            tile = tile_of([path.name], str(path))
            if tile not in labelled:
                found.append(Marks(tile, str(path)))
    return found


def _read_label_file(path: Path, names: dict[int, str]) -> Marks:
    marks = Marks(tile_of([path.name], str(path)), str(path))
    lines = path.read_text(encoding="utf-8").split("\n")
    written = [line.split() for line in lines if line.strip()]
    shapes: list[Shape] = []
    if not written:
        marks.words.append(CLASSES[0])
    for number, fields in enumerate(written, start=1):
        try:
            name = names[int(fields[0])]
            edges = [float(value) for value in fields[1:]]
        except (ValueError, KeyError) as error:
            raise InputError(
                f"{path}, line {number}: {' '.join(fields)!r} is not a class of {folder_of(path)} and a shape"
            ) from error
        if len(edges) == 4 and edges[2] * edges[3] >= WHOLE_TILE:
            marks.words.append(name)
        else:
            shapes.append(_shape(checked_word(name, f"{path}, line {number}"), edges, f"{path}, line {number}"))
    if shapes:
        marks.drawn = ImageAnnotation(marks.tile, None, None, shapes=tuple(shapes))
    return marks


def _shape(word: str, edges: list[float], where: str) -> Shape:
    """Return a box, given as middle, width and height, or a polygon, given as corners. All are shares of the tile."""
    if len(edges) == 4:
        x, y, width, height = edges
        return box(word, x - width / 2, y - height / 2, x + width / 2, y + height / 2, where)
    return Shape(word, polygon(np.array(edges), where))


def folder_of(path: Path) -> Path:
    """Return the folder of the data set that a label file belongs to."""
    return next(parent for parent in path.parents if parent.name == LABELS).parent


def _class_names(folder: Path) -> dict[int, str]:
    """Read the names of the classes: from classes.txt, one per line, or from the field names of data.yaml."""
    for place in (folder / "classes.txt", folder / LABELS / "classes.txt"):
        if place.is_file():
            return dict(enumerate(place.read_text(encoding="utf-8").split("\n")))
    try:
        text = (folder / NAMES).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} has neither {NAMES} nor classes.txt, so its classes have no names") from error
    return {
        int(number): name.strip().strip("'\"") for number, name in re.findall(r"^\s+(\d+):(.*)$", text, re.MULTILINE)
    }
