"""Label Studio: we write tasks in JSON, and read the JSON export. From the short form JSON-MIN, we read only choices.

Format: https://labelstud.io/guide/task_format and https://labelstud.io/guide/export. Label Studio's CSV export has the
columns tile and answer, so it is read like the CSV of the review page.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from components.shared.data.annotations.fields import NO_MEANINGS, classes_of
from components.shared.data.annotations.label_studio import SHAPES, marks_of
from components.shared.errors import InputError
from pipelines.review.answers import WORDS, tile_of
from pipelines.review.formats.exported import ExportedTile
from pipelines.review.formats.marks import Marks

FILE, CONFIG = "label-studio.json", "label-studio.xml"
QUESTION, IMAGE = "answer", "image"
LOCAL_FILES = "/data/local-files/?d="  # Label Studio serves the files below LOCAL_FILES_DOCUMENT_ROOT under this path


def write(tiles: list[ExportedTile], folder: Path) -> Path:
    """Write the tasks, and the labelling interface with one choice for each answer."""
    tasks = []
    for tile in tiles:
        task: dict[str, Any] = {"data": {IMAGE: LOCAL_FILES + tile.file, "tile": tile.tile}}
        if tile.label:
            choice = {"from_name": QUESTION, "to_name": IMAGE, "type": "choices", "value": {"choices": [tile.label]}}
            task["annotations"] = [{"result": [choice]}]
        tasks.append(task)
    (folder / FILE).write_text(json.dumps(tasks, indent=1), encoding="utf-8")

    choices = "\n".join(f'    <Choice value="{word}" hotkey="{word[0]}"/>' for word in WORDS)
    interface = (
        f'<View>\n  <Image name="{IMAGE}" value="${IMAGE}" zoom="true"/>\n'
        f'  <Choices name="{QUESTION}" toName="{IMAGE}" choice="single" required="true">\n{choices}\n  </Choices>\n'
        "</View>\n"
    )
    (folder / CONFIG).write_text(interface, encoding="utf-8")
    return folder / FILE


def read(path: Path, content: list[dict[str, Any]]) -> list[Marks]:
    """Read parsed JSON. Return one `Marks` for each person who annotated a tile.

    Raises:
        InputError: A task contains no sample_id of a tile, or has a mark that we cannot use.
    """
    found = []
    for number, task in enumerate(content, start=1):
        where = f"{path}, task {task.get('id', number)}"
        data = task["data"] if isinstance(task.get("data"), dict) else task
        names = [value for value in data.values() if isinstance(value, str)]
        tile = tile_of([str(data.get("tile") or ""), *names], where)
        people = _people(path, task, tile, where) if "data" in task else [_short(task, tile, where)]
        found += people or [Marks(tile, where)]
    return found


def _people(path: Path, task: dict[str, Any], tile: str, where: str) -> list[Marks]:
    found = []
    for one in marks_of(task, where):
        classes = classes_of([shape.label for shape in one.drawn.shapes], path, NO_MEANINGS)
        shapes = tuple(replace(shape, label=classes[shape.label]) for shape in one.drawn.shapes)
        found.append(Marks(tile, one.where, list(one.choices), replace(one.drawn, shapes=shapes)))
    return found


def _short(task: dict[str, Any], tile: str, where: str) -> Marks:
    """Return the marks of a task in the form JSON-MIN. The answer is one word, or an object with several words.

    Raises:
        InputError: The task has shapes.
    """
    for values in task.values():
        if isinstance(values, list) and any(isinstance(one, dict) and one.keys() & set(SHAPES) for one in values):
            raise InputError(f"{where} has shapes in the short form JSON-MIN; export the project as JSON")

    answer = task.get(QUESTION)
    if isinstance(answer, dict):
        return Marks(tile, where, list(answer.get("choices") or []))
    return Marks(tile, where, [answer] if isinstance(answer, str) and answer else [])
