"""Draw rows of tiles as one image."""

import cv2
import numpy as np

from components.shared.data.image import decode, thumbnail

MOSAIC_COLUMNS = 10
TILE_PIXELS, MARGIN_PIXELS = 96, 2


def mosaic(rows: list[list[bytes]]) -> bytes:
    """Return a JPEG that shows each row of images side by side."""
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
