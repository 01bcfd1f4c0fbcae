"""Read rows of a TIFF, BigTIFF or GeoTIFF file by its segments, which are strips or TIFF tiles.

Only the segments of the requested rows are in memory. They stay there until a caller requests later rows. So if a
caller reads a photo from top to bottom, each segment is decoded once.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tifffile import PHOTOMETRIC, TiffFile, TiffPage, memmap

from components.shared.data.image import EXIF_ORIENTATION, TIFF_NO_DATA, UPRIGHT
from components.shared.data.image_structure import MAX_PIXELS, TIFF_STARTS, ImageError, check_tiff

ALPHA = (1, 2)  # codes of an extra channel that is transparency, premultiplied or not
# If one row of segments has more pixels than this, it would need too much memory.
MAX_SEGMENT_PIXELS = 100_000_000


class Rows(NamedTuple):
    """Some rows of a photo, over its whole width.

    Attributes:
        pixels: uint8 (rows, width, 3) RGB.
        empty: bool (rows, width), true for pixels without data. The file marks them by transparency, a mask or a
            no-data value. None if the file has none of these three.
    """

    pixels: np.ndarray
    empty: np.ndarray | None


def is_tiff(path: Path) -> bool:
    """Return whether a file starts like a TIFF or BigTIFF file."""
    with path.open("rb") as file:
        return file.read(4) in TIFF_STARTS


@contextlib.contextmanager
def open_tiff(path: Path) -> Iterator["TiffRows | None"]:
    """Open a TIFF file for reading by rows. Yield None if only the ordinary decoder can read it.

    Raises:
        ImageError: The file is damaged. Or it cannot be read by rows, and is too large for the ordinary decoder.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(TiffFile(path))
            page = file.pages.first
            mask = check_tiff(file)
            obstacle = _obstacle(page) or (_obstacle_of_mask(mask) if mask else "")
        except ImageError:
            raise
        except Exception as error:  # tifffile raises many kinds of errors for damaged files
            raise ImageError(f"not a readable TIFF file: {error}") from error

        if obstacle and page.imagewidth * page.imagelength > MAX_PIXELS:
            raise ImageError(
                f"too large to decode at once: the photo has {page.imagewidth}x{page.imagelength} pixels, more than "
                f"{MAX_PIXELS}. The file cannot be read in parts, because {obstacle}. Save the photo as TIFF with 8 "
                "bits per channel and in tiles, uncompressed or with DEFLATE compression"
            )
        yield None if obstacle else TiffRows(path, file, page, mask)


def _obstacle(page: Any) -> str:
    """Return why a TIFF page cannot be read by rows, or "" if it can be."""
    if page.dtype != np.uint8 or page.bitspersample != 8:
        return f"it has {page.bitspersample} bits per channel"
    if page.photometric not in (PHOTOMETRIC.RGB, PHOTOMETRIC.MINISBLACK) or page.samplesperpixel not in (1, 2, 3, 4):
        return f"its colours are {page.photometric.name} with {page.samplesperpixel} channels"
    if page.planarconfig != 1 and page.samplesperpixel > 1:
        return "its channels are stored separately"
    if page.tags.valueof(EXIF_ORIENTATION, UPRIGHT) != UPRIGHT:
        return "it is stored rotated or mirrored"
    return "" if page.is_memmappable else _obstacle_of_segments(page)


def _obstacle_of_mask(mask: Any) -> str:
    """Return why a mask cannot be read by rows, or "" if it can be."""
    if mask.samplesperpixel != 1:
        return f"its mask has {mask.samplesperpixel} channels"
    return _obstacle_of_segments(mask)


def _obstacle_of_segments(page: Any) -> str:
    segment_rows = page.tilelength if page.is_tiled else page.rowsperstrip
    if min(segment_rows, page.imagelength) * page.imagewidth > MAX_SEGMENT_PIXELS:
        return f"its strips or tiles are {segment_rows} pixels high"
    # If tifffile does not know the compression, it raises an error even without data to decode.
    try:
        page.decode(None, 0)
    except ValueError as error:
        return f"its compression is {page.compression.name} ({error})"
    return ""


