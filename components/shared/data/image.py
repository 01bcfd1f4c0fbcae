"""Decode image files to arrays. All steps use this module. Only the inspect step reads large TIFF files in another way.

Pillow tries only the formats in FORMATS. Without this list, Pillow would start the program Ghostscript for a file with
EPS content, even if the file's name ends in .jpg.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.data.image_kinds import FORMATS
from components.shared.data.image_structure import (
    JPEG,
    MAX_PIXELS,
    PNG,
    ImageError,
    check_heif_sizes,
    check_png,
    check_size,
    size_in_header,
    tiff_pages,
    without_trailing_data,
)

if TYPE_CHECKING:
    from PIL.Image import Image

# The numbers of bits that an image in a 16-bit file may really use; see `_to_eight_bits`.
USED_BITS = (8, 10, 12, 14, 16)
THUMBNAIL_JPEG_QUALITY = 80

EXIF_ORIENTATION = 274
UPRIGHT = 1
TIFF_BITS_PER_SAMPLE, TIFF_PHOTOMETRIC, TIFF_PLANAR_CONFIGURATION = 258, 262, 284
TIFF_NO_DATA = 42113  # GDAL's tag: the value of pixels without data, as text
TIFF_WHITE_IS_ZERO = 0
TIFF_SEPARATE_PLANES = 2
# Major brands of HEIF files that hold a sequence of images (ISO/IEC 23008-12, annex B).
HEIF_SEQUENCES = (b"hevc", b"hevx", b"hevm", b"hevs", b"msf1")


class Header(NamedTuple):
    """The header of an image file, which can be read without decoding the pixels.

    Attributes:
        format: One of FORMATS. A photo with several views (MPO) counts as JPEG.
        width: Width in pixels, before the EXIF orientation is applied.
        height: Height in pixels, before the EXIF orientation is applied.
        frames: Number of frames of an animation, or number of pages of a document. It is 1 for a photo. Other views in
            an MPO file, other images in a HEIF file, and overviews and masks in a TIFF file do not count.
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
    with open_image(data) as image:
        image_format = "JPEG" if image.format == "MPO" else str(image.format)
        return Header(image_format, image.width, image.height, _frames(image, data))


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file in one of the FORMATS. If a file contains several images, decode the first image.

    In a HEIF file, the first image is the one that the file names as its primary image.

    EXIF orientation is applied. Grey, palette and CMYK images become RGB, and an alpha channel is dropped. 16-bit
    values are scaled by the number of bits that the image really uses (see `_to_eight_bits`).

    OpenCV decodes JPEG and PNG files. OpenCV is fast, but it fills missing parts with grey and reports no error. So we
    check the end of a JPEG and the checksums of a PNG ourselves. Pillow decodes all other files, and the files that
    OpenCV refuses. Pillow reports missing parts. If a JPEG is damaged in the middle, no error is raised. libjpeg only
    prints a warning, which the ingest step catches.

    Args:
        data: Content of the file. A JPEG can be followed by other data, such as the video of a motion photo.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ImageError: The file is not an image in one of the FORMATS, is damaged, has more than MAX_PIXELS, or does not
            define which value is white.
    """
    if data.startswith(PNG):
        check_png(data)
    elif data.startswith(JPEG):
        data = without_trailing_data(data)

    size = size_in_header(data)
    if size is not None:
        check_size(*size)
        image = _decode_with_opencv(data)
        if image is not None:
            return image
    return _decode_with_pillow(data)


def jpeg_tables(data: bytes) -> dict[int, list[int]] | None:
    """Return the quantisation tables of a JPEG file, which decide its quality. Return None for another format."""
    with open_image(data) as image:
        return getattr(image, "quantization", None)


def decode_mask(data: bytes) -> NDArray[np.bool_]:
    """Decode a mask. A pixel is true if its grey value is above half of the largest grey value.

    So the values of a mask can be 0 and 1, or 0 and 255. A transparent pixel is false, because some programs draw a
    mask on a transparent background.

    Returns:
        bool (H, W); all false for a black image.

    Raises:
        ImageError: `decode` cannot decode the file.
    """
    grey = cv2.cvtColor(decode(data), cv2.COLOR_RGB2GRAY)
    bright = grey > int(grey.max()) / 2
    empty = empty_pixels(data)
    return bright if empty is None else bright & ~empty


def empty_pixels(data: bytes) -> NDArray[np.bool_] | None:
    """Find the pixels that show nothing: transparent pixels, and pixels that a TIFF file marks as without data.

    Returns:
        bool (H, W), upright. None if the file has no transparency and does not mark pixels as without data.

    Raises:
        ImageError: The file is not an image in one of the FORMATS, is damaged, or has more than MAX_PIXELS.
    """
    from PIL import ImageOps

    if data.startswith(JPEG):  # a JPEG cannot be transparent
        return None
    with open_image(data) as opened:
        without_data = _tiff_tag(opened, TIFF_NO_DATA)
        if without_data is None and not opened.has_transparency_data:
            return None
        upright = ImageOps.exif_transpose(opened)
        if without_data is None:
            return np.asarray(upright.convert("RGBA"))[..., 3] == 0
        pixels = np.asarray(upright)
        pixels = pixels.reshape(*pixels.shape[:2], -1)
        return (pixels == float(without_data.strip(" \0"))).all(axis=2)


def orientation(data: bytes) -> int:
    """Return the EXIF orientation of an image file: `UPRIGHT`, or 2 to 8 if `decode` turns the image.

    Raises:
        ImageError: The file is not an image in one of the FORMATS, or has more than MAX_PIXELS.
    """
    with open_image(data) as image:
        value = image.getexif().get(EXIF_ORIENTATION, UPRIGHT)
    return value if value in range(2, 9) else UPRIGHT


def turn_upright(stored: NDArray, orientation: int) -> NDArray:
    """Turn or mirror stored pixels so that the image is upright. The EXIF orientation says how.

    Args:
        stored: (H, W) or (H, W, channels).
        orientation: 1 to 8; for 5 to 8, height and width are swapped.
    """
    mirrored = {2: np.fliplr, 4: np.flipud, 5: lambda array: array.swapaxes(0, 1)}
    if orientation in mirrored:
        return mirrored[orientation](stored)
    if orientation == 7:
        return np.rot90(stored, 2).swapaxes(0, 1)
    quarter_turns = {3: 2, 6: -1, 8: 1}
    return np.rot90(stored, quarter_turns.get(orientation, 0))


def thumbnail(image: NDArray[np.uint8], longest: int) -> bytes:
    """Return a thumbnail of an image as a JPEG file.

    Args:
        image: uint8 (H, W, 3), RGB.
        longest: The thumbnail's longer side in pixels. The ratio of width to height stays the same.
    """
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_JPEG_QUALITY])[1].tobytes()


def _decode_with_opencv(data: bytes) -> NDArray[np.uint8] | None:
    """Decode with OpenCV, which applies the EXIF orientation. Return None if OpenCV refuses the data.

    We ask OpenCV for BGR and convert it. If OpenCV 5.0 is asked for RGB, the 16-bit colours of TIFF files are random.
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

    with open_image(data) as opened:
        if opened.mode.startswith("RGB") and _bits_per_sample(opened, data) == 16:
            return _decode_sixteen_bit_colours(opened, data)

        _load(opened)
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
                "its pixels are signed or 32-bit numbers, and the file does not define the value of white; convert the "
                "image to 8 or 16 bits"
            )
        return np.asarray(upright.convert("RGB"))


