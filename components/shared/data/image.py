"""Decode image files to arrays. All steps use this module. Only the inspect step reads large TIFF files in another way.

Pillow tries only the formats in FORMATS. Without this list, Pillow would start the program Ghostscript for a file with
EPS content, even if the file's name ends in .jpg.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.data.image_depth import (
    Decoded,
    decode_deep,
    decode_with_opencv,
    is_deep,
    tiff_tag,
    to_eight_bits,
)
from components.shared.data.image_kinds import FORMATS
from components.shared.data.image_structure import (
    JPEG,
    MAX_PIXELS,
    PNG,
    TIFF_STARTS,
    ImageError,
    check_frames,
    check_gif,
    check_heif_sizes,
    check_png,
    check_size,
    check_tiff,
    size_in_header,
    without_trailing_data,
)

if TYPE_CHECKING:
    from PIL.Image import Image

THUMBNAIL_JPEG_QUALITY = 80

EXIF_ORIENTATION = 274
UPRIGHT = 1
TIFF_PHOTOMETRIC = 262
TIFF_NO_DATA = 42113  # GDAL's tag: the value of pixels without data, as text
TIFF_WHITE_IS_ZERO = 0
# Major brands of HEIF files that hold a sequence of images (ISO/IEC 23008-12, annex B).
HEIF_SEQUENCES = (b"hevc", b"hevx", b"hevm", b"hevs", b"msf1")


class Header(NamedTuple):
    """The header of an image file, which can be read without decoding the pixels.

    Attributes:
        format: One of FORMATS. A photo with several views (MPO) counts as JPEG.
        width: Width in pixels, before the EXIF orientation is applied.
        height: Height in pixels, before the EXIF orientation is applied.
    """

    format: str
    width: int
    height: int


def read_header(data: bytes) -> Header:
    """Read an image file's header without decoding its pixels.

    Raises:
        ImageError: The file is not an image in one of the FORMATS, or is too large or too small.
    """
    with open_image(data) as image:
        image_format = "JPEG" if image.format == "MPO" else str(image.format)
        return Header(image_format, image.width, image.height)


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode a photo in one of the FORMATS. Animations and documents with several pages are refused.

    Other views in an MPO file, other images in a HEIF file, and overviews and masks in a TIFF file are ignored. In a
    HEIF file, the photo is the image that the file names as its primary image.

    EXIF orientation is applied. Grey, palette and CMYK images become RGB, and an alpha channel is dropped. 16-bit
    values are scaled by the number of bits that the image really uses (see `to_eight_bits`).

    OpenCV decodes JPEG and PNG files. OpenCV is fast, but it fills missing parts with grey and reports no error. So we
    check the end of a JPEG and the checksums of a PNG ourselves. Pillow decodes all other files, and the files that
    OpenCV refuses. Pillow reports missing parts. If a JPEG is damaged in the middle, no error is raised. libjpeg only
    prints a warning, which the ingest step catches.

    Args:
        data: Content of the file. A JPEG can be followed by other data, such as the video of a motion photo.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ImageError: The file is not an image in one of the FORMATS, is damaged, is too large or too small, has several
            frames or pages, does not begin with the photo in full resolution (TIFF), or does not define which value is
            white.
    """
    return decode_with_depth(data).pixels


def decode_with_depth(data: bytes) -> Decoded:
    """Decode a photo as `decode` does. Also return how many bits the image uses, if it was scaled to 8 bits."""
    if data.startswith(PNG):
        check_png(data)
    elif data.startswith(JPEG):
        data = without_trailing_data(data)

    size = size_in_header(data)
    if size is not None:
        check_size(*size)
        values = decode_with_opencv(data)
        if values is not None:
            return to_eight_bits(values)
    return _decode_with_pillow(data)


def decode_filled(data: bytes) -> Decoded:
    """Decode a photo as `decode_with_depth` does. Also raise ImageError if some of its pixels show nothing."""
    decoded = decode_with_depth(data)
    check_no_empty_pixels(data)
    return decoded


def jpeg_tables(data: bytes) -> dict[int, list[int]] | None:
    """Return the quantisation tables of a JPEG file, which decide its quality. Return None for another format."""
    with open_image(data) as image:
        return getattr(image, "quantization", None)


