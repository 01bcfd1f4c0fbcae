"""Every large set of tiles is shown, however many there are."""

import base64
import re
from pathlib import Path

import cv2
import numpy as np

from components.ingest.mosaic import TILE_PIXELS, show_largest
from components.shared.data.image import decode
from components.shared.page import Page


def heights_of_images(sizes: list[int], path: Path) -> list[int]:
    """Return the heights of the images of a page with sets of these sizes, in tiles."""
    content = cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))[1].tobytes()
    page = Page("Sets")
    show_largest(page, "sets", [[0, 1]] * len(sizes), sizes, lambda tile: content)
    page.write(path)

    images = re.findall('data:image/jpeg;base64,([^"]+)"', path.read_text())
    return [decode(base64.b64decode(image)).shape[0] // TILE_PIXELS for image in images]


def test_every_large_set_and_at_least_four_sets_are_shown(tmp_path: Path) -> None:
    assert heights_of_images([61] * 25 + [60] * 10, tmp_path / "page.html") == [20, 5]
    assert heights_of_images([9] * 10, tmp_path / "page.html") == [4]
    assert heights_of_images([9], tmp_path / "page.html") == [1]
