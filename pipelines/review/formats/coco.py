"""COCO: one image for each tile, and one box around the whole tile for each answer. We also read other shapes.

Format: https://cocodataset.org/#format-data. COCO has no class for a whole image, so we write a box around the whole
tile.
"""

import json
from pathlib import Path
from typing import Any

from components.shared.data.annotations.coco import read_coco
from components.shared.errors import InputError
from pipelines.review.answers import WORDS, tile_of
from pipelines.review.formats.exported import ExportedTile
from pipelines.review.formats.marks import WHOLE_TILE, Marks

FILE = "coco.json"


def write(tiles: list[ExportedTile], folder: Path) -> Path:
    """Write the images, the categories, and the boxes of the tiles that have an answer."""
    ids = {word: number for number, word in enumerate(WORDS, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, tile in enumerate(tiles, start=1):
        images.append({"id": number, "file_name": tile.name, "width": tile.width, "height": tile.height})
        if tile.label:
            box = [0, 0, tile.width, tile.height]
            area = tile.width * tile.height
            annotation = {"id": len(annotations) + 1, "image_id": number, "category_id": ids[tile.label]}
            annotations.append({**annotation, "bbox": box, "area": area, "iscrowd": 0})
    categories = [{"id": number, "name": word} for word, number in ids.items()]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return folder / FILE


def read(path: Path, content: dict[str, Any]) -> list[Marks]:
    """Read the marks from the parsed JSON of a COCO file.

    Raises:
        InputError: The file name of an image contains no sample_id, a field is missing, an annotation belongs to no
            image or category, or the shape of an annotation cannot be used.
    """
    shapes = []
    try:
        categories = {one["id"]: str(one["name"]) for one in content["categories"]}
        images = {one["id"]: one for one in content["images"]}
        marks = {}
        for key, image in images.items():
            where = f"{path}, image {image['file_name']!r}"
            marks[key] = Marks(tile_of([image["file_name"]], where), where)
        for one in content["annotations"]:
            if _is_whole(one, images[one["image_id"]]):
                marks[one["image_id"]].words.append(categories[one["category_id"]])
            else:
                shapes.append(one)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a complete COCO file ({error!r}); export it again") from error

    for one, drawn in zip(marks.values(), read_coco(path, {**content, "annotations": shapes}), strict=True):
        one.drawn = drawn
    return list(marks.values())


def _is_whole(annotation: dict[str, Any], image: dict[str, Any]) -> bool:
    """Return true if an annotation is a box around the whole image."""
    if annotation.get("segmentation"):
        return False
    _, _, width, height = annotation["bbox"]
    return width * height >= WHOLE_TILE * image["width"] * image["height"]
