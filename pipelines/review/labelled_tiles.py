"""Write a table of people's answers about tiles of inspected photos. Ingestion can read this table as a source."""

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
    """The table that `write_labelled` wrote, and the numbers of labelled and disputed tiles.

    Attributes:
        path: File of the table.
        tiles: Number of tiles in the table.
        disputed: Number of tiles about which people disagree. These tiles are not in the table.
    """

    path: Path
    tiles: int
    disputed: int


def new_tiles(folder: Path) -> pd.DataFrame:
    """Return the rows of a queue that are about tiles of inspected photos. These rows have no label.

    Raises:
        InputError: The folder is not the folder of a queue.
    """
    queue = read_queue(folder)
    return queue[queue["label"] == ""]


def write_labelled(folder: Path, standing: Standing) -> Labelled:
    """Write a table of tiles of inspected photos: the tiles to which people gave the label crack or no_crack.

    The table has the columns path, label and group, as a source needs them. The group is the photo.

    Args:
        folder: The folder of the queue.
        standing: The answers that count now.

    Raises:
        InputError: The folder is not the folder of a queue, or a tile in it was changed.
    """
    new = new_tiles(folder)
    agreed = standing.agreed[standing.agreed["answer"].isin(CLASSES)].set_index("tile")["answer"]
    answered = new[new["tile"].isin(agreed.index)]
    for tile, file in zip(answered["tile"], answered["file"], strict=True):
        path = folder / file
        if not path.is_file() or file_digest(path) != tile:
            raise InputError(
                f"{path} is missing or was changed, so the answer is about another image; restore the file"
            )

    table = pd.DataFrame({"path": answered["file"], "label": answered["tile"].map(agreed), "group": answered["photo"]})
    with atomic_file(folder / TABLE) as file:
        table.to_csv(file, index=False)
    disputed = new["tile"].isin(standing.disputed["tile"])
    return Labelled(folder / TABLE, len(table), int(disputed.sum()))
