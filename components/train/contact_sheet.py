"""Draw a contact sheet. Each row shows a training tile, and then the same tile with different augmentations."""

import cv2
import numpy as np

from components.shared.network.tiles import TileDataset
from components.train.augmentation import build_augmentation
from components.train.task import Task

TILES_PER_CLASS = 2
VIEWS = 7
LARGEST_SIDE = 128  # of a tile on the sheet, in pixels
GAP = 4  # pixels
WHITE = 255
JPEG_QUALITY = 85


def draw_contact_sheet(task: Task) -> bytes:
    """Return the contact sheet as a JPEG file. It has one row for each tile, and the rows with a crack are at the top.

    Args:
        task: The network, data and settings of the training. The sheet shows the first tiles of each class in the
            training split.
    """
    labels = task.train["label"].to_numpy()
    cracks = np.flatnonzero(labels == 1)[:TILES_PER_CLASS]
    others = np.flatnonzero(labels == 0)[:TILES_PER_CLASS]
    tiles = TileDataset(task.train, task.tiles, task.info.resize)
    augment = build_augmentation(task.config.augment)

    rows = []
    for row, index in enumerate(np.concatenate([cracks, others])):
        tile = tiles.tile(int(index))
        views = [augment(tile, row * VIEWS + number) for number in range(VIEWS)]
        rows.append(np.hstack([_framed(view) for view in (tile, *views)]))

    sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return jpeg.tobytes()


def _framed(view: np.ndarray) -> np.ndarray:
    """Return an image of a tile with a white frame. A large image is made smaller."""
    side = min(LARGEST_SIDE, len(view))
    small = cv2.resize(view, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(small, GAP, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=(WHITE, WHITE, WHITE))
