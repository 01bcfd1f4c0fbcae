"""Read photos of any size row by row, so that the memory does not grow with the height of an orthomosaic.

If a TIFF file stores plain 8-bit pixels, only its strips or TIFF tiles with the wanted rows are read (`tiff_rows.py`).
Every other file is decoded completely, and may have at most `MAX_PIXELS` pixels. To decode a part of a JPEG, PNG or
HEIF file, a decoder must also decode everything before this part.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from components.inspect.tiff_rows import Rows, is_tiff, open_tiff
from components.shared.data.image import decode_with_depth, empty_pixels

PREVIEW_BAND_PIXELS = 8_000_000  # pixels of a photo that are in memory at once while its preview is made


class Photo(Protocol):
    """An open photo. The EXIF rotation is already applied to `width`, `height` and `rows`.

    Attributes:
        used_bits: Bits per value before the photo was scaled to 8 bits, such as 12 (`image_depth.Decoded`). It is 0 if
            the photo was not scaled.
    """

    width: int
    height: int
    used_bits: int

    def rows(self, top: int, bottom: int) -> Rows:
        """Return the rows from `top` to `bottom` - 1."""
        ...


@contextlib.contextmanager
def open_photo(path: Path) -> Iterator[Photo]:
    """Open a photo.

    Raises:
        ImageError: The file is damaged, is too large, or is not an image that we can read.
        OSError: The file cannot be read.
    """
    with contextlib.ExitStack() as stack:
        if is_tiff(path):
            tiff = stack.enter_context(open_tiff(path))
            if tiff is not None:
                yield tiff
                return
        yield _DecodedPhoto(path)


def preview(photo: Photo, longest: int) -> np.ndarray:
    """Return the photo, scaled so that its longer side has at most `longest` pixels: uint8 (h, w, 3) RGB."""
    scale = min(1.0, longest / max(photo.width, photo.height))
    width, height = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    rows_at_once = max(1, round(PREVIEW_BAND_PIXELS / photo.width * scale))

    bands = []
    for first in range(0, height, rows_at_once):
        last = min(height, first + rows_at_once)
        top, bottom = round(first / height * photo.height), round(last / height * photo.height)
        pixels = photo.rows(top, max(bottom, top + 1)).pixels
        bands.append(cv2.resize(pixels, (width, last - first), interpolation=cv2.INTER_AREA))
    return np.concatenate(bands)


class _DecodedPhoto:
    """A photo whose file is decoded completely."""

    def __init__(self, path: Path):
        data = path.read_bytes()
        self._pixels, self.used_bits = decode_with_depth(data)
        self._empty = empty_pixels(data)
        self.height, self.width = self._pixels.shape[:2]

    def rows(self, top: int, bottom: int) -> Rows:
        return Rows(self._pixels[top:bottom], None if self._empty is None else self._empty[top:bottom])
