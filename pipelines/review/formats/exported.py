"""Read the tiles of a queue, with all facts that an export to an annotation program needs."""

from dataclasses import dataclass
from pathlib import Path

from components.shared.data.image import ImageError, read_header
from components.shared.errors import InputError
from pipelines.review.queue import read_queue


@dataclass(frozen=True)
class ExportedTile:
    """A tile of a queue.

    Attributes:
        tile: The tile's sample_id.
        file: Path of the image file, relative to the folder of the queue.
        width: Width of the tile in pixels.
        height: Height of the tile in pixels.
        label: The answer to write into the file; "" to write no answer.
    """

    tile: str
    file: str
    width: int
    height: int
    label: str

    @property
    def name(self) -> str:
        """The name of the image file without its folder. Annotation programs show this name after an upload."""
        return Path(self.file).name


def exported_tiles(folder: Path, with_labels: bool) -> list[ExportedTile]:
    """Read the tiles of a queue.

    Args:
        folder: The folder that `review queue` wrote.
        with_labels: True gives each tile its current label as the answer.

    Raises:
        InputError: The folder is not the folder of a queue, or an image in it cannot be read.
    """
    tiles = []
    for row in read_queue(folder).to_dict("records"):
        try:
            header = read_header((folder / row["file"]).read_bytes())
        except (OSError, ImageError) as error:
            raise InputError(f"{folder / row['file']} cannot be read ({error}); make the queue again") from error
        label = row["label"] if with_labels else ""
        tiles.append(ExportedTile(row["tile"], row["file"], header.width, header.height, label))
    return tiles