def _load(opened: "Image") -> None:
    """Decode the pixels. Raise ImageError if the image has another size than the header says."""
    width, height = opened.size
    opened.load()
    if opened.size != (width, height):
        raise ImageError(
            f"not a whole image: its header says {width}x{height} pixels, but it holds "
            f"{opened.size[0]}x{opened.size[1]} pixels"
        )


def _decode_sixteen_bit_colours(opened: "Image", data: bytes) -> NDArray[np.uint8]:
    """Decode with OpenCV. Pillow would keep only the upper 8 bits, which makes a 12-bit image almost black."""
    image = None
    if _tiff_tag(opened, TIFF_PLANAR_CONFIGURATION) != TIFF_SEPARATE_PLANES:  # OpenCV reads wrong values here
        image = _decode_with_opencv(data)
    if image is None:
        raise ImageError("it has 16 bits per channel in an unknown form; convert the image to 8 bits per channel")
    return image


def _to_eight_bits(values: NDArray) -> NDArray[np.uint8]:
    """Scale uint16 values to 8 bits. The largest value that is possible with the used bits becomes white (255).

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
def open_image(data: bytes) -> Iterator["Image"]:
    """Open an image file with Pillow. Any error in the block becomes an ImageError.

    Pillow's decoders raise OSError, ValueError, SyntaxError, TypeError, struct.error and others.
    """
    from PIL import Image

    _register_heif()
    check_heif_sizes(data)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            check_size(image.width, image.height)
            yield image
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        if data[:4] in (b"II*\0", b"MM\0*"):
            raise ImageError(
                "not a readable image: a TIFF file with an unknown pixel format; save it with 8 bits per channel"
            ) from error
        raise ImageError("not an image") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large: more than {MAX_PIXELS} pixels; cut the image into smaller images") from error
    except Exception as error:
        raise ImageError(f"not a whole image: {error}") from error


@cache
def _register_heif() -> None:
    """Let Pillow open HEIF files. libheif then decodes in one thread, and decodes the photo without its thumbnails."""
    from pi_heif import register_heif_opener

    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def _frames(image: "Image", data: bytes) -> int:
    """Count the frames of an image. The docstring of `Header` says what counts as a frame."""
    if image.format == "MPO":
        return 1
    if image.format == "TIFF":
        return tiff_pages(data)
    if image.format == "HEIF":
        return image.n_frames if data[8:12] in HEIF_SEQUENCES else 1  # type: ignore[attr-defined]
    return getattr(image, "n_frames", 1)


def _bits_per_sample(image: "Image", data: bytes) -> int:
    if image.format == "PNG":
        return data[24]
    return max(_tiff_tag(image, TIFF_BITS_PER_SAMPLE) or (8,))


def _tiff_tag(image: "Image", tag: int) -> Any:
    """Return the value of a TIFF tag. Return None if the image is not a TIFF or does not have the tag."""
    return image.tag_v2.get(tag) if image.format == "TIFF" else None  # type: ignore[attr-defined]
