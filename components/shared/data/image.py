"""Decode image files to arrays. No other module opens an image file.

Pillow tries only the formats in FORMATS, so everything is decoded in this process. Without this list, Pillow starts
Ghostscript for a file with EPS content, even if its name ends in .jpg.
"""

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

# The formats that we decode, by Pillow's names. JPEG includes photos with several views (MPO).
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000", "AVIF", "PPM")
# A search for images finds files with these suffixes.
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
# Pillow's own limit, which we use for every decoder. The pixels of a small file can need more than the whole memory.
MAX_PIXELS = 178_956_970
# A file with 16 bits per value can use fewer bits; see `_to_eight_bits`.
USED_BITS = (8, 10, 12, 14, 16)
THUMBNAIL_JPEG_QUALITY = 80

JPEG, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
# Start-of-frame markers. The three omitted markers have another meaning (JPEG standard T.81, table B.1).
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# In a scan's data, 0xff is followed by 0 or by a restart marker. Any other byte after 0xff starts the next segment.
JPEG_NEXT_SEGMENT = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
PNG = b"\x89PNG\r\n\x1a\n"
TIFF_SUBFILE_TYPE, TIFF_BITS_PER_SAMPLE, TIFF_PHOTOMETRIC, TIFF_PLANAR_CONFIGURATION = 254, 258, 262, 284
# Subfile types of a TIFF directory that holds an overview or a transparency mask.
TIFF_OVERVIEW, TIFF_MASK = 1, 4
TIFF_WHITE_IS_ZERO = 0
TIFF_SEPARATE_PLANES = 2


class ImageError(ValueError):
    """The bytes are not a whole image that we accept. The message gives the reason, without the file's name."""


class Header(NamedTuple):
    """The header of an image file, which can be read without decoding the pixels.

    Attributes:
        format: One of FORMATS. A photo with several views (MPO) counts as JPEG.
        width: Width in pixels, before the EXIF orientation is applied.
        height: Height in pixels, before the EXIF orientation is applied.
        frames: Number of frames of an animation, or of pages of a document; 1 for a photo. Further views of an MPO
            file, and overviews and masks of a TIFF file, do not count.
    """

    format: str
    width: int
    height: int
    frames: int


def read_header(data: bytes) -> Header:
    """Read an image file's header without decoding its pixels.

    Raises:
        ImageError: The file is not an image in one of the FORMATS, or has more than MAX_PIXELS.
    """
    with _opened(data) as image:
        if image.format == "MPO":
            return Header("JPEG", image.width, image.height, frames=1)
        frames = _tiff_pages(data) if image.format == "TIFF" else getattr(image, "n_frames", 1)
        return Header(str(image.format), image.width, image.height, frames)


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file in one of the FORMATS. If a file holds several images, decode the first image.

    EXIF orientation is applied. Grey, palette and CMYK images become RGB, and an alpha channel is dropped. 16-bit
    values are scaled by the number of bits that the image really uses (see `_to_eight_bits`).

    OpenCV decodes JPEG and PNG files. It is fast, but it fills missing parts with grey and reports no error. So we
    check the end of a JPEG and the checksums of a PNG ourselves. Pillow, which is strict, decodes all other files, and
    files that OpenCV refuses. Damage in the middle of a JPEG raises no error. libjpeg only prints a warning, which
    ingestion reads.

    Args:
        data: Content of the file. A JPEG can be followed by other data, such as the video of a motion photo.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ImageError: The file is not an image in one of the FORMATS, is not whole, has more than MAX_PIXELS, or has
            pixels with an unknown scale.
    """
    if data.startswith(PNG):
        _check_png(data)
    elif data.startswith(JPEG):
        data = _without_trailing_data(data)

    size = _size_in_header(data)
    if size is not None:
        _check_size(*size)
        image = _decode_with_opencv(data)
        if image is not None:
            return image
    return _decode_with_pillow(data)


def jpeg_tables(data: bytes) -> dict[int, list[int]] | None:
    """Return the quantisation tables of a JPEG file, which decide its quality; None for another format."""
    with _opened(data) as image:
        return getattr(image, "quantization", None)


def decode_mask(data: bytes) -> NDArray[np.bool_]:
    """Decode a mask. A pixel is true if it is brighter than half of the brightest pixel, so 0/1 and 0/255 both work.

    Returns:
        bool (H, W); all false for a black image.

    Raises:
        ImageError: `decode` cannot decode the file.
    """
    grey = cv2.cvtColor(decode(data), cv2.COLOR_RGB2GRAY)
    return grey > int(grey.max()) / 2


def thumbnail(image: NDArray[np.uint8], longest: int) -> bytes:
    """Return a small JPEG file of an image.

    Args:
        image: uint8 (H, W, 3), RGB.
        longest: The thumbnail's longer side in pixels. The proportion is unchanged.
    """
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_JPEG_QUALITY])[1].tobytes()


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"too large: {width}x{height} pixels, more than {MAX_PIXELS}; cut it into smaller images")


def _check_png(data: bytes) -> None:
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


def _without_trailing_data(jpeg: bytes) -> bytes:
    """Return the JPEG without the data that follows it, such as the video of a motion photo.

    Raises:
        ImageError: The end of the JPEG is missing. Interrupted downloads leave zeros, which Pillow would decode as
            image data.
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


