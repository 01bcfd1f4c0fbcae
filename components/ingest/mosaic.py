"""Draw rows of tiles as one image, and show the largest sets of tiles."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from components.shared.data.image import decode, thumbnail
from components.shared.page import Page

MOSAIC_COLUMNS = 10
TILE_PIXELS, MARGIN_PIXELS = 96, 2
SETS_SHOWN = 4
TILES_OF_A_LARGE_SET = 60  # every larger set is shown
ROWS_IN_AN_IMAGE = 20


def mosaic(rows: list[list[bytes]]) -> bytes:
    """Return a JPEG that shows the rows of images, one below the other."""
    columns = max(map(len, rows))
    canvas = np.full((len(rows) * TILE_PIXELS, columns * TILE_PIXELS, 3), 255, np.uint8)
    side = TILE_PIXELS - 2 * MARGIN_PIXELS

    for row, contents in enumerate(rows):
        for column, content in enumerate(contents):
            top = row * TILE_PIXELS + MARGIN_PIXELS
            left = column * TILE_PIXELS + MARGIN_PIXELS
            tile = cv2.resize(decode(content), (side, side), interpolation=cv2.INTER_AREA)
            canvas[top : top + side, left : left + side] = tile
    return thumbnail(canvas, max(canvas.shape))


def show_largest(
    page: Page, name: str, sets: Sequence[Sequence[int]], sizes: Sequence[int], read: Callable[[int], bytes]
) -> None:
    """Append images that show the largest sets of tiles.

    We show at least the largest `SETS_SHOWN` sets. We also show every set with more than `TILES_OF_A_LARGE_SET` tiles.

    Args:
        page: The page.
        name: What the sets are, in the plural.
        sets: For each set, the indices of the tiles to show. The largest set is first. We show only the first
            `MOSAIC_COLUMNS` tiles of a set.
        sizes: Number of tiles of each set.
        read: Returns the content of an image, given its index.
    """
    large = sum(size > TILES_OF_A_LARGE_SET for size in sizes)
    shown = min(max(SETS_SHOWN, large), len(sets))
    for start in range(0, shown, ROWS_IN_AN_IMAGE):
        end = min(start + ROWS_IN_AN_IMAGE, shown)
        rows = []
        for tiles in sets[start:end]:
            rows.append(list(map(read, tiles[:MOSAIC_COLUMNS])))
        counts = ", ".join(map(str, sizes[start:end]))
        caption = f"The largest {name}, one in each row; they have {counts} tiles"
        page.image(mosaic(rows), caption, f"Tiles of {name}")