class TiffRows:
    """An open TIFF file. It implements the protocol `photo_reader.Photo`."""

    def __init__(self, path: Path, file: TiffFile, page: TiffPage | Any, mask: TiffPage | None):
        """Prepare to read a TIFF page and its mask by rows. `_obstacle` and `_obstacle_of_mask` must be ""."""
        self.width, self.height = int(page.imagewidth), int(page.imagelength)
        self.used_bits = 0
        self._page = page
        self._no_data = _number(page.tags.valueof(TIFF_NO_DATA))
        self._mapped = memmap(path, page=0, mode="r") if page.is_memmappable else None
        self._segments = _Segments(file, page, missing=self._no_data or 0)
        self._mask = None if mask is None else _Segments(file, mask, missing=0)

    def rows(self, top: int, bottom: int) -> Rows:
        """Return the rows from `top` to `bottom` - 1.

        Raises:
            ImageError: A segment is damaged.
        """
        colours, alpha = _colours_and_alpha(self._stored(top, bottom), self._page)
        empty = []
        if self._no_data is not None:
            empty.append((colours == self._no_data).all(axis=2))
        if alpha is not None:
            empty.append(alpha == 0)
        if self._mask is not None:
            empty.append(self._mask.rows(top, bottom)[..., 0] == 0)
        if colours.shape[2] == 1:
            colours = np.repeat(colours, 3, axis=2)
        return Rows(np.ascontiguousarray(colours), np.logical_or.reduce(empty) if empty else None)

    def _stored(self, top: int, bottom: int) -> np.ndarray:
        """Return rows as they are stored, uint8 (rows, width, samples)."""
        if self._mapped is None:
            return self._segments.rows(top, bottom)
        mapped = self._mapped.reshape(self.height, self.width, self._page.samplesperpixel)
        return np.array(mapped[top:bottom])


class _Segments:
    """The segments (strips or TIFF tiles) of a TIFF page. The segments of the latest call of `rows` stay in memory."""

    def __init__(self, file: TiffFile, page: TiffPage | Any, missing: float):
        """Prepare to read a page. A file can omit segments. The pixels of these segments get the value `missing`."""
        self._file = file
        self._page = page
        self._missing = np.uint8(missing)
        self._rows: dict[int, np.ndarray] = {}  # row of segments -> its pixels, (rows, width, samples)

    def rows(self, top: int, bottom: int) -> np.ndarray:
        """Return rows as they are stored, uint8 (rows, width, samples)."""
        height = self._segment_height()
        first, last = top // height, (bottom - 1) // height
        self._rows = {row: pixels for row, pixels in self._rows.items() if row >= first}
        for row in range(first, last + 1):
            if row not in self._rows:
                self._rows[row] = self._read(row)
        joined = np.concatenate([self._rows[row] for row in range(first, last + 1)])
        return joined[top - first * height : bottom - first * height]

    def _segment_height(self) -> int:
        page = self._page
        return int(min(page.tilelength if page.is_tiled else page.rowsperstrip, page.imagelength))

    def _read(self, row: int) -> np.ndarray:
        """Return the pixels of one row of segments, uint8 (rows, width, samples)."""
        page, height = self._page, self._segment_height()
        width = int(page.imagewidth)
        across = math.ceil(width / page.tilewidth) if page.is_tiled else 1
        shape = (min(height, int(page.imagelength) - row * height), width, page.samplesperpixel)
        pixels = np.full(shape, self._missing)

        for index in range(row * across, (row + 1) * across):
            segment, left = self._decode(index)
            if segment is not None:
                part = segment[: shape[0], : width - left]
                pixels[: part.shape[0], left : left + part.shape[1]] = part
        return pixels

    def _decode(self, index: int) -> tuple[np.ndarray | None, int]:
        """Return a segment, uint8 (rows, columns, samples), and its left edge in the photo.

        The segment is None if the file does not store it.
        """
        page = self._page
        try:
            self._file.filehandle.seek(page.dataoffsets[index])
            count = page.databytecounts[index]
            data = self._file.filehandle.read(count) if count else None
            segment, place, _ = page.decode(data, index)
        except Exception as error:  # the decompressors raise their own errors
            raise ImageError(f"not a whole image: part {index} of the TIFF file is damaged ({error})") from error
        return (None if segment is None else segment[0]), place[3]


def _colours_and_alpha(stored: np.ndarray, page: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Split stored samples into colours (rows, width, 1 or 3) and transparency (rows, width).

    The transparency is None if the file has none.
    """
    colours = 3 if page.photometric == PHOTOMETRIC.RGB else 1
    has_alpha = any(kind in ALPHA for kind in page.extrasamples)
    alpha = stored[..., colours] if has_alpha and stored.shape[2] > colours else None
    return stored[..., :colours], alpha


def _number(text: Any) -> float | None:
    """Return the no-data value, which GDAL writes as a text. Return None if it is not a whole number from 0 to 255."""
    try:
        value = float(str(text).strip(" \0"))
    except ValueError:
        return None
    return value if value in range(256) else None
