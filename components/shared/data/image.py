"""Image bytes to arrays."""

import zlib
from contextlib import suppress
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray

JPEG, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
PNG = b"\x89PNG\r\n\x1a\n"
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")  # of files that a search for images takes


class ImageError(ValueError):
    """The bytes are not a whole image; the message says why, without naming the file."""


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file of any usual kind.

    EXIF orientation is applied; grey, palette, CMYK and 16-bit images become 8-bit RGB; an alpha channel is dropped.
    JPEG and PNG files with an end go through OpenCV, which is fast but fills what is missing with grey without a word;
    everything else, and whatever OpenCV refuses, goes through Pillow, which is strict. Neither minds a PNG's checksums,
    so they are verified here. Damage in the middle of a JPEG raises nothing: libjpeg warns, and only ingestion listens.

    Args:
        data: Content of the file.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ImageError: Not an image, or not a whole one.
    """
    if data.startswith(PNG):
        _check_png(data)
    if data.startswith(PNG) or (data.startswith(JPEG) and data.endswith(JPEG_END)):
        with suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
            if image is not None:
                return image  # type: ignore[return-value]
    return _decode_with_pillow(data)


def decode_mask(data: bytes) -> NDArray[np.bool_]:
    """Decode a mask: true where the pixel is brighter than half of the brightest one, so 0/1 and 0/255 both do.

    Returns:
        bool (H, W); all false for a black image.

    Raises:
        ImageError: Not an image, or not a whole one.
    """
    grey = cv2.cvtColor(decode(data), cv2.COLOR_RGB2GRAY)
    return grey > int(grey.max()) / 2


def thumbnail(image: NDArray[np.uint8], longest: int) -> bytes:
    """A small JPEG file of an image.

    Args:
        image: uint8 (H, W, 3), RGB.
        longest: Its longer side in pixels; the other keeps the proportion.
    """
    scale = longest / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def _check_png(data: bytes) -> None:
    """Raise ImageError unless every chunk up to the last one is there and has its checksum (PNG specification, 5.3)."""
    place, kind = len(PNG), b""
    while kind != b"IEND":
        end = place + 12 + int.from_bytes(data[place : place + 4])
        if end > len(data):
            raise ImageError("not a whole image: the end of the PNG data is missing")
        kind = data[place + 4 : place + 8]
        if zlib.crc32(memoryview(data)[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise ImageError("not a whole image: a checksum of the PNG data is wrong")
        place = end


def _decode_with_pillow(data: bytes) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    # Pillow would take a rest filled with zeros, which interrupted downloads leave, for image data.
    if data.startswith(JPEG) and data.rfind(JPEG_END) < data.rfind(JPEG_SCAN):
        raise ImageError("not a whole image: the end of the JPEG data is missing")
    try:
        with Image.open(BytesIO(data)) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode in ("I", "F"):
                raise ImageError("its pixels have 32 bits, and what white is cannot be known")
            if image.mode.startswith("I;16"):  # Pillow would clip at 255
                image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
            return np.asarray(image.convert("RGB"))
    except Image.UnidentifiedImageError as error:
        raise ImageError("not an image") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"absurdly large: {error}") from error
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, ValueError, SyntaxError, struct.error and others
        raise ImageError(f"not a whole image: {error}") from error
