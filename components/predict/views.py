"""Make the views of tiles that a network classifies: the clean tile, and the corruptions of the robustness suite."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from components.predict.config import CorruptionConfig
from components.predict.corruptions import corrupt
from components.shared.data.image import decode
from components.shared.network.resize import Resize
from components.shared.network.tiles import TileDataset

CLEAN = {"corruption": "clean", "severity": 0}

# Layout of the figure with all views of a tile, in pixels.
CELL = 112
LEFT_MARGIN = 110
TOP_MARGIN = 20
TEXT_INDENT = 4


def corrupted_views(rows: pd.DataFrame, config: CorruptionConfig) -> pd.DataFrame:
    """Return one row for each combination of tile, family and severity.

    The columns `corruption` (the family) and `severity` name the view.

    Args:
        rows: Rows of the robustness split. If there are more than `max_images` rows, the rows with the lowest sample
            ids are used. Ids are checksums, so this is a random sample, and it changes little when the data set grows.
        config: Gives the families, the severities and the largest number of tiles.
    """
    chosen = rows.sort_values("sample_id").head(config.max_images)
    views = pd.MultiIndex.from_product([config.families, sorted(config.severities)], names=["corruption", "severity"])
    return chosen.merge(views.to_frame(index=False), how="cross")


class ViewDataset(TileDataset):
    """A data set of tiles. The columns `corruption` and `severity` of a tile's row name the view of the tile.

    A tile is corrupted at its full size, and then it is scaled for the network. In production, too, an image is first
    corrupted by the camera and then scaled.
    """

    def __init__(self, rows: pd.DataFrame, folder: Path, resize: Resize):
        super().__init__(rows, folder, resize)
        self._views = list(zip(rows["corruption"], rows["severity"].astype(int), rows["sample_id"], strict=True))

    def tile(self, index: int) -> np.ndarray:
        """Return the view of a tile, uint8 (size, size, 3) RGB."""
        family, severity, sample_id = self._views[index]
        if family == CLEAN["corruption"]:
            return super().tile(index)
        return self.resize(corrupt(decode(self.read(index)), family, severity, sample_id))


def draw_views(rows: pd.DataFrame, tiles: Path, config: CorruptionConfig) -> bytes:
    """Return a JPEG with all views of one tile.

    The image has a row for each family of corruption and a column for each severity. The first column shows the clean
    tile.

    Args:
        rows: Rows of the robustness split, not empty. If there are cracked tiles, one of them is shown.
        tiles: Folder of the fetched data set version.
        config: Gives the families and the severities.
    """
    from PIL import Image, ImageDraw  # imported here because most predictions are reused and draw nothing

    cracks = rows[rows["label"] == 1]
    candidates = cracks if len(cracks) else rows
    chosen = candidates.sort_values("sample_id").head(1)
    clean = ViewDataset(chosen.assign(**CLEAN), tiles, Resize(CELL)).tile(0)
    corrupted = ViewDataset(corrupted_views(chosen, config), tiles, Resize(CELL))

    severities = sorted(config.severities)
    titles = ["clean"] + [f"severity {severity}" for severity in severities]
    size = (LEFT_MARGIN + len(titles) * CELL, TOP_MARGIN + len(config.families) * CELL)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        pen.text((LEFT_MARGIN + column * CELL + TEXT_INDENT, TEXT_INDENT), title, fill="black")

    view = 0
    for row, family in enumerate(config.families):
        top = TOP_MARGIN + row * CELL
        pen.text((TEXT_INDENT, top + CELL // 2 - 6), family.replace("_", " "), fill="black")
        sheet.paste(Image.fromarray(clean), (LEFT_MARGIN, top))
        for column in range(1, len(titles)):
            sheet.paste(Image.fromarray(corrupted.tile(view)), (LEFT_MARGIN + column * CELL, top))
            view += 1

    jpeg = BytesIO()
    sheet.save(jpeg, "JPEG", quality=85)
    return jpeg.getvalue()
