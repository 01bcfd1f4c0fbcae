"""Label Studio: tasks in JSON. Its JSON export, also in the short form JSON-MIN, is read.

Format: https://labelstud.io/guide/task_format and https://labelstud.io/guide/export. Label Studio's CSV export has the
columns tile and answer, so it is read like the CSV of the review page.
"""

import json
from pathlib import Path
from typing import Any

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


def is_label_studio(content: Any) -> bool:
    """Return true if parsed JSON is a list of Label Studio's tasks."""
    return isinstance(content, list) and all(isinstance(one, dict) for one in content) and bool(content)


def read(path: Path, content: list[dict[str, Any]]) -> list[Marks]:
    """Read parsed JSON.

    Raises:
        InputError: A task names no tile, or has something other than choices.
    """
    found = []
    for number, task in enumerate(content, start=1):
        where = f"{path}, task {task.get('id', number)}"
        data = task["data"] if isinstance(task.get("data"), dict) else task
        names = [value for value in data.values() if isinstance(value, str)]
        annotated = "annotations" in task
        words = _choices(task["annotations"], where) if annotated else _short_choices(task.get(QUESTION))
        found.append(Marks(tile_of([str(data.get("tile") or ""), *names], where), where, words))
    return found


def _choices(annotations: Any, where: str) -> list[str]:
    """Return the chosen words of a task. An annotation that the person skipped has none.

    Raises:
        InputError: A person made something other than a choice, such as a polygon.
    """
    words: list[str] = []
    for annotation in annotations or []:
        if not annotation.get("was_cancelled"):
            for result in annotation.get("result") or []:
                if result.get("type", "choices") != "choices":
                    raise InputError(
                        f"{where} has a mark of the type {result['type']!r}, but only choices are read; export the "
                        "project as COCO, which has the shapes"
                    )
                words += result.get("value", {}).get("choices") or []
    return words


def _short_choices(answer: Any) -> list[str]:
    """Return the chosen words of a task in the form JSON-MIN: one word, or an object with several."""
    if isinstance(answer, dict):
        return list(answer.get("choices") or [])
    return [answer] if isinstance(answer, str) and answer else []
