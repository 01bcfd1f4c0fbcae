"""Check image files before a decoder reads them: the number of pixels, the checksums, and the end of the file."""

import re
import zlib
from collections.abc import Iterator
from io import BytesIO

# Pillow's own limit, which we use for every decoder. A small file can contain more pixels than fit into the memory.
MAX_PIXELS = 178_956_970
JPEG, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
# Start-of-frame markers. The three omitted markers have another meaning (JPEG standard T.81, table B.1).
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# In a scan's data, 0xff is followed by 0 or by a restart marker. Any other byte after 0xff starts the next segment.
JPEG_NEXT_SEGMENT = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
PNG = b"\x89PNG\r\n\x1a\n"
TIFF_SUBFILE_TYPE = 254
# A TIFF directory with one of these subfile types contains an overview or a transparency mask.
TIFF_OVERVIEW, TIFF_MASK = 1, 4
HEIF_FILE_TYPE = b"ftyp"
# The box with the width and height of a coded image (ISO/IEC 23008-12, section 6.5.3). A HEIF file can show only a part
# of a coded image.
HEIF_SIZE = re.compile(rb"ispe\0{4}(....)(....)", re.DOTALL)


class ImageError(ValueError):
    """The bytes are not an undamaged image that we accept. The message gives the reason, but not the file's name."""


def check_size(width: int, height: int) -> None:
    """Raise ImageError if an image has more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise ImageError(f"too large: {width}x{height} pixels, more than {MAX_PIXELS}; cut it into smaller images")


def check_png(data: bytes) -> None:
    """Raise ImageError if a chunk is missing or has a wrong checksum (PNG specification, 5.3)."""
    place, kind = len(PNG), b""
    while kind != b"IEND":
        end = place + 12 + int.from_bytes(data[place : place + 4])
        if end > len(data):
            raise ImageError("not a whole image: the end of the PNG data is missing")
        kind = data[place + 4 : place + 8]
        checksum = int.from_bytes(data[end - 4 : end])
        if zlib.crc32(memoryview(data)[place + 4 : end - 4]) != checksum:
            raise ImageError("not a whole image: a checksum of the PNG data is wrong")
        place = end


def without_trailing_data(jpeg: bytes) -> bytes:
    """Return the JPEG without the data that follows it, such as the video of a motion photo.

    Raises:
        ImageError: The end of the JPEG is missing. An interrupted download can leave zeros there, and Pillow would
            decode the zeros as image data.
    """
    if jpeg.endswith(JPEG_END):
        return jpeg
    for marker, start, _ in _jpeg_segments(jpeg):
        if marker == JPEG_END[1]:
            return jpeg[: start + 2]
    raise ImageError("not a whole image: the end of the JPEG data is missing")


def _jpeg_segments(jpeg: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment of a JPEG file. Stop if the structure is broken."""
    place = len(JPEG)
    while place + 2 <= len(jpeg) and jpeg[place] == 0xFF:
        marker = jpeg[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == JPEG_END[1]:
            yield marker, place, place + 2
            return

        end = place + 2 + int.from_bytes(jpeg[place + 2 : place + 4])
        yield marker, place, end
        if marker == JPEG_SCAN[1]:
            following = JPEG_NEXT_SEGMENT.search(jpeg, end)
            if following is None:
                return
            end = following.start()
        place = end


def size_in_header(data: bytes) -> tuple[int, int] | None:
    """Return the width and height of a PNG or JPEG file. Return None if the format or the header gives no size."""
    if data.startswith(PNG):
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if data.startswith(JPEG):
        for marker, start, _ in _jpeg_segments(data):
            if marker in JPEG_FRAMES:
                return int.from_bytes(data[start + 7 : start + 9]), int.from_bytes(data[start + 5 : start + 7])
    return None


def check_heif_sizes(data: bytes) -> None:
    """Raise ImageError if a coded image in a HEIF or AVIF file has more than MAX_PIXELS. Other files are ignored.

    Such a file can show a small part of a huge coded image, and Pillow reports only the size of this part.
    """
    if data[4:8] == HEIF_FILE_TYPE:
        for size in HEIF_SIZE.finditer(data):
            check_size(int.from_bytes(size[1]), int.from_bytes(size[2]))


def tiff_pages(data: bytes) -> int:
    """Count the full-resolution images in a TIFF file: the directories that are neither an overview nor a mask."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    is_big_tiff = 43 in data[2:4]
    header = data[:16] if is_big_tiff else data[:8]
    file = BytesIO(data)

    pages = 0
    seen: set[int] = set()
    place = ImageFileDirectory_v2(header).next
    while place and place not in seen:
        seen.add(place)
        directory = ImageFileDirectory_v2(header)
        file.seek(place)
        directory.load(file)
        if not directory.get(TIFF_SUBFILE_TYPE, 0) & (TIFF_OVERVIEW | TIFF_MASK):
            pages += 1
        place = directory.next
    return pages
