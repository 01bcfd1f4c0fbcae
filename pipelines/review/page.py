"""Write the page on which a person answers what tiles show. The page works offline, without a server.

The label of a tile is hidden until the person answers. So is everything that hints at the label: P(crack), the reason,
and the path, which often contains the name of the class. People who see an answer before they decide often choose the
same answer (anchoring: Tversky & Kahneman, Science 185, 1974).
"""

from dataclasses import dataclass
from pathlib import Path

from components.shared.page import Page, data_uri, templates

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class PageTile:
    """A tile on the page.

    Attributes:
        tile: The tile's sample_id.
        jpeg: The image, JPEG.
        label: The tile's label, which the page hides at first; "" if it has none.
        facts: A text that the page also hides at first: the reason, P(crack) and the path.
    """

    tile: str
    jpeg: bytes
    label: str
    facts: str


def write_page(queue_id: str, tiles: list[PageTile], path: Path) -> None:
    """Write the review page of a queue.

    Args:
        queue_id: Name of the queue. The browser keeps the answers under this name.
        tiles: The tiles, in the order in which they are shown.
        path: File to write.
    """
    content = []
    for one in tiles:
        content.append({"tile": one.tile, "image": data_uri(one.jpeg), "label": one.label, "facts": one.facts})
    page = Page(f"Review of {len(tiles)} tiles")
    template = templates(TEMPLATES).get_template("review.html")
    page.html(template.render(queue={"id": queue_id, "tiles": content}))
    page.write(path)
