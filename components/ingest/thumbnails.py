"""Hold the small grey thumbnails and the landmarks of images. They help to find near duplicates and overlaps.

An ingestion needs only a few of the thumbnails and landmarks that earlier ingestions made. So these stay on disk, and
their files are mapped into memory.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.ingest.landmarks import LANDMARK, LANDMARKS

THUMBNAIL_SIDE = 32
ROWS_PER_WRITE = 4096
# A sketch: the thumbnail and the landmarks of one image.
SKETCH = np.dtype([("thumbnail", "u1", (THUMBNAIL_SIDE, THUMBNAIL_SIDE)), ("landmarks", LANDMARK, (LANDMARKS,))])


class Thumbnails:
    """The sketches (thumbnails with landmarks) of all files of an ingestion. Each file has a row number."""

    def __init__(self, files: int):
        """Start without thumbnails. `files` is the number of rows."""
        self._arrays: list[NDArray] = []
        self._array_of_row = np.zeros(files, np.int64)
        self._position_of_row = np.zeros(files, np.int64)

    def add(self, rows: NDArray[np.int64], array: NDArray, positions: NDArray[np.int64]) -> None:
        """Add the sketches of some rows, without copying the array. Add each row only once.

        The sketch of `rows[i]` is `array[positions[i]]`. `array` has the dtype `SKETCH`.
        """
        self._array_of_row[rows] = len(self._arrays)
        self._position_of_row[rows] = positions
        self._arrays.append(array)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the thumbnails of rows, uint8 (len(rows), 32, 32)."""
        return self._read(rows, "thumbnail")

    def read_landmarks(self, rows: NDArray[np.int64]) -> NDArray:
        """Return the landmarks of rows, an array of dtype `LANDMARK` and shape (len(rows), LANDMARKS)."""
        return self._read(rows, "landmarks")

    def _read(self, rows: NDArray[np.int64], field: str) -> NDArray:
        values = np.zeros(len(rows), SKETCH[field])
        for number, array in enumerate(self._arrays):
            here = self._array_of_row[rows] == number
            values[here] = array[field][self._position_of_row[rows[here]]]
        return values

    def write(self, rows: NDArray[np.int64], path: Path) -> None:
        """Write the sketches of rows to a file, one after the other, as raw bytes."""
        with open(path, "wb") as file:
            for start in range(0, len(rows), ROWS_PER_WRITE):
                written = rows[start : start + ROWS_PER_WRITE]
                sketches = blank(len(written))
                sketches["thumbnail"] = self.read(written)
                sketches["landmarks"] = self.read_landmarks(written)
                file.write(sketches.tobytes())


def blank(number: int) -> NDArray:
    """Return empty sketches: black thumbnails without landmarks, an array of dtype `SKETCH` and shape (number,)."""
    return np.zeros(number, SKETCH)


def open_thumbnails(path: str | Path, number: int) -> NDArray:
    """Map a file of sketches into memory. The file can be deleted afterwards.

    Returns:
        An array of dtype `SKETCH` and shape (number,).

    Raises:
        ValueError: The file holds fewer than `number` sketches.
    """
    return np.memmap(path, SKETCH, "r", shape=(number,))
