"""YOLO: a folder with images/, labels/ and data.yaml; or a folder with one subfolder for each class.

Format: https://docs.ultralytics.com/datasets/detect/ and https://docs.ultralytics.com/datasets/classify/. If a
box is around the whole tile, its class is the class of the tile. If a label file has no lines, the tile shows no crack.
"""

import shutil
from pathlib import Path

from components.shared.data.annotations.fields import NO_MEANINGS, classes_of
from components.shared.data.annotations.shapes import ImageAnnotation
from components.shared.data.annotations.yolo import NAMES_FILES, read_class_names, read_label_file
from components.shared.data.folder_listing import files_below
from components.shared.data.image_kinds import is_hidden
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from pipelines.review.answers import WORDS, tile_of, word_of
from pipelines.review.formats.exported import ExportedTile
from pipelines.review.formats.marks import WHOLE_TILE, Marks

FOLDER, IMAGES, LABELS, NAMES = "yolo", "images", "labels", "data.yaml"
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
    """Read a folder with labels, or a folder with one subfolder for each class.

    Raises:
        InputError: The folder has neither labels nor such subfolders, or something in it cannot be read.
    """
    if (folder / LABELS).is_dir():
        return _read_boxes(folder)

    found = []
    for path in _files_below(folder):
        if word_of(path.parent.name) is not None:
            found.append(Marks(tile_of([path.name], str(path)), str(path), [path.parent.name]))
    if not found:
        raise InputError(
            f"{folder} has neither a folder {LABELS} nor a folder of tiles whose name is an answer "
            f"({', '.join(WORDS)}); give the folder of a YOLO data set"
        )
    return found


def _read_boxes(folder: Path) -> list[Marks]:
    names = _class_names(folder)
    found = []
    for path in _files_below(folder / LABELS):
        if path.suffix == ".txt" and path.name not in NAMES_FILES:
            found.append(_read_label_file(path, names))

    labelled = {marks.tile for marks in found}
    for path in _files_below(folder / IMAGES):
        tile = tile_of([path.name], str(path))
        if tile not in labelled:
            found.append(Marks(tile, str(path)))
    return found


def _files_below(folder: Path) -> list[Path]:
    """Return the files of a folder and of its subfolders, in order, without hidden files and folders."""
    return [folder / name for name in sorted(files_below(folder)) if not is_hidden(name)]


def _read_label_file(path: Path, names: dict[int, str]) -> Marks:
    marks = Marks(tile_of([path.name], str(path)), str(path))
    lines = read_label_file(path, names)
    if not lines:
        marks.words.append(CLASSES[0])

    drawn = []
    for line in lines:
        is_box = len(line.values) == 4
        if is_box and line.values[2] * line.values[3] >= WHOLE_TILE:
            marks.words.append(line.name)
        else:
            drawn.append(line)
    if drawn:
        classes = classes_of([line.name for line in drawn], path, NO_MEANINGS)
        shapes = tuple(line.shape(classes[line.name]) for line in drawn)
        marks.drawn = ImageAnnotation(marks.tile, None, None, shapes=shapes)
    return marks


def _class_names(folder: Path) -> dict[int, str]:
    """Find the file with the names of the classes, and read the names.

    Raises:
        InputError: The folder has no such file, or several such files.
    """
    found = []
    for place in (folder, folder / LABELS):
        found += [place / name for name in NAMES_FILES if (place / name).is_file()]
    if len(found) != 1:
        shown = f": {', '.join(map(str, found))}" if found else ""
        raise InputError(
            f"{folder} has {len(found)} files that list the classes{shown}; give it exactly one of the files "
            f"{', '.join(NAMES_FILES)}"
        )
    return read_class_names(found[0])
