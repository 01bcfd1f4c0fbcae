"""Small grey pictures of files, to compare them by: few are ever looked at, so those of known files stay on disk."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

THUMBNAIL = 32  # pixels, height and width
ROWS = 4096  # in memory at once


class Thumbnails:
    """The thumbnails of files by their row number, wherever they lie; every row is added once."""

    def __init__(self, files: int):
        self._lots: list[NDArray[np.uint8]] = []
        self._lot, self._at = np.zeros(files, np.int64), np.zeros(files, np.int64)

    def add(self, rows: NDArray[np.int64], lot: NDArray[np.uint8], at: NDArray[np.int64]) -> None:
        """Say that the thumbnails of these rows are `lot[at]`; they are not copied."""
        self._lot[rows], self._at[rows] = len(self._lots), at
        self._lots.append(lot)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The thumbnails of rows, uint8 (len(rows), 32, 32)."""
        found = blank(len(rows))
        for number, lot in enumerate(self._lots):
            mine = self._lot[rows] == number
            found[mine] = lot[self._at[rows[mine]]]
        return found

    def write(self, rows: NDArray[np.int64], path: Path) -> None:
        """Write the thumbnails of rows, one behind the other."""
        with open(path, "wb") as file:
            for start in range(0, len(rows), ROWS):
                file.write(self.read(rows[start : start + ROWS]).tobytes())


def blank(number: int) -> NDArray[np.uint8]:
    """Black thumbnails to be filled in, uint8 (number, 32, 32)."""
    return np.zeros((number, THUMBNAIL, THUMBNAIL), np.uint8)


def open_thumbnails(path: str | Path, number: int) -> NDArray[np.uint8]:
    """Map a file of thumbnails into memory, uint8 (number, 32, 32). Raises `ValueError` where it holds another number.

    The file may be deleted then.
    """
    return np.memmap(path, np.uint8, "r").reshape(number, THUMBNAIL, THUMBNAIL)
