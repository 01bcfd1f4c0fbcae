"""Read the metadata of an image file (EXIF, GPS and XMP) without decoding its pixels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL.ExifTags import IFD

from components.shared.data.image import open_image

TIFF_XMP = 700
LONGEST_FILE = 1_000_000_000  # bytes; a larger file is an orthomosaic, which has no EXIF


@dataclass(frozen=True)
class Metadata:
    """The metadata of an image file.

    Attributes:
        width: Width of the stored image, pixels.
        exif: Tag -> value. The tags are those of the main directory, and of the EXIF directory inside it.
        gps: Tag -> value. The tags are those of the GPS directory.
        xmp: The XMP packet; empty if there is none.
    """

    width: int
    exif: dict[int, Any] = field(default_factory=dict)
    gps: dict[int, Any] = field(default_factory=dict)
    xmp: bytes = b""


def read_metadata(path: Path) -> Metadata:
    """Read the metadata of an image file.

    Raises:
        ImageError: The file is not an image that `decode` could read, or it has more than MAX_PIXELS.
        OSError: The file cannot be read.
    """
    if path.stat().st_size > LONGEST_FILE:
        return Metadata(width=0)

    with open_image(path.read_bytes()) as image:
        tags = image.getexif()
        exif = {**dict(tags), **tags.get_ifd(IFD.Exif)}
        return Metadata(image.width, exif, dict(tags.get_ifd(IFD.GPSInfo)), _xmp(image, exif))


def _xmp(image: Any, exif: dict[int, Any]) -> bytes:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or exif.get(TIFF_XMP) or b""
    return packet.encode() if isinstance(packet, str) else bytes(packet)
