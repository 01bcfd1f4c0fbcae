"""The answers to tiles of inspected photos, as a table that ingestion reads as a source."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from components.shared.atomic_file import atomic_file
from components.shared.data.corrections import Standing
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from components.shared.hashing import file_digest
from pipelines.review.queue import read_queue

TABLE = "labelled.csv"


class Labelled(NamedTuple):
    """The table of labelled tiles, and how many tiles it has and does not have.

    Attributes:
        path: The table.
        tiles: Number of tiles in it.
        disputed: Number of tiles about which people disagree; they are not in it.
    """

    path: Path
    tiles: int
    disputed: int


def new_tiles(folder: Path) -> pd.DataFrame:
    """Return the rows of a queue that are tiles of inspected photos. They have no label.

    Raises:
        InputError: The folder is not the folder of a queue.
    """
    queue = read_queue(folder)
    return queue[queue["label"] == ""]


def write_labelled(folder: Path, standing: Standing) -> Labelled:
    """Write a table of the tiles of inspected photos to which people have answered crack or no_crack.

    Its columns are those of a source: path, label, and group, which is the photo.

    Args:
        folder: The folder of the queue.
        standing: The answers that stand now.

    Raises:
        InputError: The folder is not the folder of a queue, or a tile in it was changed.
    """
    new = new_tiles(folder)
    agreed = standing.agreed[standing.agreed["answer"].isin(CLASSES)].set_index("tile")["answer"]
    answered = new[new["tile"].isin(agreed.index)]
    for tile, file in zip(answered["tile"], answered["file"], strict=True):
        path = folder / file
        if not path.is_file() or file_digest(path) != tile:
            raise InputError(f"{path} is missing or was changed, so its answer is about another image; restore it")

    table = pd.DataFrame({"path": answered["file"], "label": answered["tile"].map(agreed), "group": answered["photo"]})
    with atomic_file(folder / TABLE) as file:
        table.to_csv(file, index=False)
    disputed = new["tile"].isin(standing.disputed["tile"])
    return Labelled(folder / TABLE, len(table), int(disputed.sum()))
