"""The images that are predicted: clean ones, and the worse views of them that the robustness suite asks for."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd

from components.predict.config import CorruptionConfig
from components.predict.corruptions import corrupt
from components.shared.data.image import decode
from components.shared.network.resize import resize
from components.shared.network.tiles import TileDataset

CLEAN = {"corruption": "clean", "severity": 0}
CELL = 112  # pixels of one view in the picture


def corrupted_views(rows: pd.DataFrame, config: CorruptionConfig) -> pd.DataFrame:
    """Return every image once per family and severity, named in the columns `corruption` and `severity`.

    Args:
        rows: Robustness rows; of more than `max_images`, those with the lowest sample ids are taken. Ids are
            checksums, so this is a random sample, and as the data grows it changes least.
        config: Families, severities and the number of images.
    """
    chosen = rows.sort_values("sample_id").head(config.max_images)
    views = pd.DataFrame(
        [(family, severity) for family in config.families for severity in sorted(config.severities)],
        columns=["corruption", "severity"],
    )
    return chosen.merge(views, how="cross")


class ViewDataset(TileDataset):
    """Tiles, each in the view that the columns `corruption` and `severity` of its row name.

    An image is made worse in its own size and then scaled for the network: the camera comes before the computer.
    """

    def __init__(self, rows: pd.DataFrame, folder: Path, size: int):
        super().__init__(rows, folder, size)
        self._views = list(zip(rows["corruption"], rows["severity"].astype(int), rows["sample_id"], strict=True))

    def tile(self, index: int) -> np.ndarray:
        """Return an image (size, size, 3) uint8 RGB in its view."""
        family, severity, sample_id = self._views[index]
        if family == CLEAN["corruption"]:
            return super().tile(index)
        return resize(corrupt(decode(self.read(index)), family, severity, sample_id), self.size)


def draw_views(rows: pd.DataFrame, tiles: Path, config: CorruptionConfig) -> bytes:
    """Return a JPEG of one cracked robustness image (else any): families as rows, severities as columns, clean first.

    Args:
        rows: Robustness rows, not empty.
        tiles: Folder of the fetched data set version.
        config: Families and severities.
    """
    cracks = rows[rows["label"] == 1]
    one = (cracks if len(cracks) else rows).sort_values("sample_id").head(1)
    views = corrupted_views(one, config)
    severities = sorted(config.severities)
    from PIL import Image, ImageDraw  # late: most predictions are reused and draw nothing

    margin = 110
    sheet = Image.new("RGB", (margin + (1 + len(severities)) * CELL, 20 + len(config.families) * CELL), "white")
    pen = ImageDraw.Draw(sheet)
    clean = ViewDataset(one.assign(**CLEAN), tiles, CELL).tile(0)
    worse = ViewDataset(views, tiles, CELL)
    for column, title in enumerate(["clean", *(f"severity {severity}" for severity in severities)]):
        pen.text((margin + column * CELL + 4, 4), title, fill="black")
    for line, family in enumerate(config.families):
        top = 20 + line * CELL
        pen.text((4, top + CELL // 2 - 6), family.replace("_", " "), fill="black")
        for column in range(1 + len(severities)):
            cell = clean if column == 0 else worse.tile(line * len(severities) + column - 1)
            sheet.paste(Image.fromarray(cell), (margin + column * CELL, top))
    out = BytesIO()
    sheet.save(out, "JPEG", quality=85)
    return out.getvalue()
