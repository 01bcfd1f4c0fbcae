"""Write a queue of tiles in the format of an annotation program, such as CVAT."""

from pathlib import Path

from components.shared.errors import InputError
from pipelines.review.formats import coco, cvat, label_studio, yolo
from pipelines.review.formats.exported import exported_tiles

WRITERS = {"label-studio": label_studio.write, "cvat": cvat.write, "coco": coco.write, "yolo": yolo.write}


def export_queue(folder: Path, program: str, with_labels: bool = False) -> Path:
    """Write a queue in the format of an annotation program. The result is in the folder of the queue.

    Args:
        folder: The folder that `review queue` wrote.
        program: label-studio, cvat, coco or yolo.
        with_labels: True writes the current labels as answers. These answers influence the people who review the tiles.

    Returns:
        The file or folder that was written.

    Raises:
        InputError: The program is unknown, or the folder is not the folder of a queue.
    """
    if program not in WRITERS:
        raise InputError(f"--to is {program!r}; give one of {', '.join(WRITERS)}")
    return WRITERS[program](exported_tiles(folder, with_labels), folder)
