"""Decode images with all their bits, and scale 16-bit values to 8 bits."""

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from components.shared.data.image_structure import ImageError, deepest_channel, white_of_ppm

if TYPE_CHECKING:
    from PIL.Image import Image

# The numbers of bits that an image in a 16-bit file may really use; see `to_eight_bits`.
USED_BITS = (8, 10, 12, 14, 16)
PPM_SIXTEEN_BITS = 65535
TIFF_BITS_PER_SAMPLE, TIFF_PLANAR_CONFIGURATION = 258, 284
TIFF_SEPARATE_PLANES = 2


class Decoded(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: uint8 (H, W, 3), RGB.
        used_bits: Bits per value before the image was scaled to 8 bits, one of USED_BITS (see `to_eight_bits`). It is 0
            if the file has 8 bits per channel, or defines which value is white.
    """

    pixels: NDArray[np.uint8]
    used_bits: int


def decode_with_opencv(data: bytes) -> NDArray | None:
    """Decode with OpenCV, which applies the EXIF orientation. Return None if OpenCV refuses the data.

    The result is uint8 or uint16 (H, W, 3), RGB, with the values of the file.

    We ask OpenCV for BGR and convert it. If OpenCV 5.0 is asked for RGB, the 16-bit colours of TIFF files are random.
    """
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None
    if bgr is None or bgr.dtype not in (np.uint8, np.uint16):
        return None
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def is_deep(image: "Image", data: bytes) -> bool:
    """Return true if a file has more than 8 bits per channel, and Pillow would change the values.

    Pillow keeps only the upper 8 bits of colours. The header of a PPM file says which value is white, and Pillow scales
    by this value. But if this value is 65535, the image may use fewer than 16 bits. Pillow would make it too dark.
    """
    if image.format == "JPEG2000":
        return deepest_channel(data) > 8
    if image.format in ("PNG", "TIFF") and image.mode.startswith(("I", "F")):
        return False
    if image.format == "PNG":
        return data[24] > 8
    if image.format == "TIFF":
        return max(tiff_tag(image, TIFF_BITS_PER_SAMPLE) or (8,)) > 8
    return image.format == "PPM" and white_of_ppm(data) == PPM_SIXTEEN_BITS


def decode_deep(opened: "Image", data: bytes) -> NDArray:
    """Decode with OpenCV to uint16 (H, W, 3), RGB.

    Pillow would keep only the upper 8 bits, which makes a 12-bit image almost black.
    """
    values = None
    if tiff_tag(opened, TIFF_PLANAR_CONFIGURATION) != TIFF_SEPARATE_PLANES:  # OpenCV reads wrong values here
        values = decode_with_opencv(data)
    if values is None or values.dtype != np.uint16:
        raise ImageError("it has 16 bits per channel in an unknown form; convert the image to 8 bits per channel")
    return values


def to_eight_bits(values: NDArray) -> Decoded:
    """Scale uint16 values to 8 bits. The largest value that is possible with the used bits becomes white (255).

    Cameras and scanners store 10, 12 or 14 bits in 16-bit files. The number of used bits is the smallest number in
    USED_BITS that can hold the image's largest value. uint8 values are returned unchanged.
    """
    if values.dtype == np.uint8:
        return Decoded(values, 0)
    largest = int(values.max())
    used_bits = next(bits for bits in USED_BITS if largest < 2**bits)
    white = 2**used_bits - 1
    eight_bits = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)
    return Decoded(eight_bits[values], used_bits)


def tiff_tag(image: "Image", tag: int) -> Any:
    """Return the value of a TIFF tag. Return None if the image is not a TIFF or does not have the tag."""
    return image.tag_v2.get(tag) if image.format == "TIFF" else None  # type: ignore[attr-defined]
