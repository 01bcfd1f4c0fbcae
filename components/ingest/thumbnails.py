"""Hold small grey thumbnails of images. We compare them to confirm near duplicates.

An ingestion needs only a few thumbnails that earlier ingestions made. So those thumbnails stay on disk, and
their files are mapped into memory.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

THUMBNAIL_SIDE = 32
ROWS_PER_WRITE = 4096


class Thumbnails:
    """The thumbnails of all files of an ingestion, by row number. Each row is added once."""

    def __init__(self, files: int):
        """Start without thumbnails. `files` is the number of rows."""
        self._arrays: list[NDArray[np.uint8]] = []
        self._array_of_row = np.zeros(files, np.int64)
        self._position_of_row = np.zeros(files, np.int64)

    def add(self, rows: NDArray[np.int64], array: NDArray[np.uint8], positions: NDArray[np.int64]) -> None:
        """Add a thumbnail for each of `rows`: `array[positions]`, in the order of the rows. The array is not copied."""
        self._array_of_row[rows] = len(self._arrays)
        self._position_of_row[rows] = positions
        self._arrays.append(array)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the thumbnails of rows, uint8 (len(rows), 32, 32)."""
        thumbnails = blank(len(rows))
        for number, array in enumerate(self._arrays):
            here = self._array_of_row[rows] == number
            thumbnails[here] = array[self._position_of_row[rows[here]]]
        return thumbnails

    def write(self, rows: NDArray[np.int64], path: Path) -> None:
        """Write the thumbnails of rows to a file, one after the other, as raw bytes."""
        with open(path, "wb") as file:
            for start in range(0, len(rows), ROWS_PER_WRITE):
                file.write(self.read(rows[start : start + ROWS_PER_WRITE]).tobytes())


def blank(number: int) -> NDArray[np.uint8]:
    """Return black thumbnails to be filled in, uint8 (number, 32, 32)."""
    return np.zeros((number, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)


def open_thumbnails(path: str | Path, number: int) -> NDArray[np.uint8]:
    """Map a file of thumbnails into memory as uint8 (number, 32, 32). The file can be deleted afterwards.

    Raises:
        ValueError: The file does not hold exactly `number` thumbnails.
    """
    return np.memmap(path, np.uint8, "r").reshape(number, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