def decode_mask(data: bytes) -> NDArray[np.bool_]:
    """Decode a mask. A pixel is true if its grey value is above half of the image's largest grey value.

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


def check_no_empty_pixels(data: bytes) -> None:
    """Raise ImageError if some pixels show nothing. They would become black areas, whose edges look like cracks."""
    empty = empty_pixels(data)
    if empty is not None and empty.any():
        raise ImageError(
            f"{int(empty.sum())} of its {empty.size} pixels are transparent or marked as without data; crop the image "
            "so that it has no such pixels"
        )


def empty_pixels(data: bytes) -> NDArray[np.bool_] | None:
    """Find the pixels that show nothing: transparent pixels, and pixels that have no data.

    A TIFF file marks pixels without data by a mask, or by a value that means "no data".

    Returns:
        bool (H, W), upright. None if the file has no transparency, no mask and no value for "no data".

    Raises:
        ImageError: The file is not an image in one of the FORMATS, is damaged, or is too large or too small.
    """
    from PIL import ImageOps

    if data.startswith(JPEG):  # a JPEG cannot be transparent
        return None
    with open_image(data) as opened:
        masked = _masked_pixels(opened, data) if opened.format == "TIFF" else None
        no_data = tiff_tag(opened, TIFF_NO_DATA)
        is_transparent = opened.has_transparency_data
        if masked is None and no_data is None and not is_transparent:
            return None

        upright = ImageOps.exif_transpose(opened)
        empty = np.zeros((upright.height, upright.width), bool)
        if masked is not None:
            empty |= masked
        if is_transparent:
            empty |= np.asarray(upright.convert("RGBA"))[..., 3] == 0
        if no_data is not None:
            colours = np.asarray(upright.convert("RGB") if is_transparent else upright)
            values = decode_deep(opened, data) if is_deep(opened, data) else colours
            empty |= (values.reshape(*empty.shape, -1) == float(no_data.strip(" \0"))).all(axis=2)
        return empty


def _masked_pixels(opened: "Image", data: bytes) -> NDArray[np.bool_] | None:
    """Return the pixels that are 0 in the mask of a TIFF file, turned upright. Return None if there is no mask."""
    from tifffile import TiffFile

    with TiffFile(BytesIO(data)) as file:
        mask = check_tiff(file)
        if mask is None:
            return None
        return turn_upright(mask.asarray() == 0, opened.getexif().get(EXIF_ORIENTATION, UPRIGHT))


def orientation(data: bytes) -> int:
    """Return the EXIF orientation of an image file: `UPRIGHT`, or 2 to 8 if `decode` turns the image.

    Raises:
        ImageError: The file is not an image in one of the FORMATS, or is too large or too small.
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


def _decode_with_pillow(data: bytes) -> Decoded:
    from PIL import ImageOps

    with open_image(data) as opened:
        _check_one_photo(opened, data)
        _load(opened)
        if is_deep(opened, data):
            return to_eight_bits(decode_deep(opened, data))

        upright = ImageOps.exif_transpose(opened)
        if upright.mode == "I" and opened.format == "PPM":  # Pillow has scaled the file's white to 65535
            grey = np.rint(np.asarray(upright) / 257).astype(np.uint8)
            return Decoded(np.repeat(grey[..., None], 3, axis=2), 0)

        if upright.mode.startswith("I;16"):
            grey, used_bits = to_eight_bits(np.asarray(upright).astype(np.uint16))
            if tiff_tag(opened, TIFF_PHOTOMETRIC) == TIFF_WHITE_IS_ZERO:
                grey = 255 - grey
            return Decoded(np.repeat(grey[..., None], 3, axis=2), used_bits)

        if upright.mode in ("I", "F"):
            raise ImageError(
                "its pixels are signed or 32-bit numbers, and the file does not define the value of white; convert the "
                "image to 8 or 16 bits"
            )
        return Decoded(np.asarray(upright.convert("RGB")), 0)


def _load(opened: "Image") -> None:
    """Decode the pixels. Raise ImageError if the image has another size than the header says."""
    width, height = opened.size
    opened.load()
    if opened.size != (width, height):
        raise ImageError(
            f"not a whole image: its header says {width}x{height} pixels, but it holds "
            f"{opened.size[0]}x{opened.size[1]} pixels"
        )


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
        if data[:4] in TIFF_STARTS:
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


def _check_one_photo(image: "Image", data: bytes) -> None:
    """Raise ImageError if the file has several frames or pages, or begins with another image than the photo (TIFF)."""
    from tifffile import TiffFile

    if image.format == "TIFF":
        with TiffFile(BytesIO(data)) as file:
            check_tiff(file)
    elif image.format == "GIF":
        check_gif(data)
    elif image.format == "HEIF" and data[8:12] not in HEIF_SEQUENCES:
        return
    elif image.format != "MPO":
        check_frames(getattr(image, "n_frames", 1))
