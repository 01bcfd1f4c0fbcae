"""The format "CVAT for images 1.1": one `image` element for each tile, and one `tag` element for each answer.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/.
"""

import json
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from components.shared.data.annotations.cvat import read_cvat
from pipelines.review.answers import WORDS, tile_of
from pipelines.review.formats.exported import ExportedTile
from pipelines.review.formats.marks import Marks

FILE, LABELS = "cvat.xml", "cvat-labels.json"


def write(tiles: list[ExportedTile], folder: Path) -> Path:
    """Write two files: the annotations, and the labels as JSON for the tab "Raw" of CVAT's label editor."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    for number, tile in enumerate(tiles):
        facts = {"id": str(number), "name": tile.name, "width": str(tile.width), "height": str(tile.height)}
        image = SubElement(root, "image", facts)
        if tile.label:
            SubElement(image, "tag", {"label": tile.label, "source": "manual"})
    indent(root)
    ElementTree(root).write(folder / FILE, encoding="utf-8", xml_declaration=True)

    labels = [{"name": word, "type": "tag", "attributes": []} for word in WORDS]
    (folder / LABELS).write_text(json.dumps(labels, indent=1), encoding="utf-8")
    return folder / FILE


def read(path: Path, root: Element) -> list[Marks]:
    """Read the marks from a parsed file.

    Raises:
        InputError: An image's name contains no sample_id, or a shape cannot be used.
    """
    found = []
    for image in root.findall("image"):
        name = image.get("name", "")
        where = f"{path}, image {name!r}"
        marks = Marks(tile_of([name], where), where)
        for tag in image.findall("tag"):
            marks.words.append(tag.get("label", ""))
            image.remove(tag)
        found.append(marks)

    # Only the shapes are left. Their class must be crack or no_crack, but a tag can be any answer, such as unsure.
    for marks, drawn in zip(found, read_cvat(path, root), strict=True):
        marks.drawn = drawn
    return found