def _size_in_header(data: bytes) -> tuple[int, int] | None:
    """Return the width and height of a PNG or JPEG file; None for other formats, or if the header has no size."""
    if data.startswith(PNG):
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    if data.startswith(JPEG):
        for marker, start, _ in _jpeg_segments(data):
            if marker in JPEG_FRAMES:
                return int.from_bytes(data[start + 7 : start + 9]), int.from_bytes(data[start + 5 : start + 7])
    return None


def _decode_with_opencv(data: bytes) -> NDArray[np.uint8] | None:
    """Decode with OpenCV, which applies the EXIF orientation. Return None if OpenCV refuses the data.

    OpenCV 5.0 reads 16-bit colours of TIFF files correctly only as BGR. As RGB, the values are random.
    """
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None
    if bgr is None or bgr.dtype not in (np.uint8, np.uint16):
        return None
    return _to_eight_bits(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _decode_with_pillow(data: bytes) -> NDArray[np.uint8]:
    from PIL import ImageOps

    with _opened(data) as opened:
        if opened.mode.startswith("RGB") and _bits_per_sample(opened, data) == 16:
            return _decode_sixteen_bit_colours(opened, data)

        upright = ImageOps.exif_transpose(opened)
        is_sixteen_bits = upright.mode.startswith("I;16")
        if upright.mode == "I" and opened.format == "PPM":  # Pillow scales these files to 16 bits
            is_sixteen_bits = True
        if is_sixteen_bits:
            grey = _to_eight_bits(np.asarray(upright).astype(np.uint16))
            if _tiff_tag(opened, TIFF_PHOTOMETRIC) == TIFF_WHITE_IS_ZERO:
                grey = 255 - grey
            return np.repeat(grey[..., None], 3, axis=2)

        if upright.mode in ("I", "F"):
            raise ImageError(
                "its pixels are signed or 32-bit numbers, and the file does not define the value of white; convert it "
                "to 8 or 16 bits"
            )
        return np.asarray(upright.convert("RGB"))


def _decode_sixteen_bit_colours(opened: "Image", data: bytes) -> NDArray[np.uint8]:
    """Decode with OpenCV. Pillow would keep only the upper 8 bits, which makes a 12-bit image almost black."""
    image = None
    if _tiff_tag(opened, TIFF_PLANAR_CONFIGURATION) != TIFF_SEPARATE_PLANES:  # OpenCV reads wrong values here
        image = _decode_with_opencv(data)
    if image is None:
        raise ImageError("it has 16 bits per channel in an unknown form; convert the image to 8 bits per channel")
    return image


def _to_eight_bits(values: NDArray) -> NDArray[np.uint8]:
    """Scale uint16 values to 8 bits. The largest value that the used bits can hold becomes white (255).

    Cameras and scanners store 10, 12 or 14 bits in 16-bit files. The number of used bits is the smallest number in
    USED_BITS that can hold the image's largest value. uint8 values are returned unchanged.
    """
    if values.dtype == np.uint8:
        return values
    largest = int(values.max())
    used_bits = next(bits for bits in USED_BITS if largest < 2**bits)
    white = 2**used_bits - 1
    eight_bits = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)
    return eight_bits[values]


@contextmanager
def _opened(data: bytes) -> Iterator["Image"]:
    """Open an image file with Pillow. Any error in the block becomes an ImageError.

    Pillow's decoders raise OSError, ValueError, SyntaxError, TypeError, struct.error and others.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            _check_size(image.width, image.height)
            yield image
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        if data[:4] in (b"II*\0", b"MM\0*"):
            raise ImageError(
                "not a readable image: a TIFF file with an unknown pixel format; save it with 8 bits"
            ) from error
        raise ImageError("not an image") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large: more than {MAX_PIXELS} pixels; cut it into smaller images") from error
    except Exception as error:
        raise ImageError(f"not a whole image: {error}") from error


def _bits_per_sample(image: "Image", data: bytes) -> int:
    if image.format == "PNG":
        return data[24]
    return max(_tiff_tag(image, TIFF_BITS_PER_SAMPLE) or (8,))


def _tiff_tag(image: "Image", tag: int) -> Any:
    """Return the value of a tag; None if the image is not a TIFF or does not have the tag."""
    return image.tag_v2.get(tag) if image.format == "TIFF" else None  # type: ignore[attr-defined]


def _tiff_pages(data: bytes) -> int:
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
