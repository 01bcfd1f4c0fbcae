"""Write the page on which a person answers what tiles show. The page works offline, without a server.

The page hides the label of a tile until the person answers. It also hides everything that hints at the label: P(crack),
the reason, and the path, which often contains the name of the class. People who see an answer before they decide often
choose the same answer (anchoring: Tversky & Kahneman, Science 185, 1974).
"""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.page import Page, data_uri, templates

TEMPLATES = Path(__file__).parent / "templates"
JPEG_OPTIONS = [
    cv2.IMWRITE_JPEG_QUALITY, 95,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]  # fmt: skip


@dataclass(frozen=True)
class PageTile:
    """A tile on the page.

    Attributes:
        tile: The tile's name in the file of answers.
        jpeg: The image, JPEG.
        label: The tile's label, which the page hides at first; "" if it has none.
        facts: A text that the page also hides at first: the reason, P(crack) and the path.
    """

    tile: str
    jpeg: bytes
    label: str
    facts: str


@dataclass(frozen=True)
class AnswerFile:
    """The CSV file that the page saves. It has two columns: the tile, and the person's answer.

    Attributes:
        name: The name of the file.
        columns: The names of the columns.
        given: Tile -> answer. The file begins with these answers.
        only_classes: True: people can answer only crack or no_crack. False: they can also answer unsure or bad image.
    """

    name: str
    columns: tuple[str, str]
    given: dict[str, str] = field(default_factory=dict)
    only_classes: bool = False


def page_jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return an image as a JPEG file in which thin cracks stay visible. The image is RGB, uint8 (H, W, 3)."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, JPEG_OPTIONS)[1].tobytes()


def write_page(queue_id: str, tiles: list[PageTile], path: Path) -> None:
    """Write the review page of a queue.

    Args:
        queue_id: Name of the queue. The browser keeps the answers under this name.
        tiles: The tiles, in the order in which they are shown.
        path: File to write.
    """
    page = Page(f"Review of {len(tiles)} tiles")
    show_tiles(page, queue_id, tiles, AnswerFile(f"answers-{queue_id}.csv", ("tile", "answer")))
    page.write(path)


def show_tiles(page: Page, queue_id: str, tiles: list[PageTile], saved: AnswerFile) -> None:
    """Append tiles to a page, with buttons to answer what each tile shows. A page can have this part only once.

    Args:
        page: The page.
        queue_id: Name of the queue. The browser keeps the answers under this name.
        tiles: The tiles, in the order in which they are shown.
        saved: The file that a person saves at the end.
    """
    content = []
    for one in tiles:
        content.append({"tile": one.tile, "image": data_uri(one.jpeg), "label": one.label, "facts": one.facts})
    file = {"name": saved.name, "columns": saved.columns, "given": list(saved.given.items())}
    template = templates(TEMPLATES).get_template("review.html")
    page.html(template.render(queue={"id": queue_id, "tiles": content, "file": file}, only_classes=saved.only_classes))
