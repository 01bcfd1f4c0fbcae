"""Read a file with answers in any of the known formats."""

from pathlib import Path

from components.shared.data.annotations.coco import is_coco
from components.shared.data.annotations.fields import parse_json, read_text
from components.shared.data.annotations.label_studio import is_label_studio
from components.shared.data.annotations.safe_xml import parse_xml
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from pipelines.review.answers import Given, read_csv
from pipelines.review.formats import coco, cvat, label_studio, yolo
from pipelines.review.formats.marks import Marks, answers_of

FORMATS = "CSV, Label Studio's JSON, CVAT's XML, COCO's JSON, or the folder of a YOLO data set"


def read_answers(path: Path, unmarked_shows_no_crack: bool = False) -> Given:
    """Read a file with answers. The content of the file shows which format it has.

    Args:
        path: A file or folder in one of the FORMATS.
        unmarked_shows_no_crack: True: a tile without any mark shows no crack. False: nobody has answered such a tile.

    Raises:
        InputError: The file does not exist, is empty, or cannot be read as any of the formats.
    """
    unmarked = CLASSES[0] if unmarked_shows_no_crack else None
    if path.is_dir():
        return answers_of(yolo.read(path), unmarked)

    text = _text_of(path)
    start = text.lstrip()[0]
    if start == "<":
        return answers_of(_read_xml(path), unmarked)
    if start in "[{":
        return answers_of(_read_json(path, text), unmarked)
    return read_csv(path, text)


def _read_xml(path: Path) -> list[Marks]:
    root = parse_xml(path)
    if root.tag != "annotations":
        raise InputError(f'{path} is not in the format "CVAT for images 1.1"; export the task in this format')
    return cvat.read(path, root)


def _read_json(path: Path, text: str) -> list[Marks]:
    content = parse_json(path, text)
    if is_coco(content):
        return coco.read(path, content)
    if is_label_studio(content):
        return label_studio.read(path, content)
    raise InputError(f"{path} is JSON, but has neither Label Studio's tasks nor COCO annotations; give {FORMATS}")


def _text_of(path: Path) -> str:
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path} is empty; give the file with the answers")
    return text
