"""Read what a camera writes into a photo: time, position, camera, lens, and the direction of a drone's gimbal."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL.ExifTags import GPS, Base

from components.shared.data.image import UPRIGHT
from components.shared.data.image_metadata import Metadata, read_metadata
from components.shared.data.image_structure import ImageError

BELOW_SEA_LEVEL = 1
# Without a satellite fix, some cameras write the position 0, 0, which is in the Atlantic Ocean.
NO_FIX = 1e-9  # degrees; a position that is closer to 0, 0 is ignored
# A coordinate of XMP: "47,23.55N" or "47,23,33N" (XMP specification, part 2).
XMP_COORDINATE = re.compile(r"\s*(\d+),(\d+(?:\.\d+)?)(?:,(\d+(?:\.\d+)?))?\s*([NSEW])\s*", re.IGNORECASE)
# DJI writes the direction of the camera as an attribute or as an element. The direction of the flight is another value.
GIMBAL_YAW = re.compile(rb"drone-dji:GimbalYawDegree\s*(?:=\s*[\"']|>)\s*([-+]?\d+(?:\.\d+)?)")
XMP_POSITION = re.compile(rb"exif:GPS(Latitude|Longitude)\s*(?:=\s*[\"']|>)\s*([^\"'<]+)")


@dataclass(frozen=True)
class PhotoFacts:
    """What a photo's file says besides its pixels. None and "" mean that the file does not say it.

    Attributes:
        taken: Local time when the photo was taken, ISO 8601. The offset from UTC is included if the camera wrote one.
        latitude: Degrees north, WGS 84, -90 to 90.
        longitude: Degrees east, WGS 84, -180 to 180.
        altitude: Metres above sea level.
        camera: Make and model.
        orientation: EXIF orientation of the stored pixels, 1 to 8.
        gimbal_yaw: Direction of the camera, degrees clockwise from north, -180 to 180. Only DJI drones write it.
        focal_length: Focal length in millimetres.
        focal_length_35mm: The 35 mm equivalent focal length, millimetres. A camera with this focal length and film of
            36 x 24 mm has the photo's diagonal angle of view.
        pixel_pitch: Distance on the sensor between two neighbouring pixels of the photo, millimetres. If the photo was
            scaled down, one pixel of the photo covers several pixels of the sensor, so the distance is larger.
    """

    taken: str = ""
    latitude: float | None = None
    longitude: float | None = None
    altitude: float | None = None
    camera: str = ""
    orientation: int = 1
    gimbal_yaw: float | None = None
    focal_length: float | None = None
    focal_length_35mm: float | None = None
    pixel_pitch: float | None = None


def read_facts(path: Path) -> PhotoFacts:
    """Read the facts of a photo. A file without metadata, or with damaged metadata, gives few facts or none.

    Raises:
        OSError: The file cannot be read.
    """
    try:
        return facts_of(read_metadata(path))
    except ImageError:
        return PhotoFacts()


def facts_of(metadata: Metadata) -> PhotoFacts:
    """Return the facts in a photo's metadata."""
    exif, gps = metadata.exif, metadata.gps
    latitude, longitude = _position(gps, metadata.xmp)
    orientation = int(_number(exif.get(Base.Orientation)) or UPRIGHT)
    return PhotoFacts(
        taken=_time(exif),
        latitude=latitude,
        longitude=longitude,
        altitude=_altitude(gps),
        camera=_camera(exif),
        orientation=orientation if orientation in range(1, 9) else UPRIGHT,
        gimbal_yaw=_gimbal_yaw(metadata.xmp),
        focal_length=_positive(exif.get(Base.FocalLength)),
        focal_length_35mm=_positive(exif.get(Base.FocalLengthIn35mmFilm)),
        pixel_pitch=_pixel_pitch(exif, metadata.width),
    )


def _time(exif: Mapping[int, Any]) -> str:
    """Return when the photo was taken. If this time is missing, return when the file was last changed."""
    text = _text(exif.get(Base.DateTimeOriginal)) or _text(exif.get(Base.DateTime))
    try:
        taken = datetime.strptime(text[:19], "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return ""
    offset = _text(exif.get(Base.OffsetTimeOriginal))
    return taken + offset if re.fullmatch(r"[-+]\d\d:\d\d", offset) else taken


def _camera(exif: Mapping[int, Any]) -> str:
    make, model = _text(exif.get(Base.Make)), _text(exif.get(Base.Model))
    return model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()


def _position(gps: Mapping[int, Any], xmp: bytes) -> tuple[float | None, float | None]:
    """Return latitude and longitude in degrees, or (None, None) if the file has no position."""
    latitude = coordinate(gps.get(GPS.GPSLatitude), gps.get(GPS.GPSLatitudeRef), 90)
    longitude = coordinate(gps.get(GPS.GPSLongitude), gps.get(GPS.GPSLongitudeRef), 180)
    if latitude is None or longitude is None:
        texts = {name: value.decode("utf-8", "replace") for name, value in XMP_POSITION.findall(xmp)}
        latitude = coordinate(texts.get(b"Latitude"), None, 90)
        longitude = coordinate(texts.get(b"Longitude"), None, 180)

    if latitude is None or longitude is None or max(abs(latitude), abs(longitude)) < NO_FIX:
        return None, None
    return latitude, longitude


def coordinate(value: Any, reference: Any, largest: float) -> float | None:
    """Return a latitude or longitude in degrees, or None if it is missing or impossible.

    Args:
        value: Degrees, minutes and seconds; or degrees alone; or a text. The text is a number with a decimal point or
            comma, or a coordinate of XMP such as "47,23.55N".
        reference: "N", "S", "E" or "W"; "S" and "W" make the value negative. A negative value stays negative. If
            `value` is a coordinate of XMP, the letter in `value` is used instead of `reference`.
        largest: Largest absolute value, degrees.
    """
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    side = _text(reference).upper()[:1]
    if isinstance(value, str):
        xmp = XMP_COORDINATE.fullmatch(value)
        if xmp:
            value, side = [float(part or 0) for part in xmp.groups()[:3]], xmp[4].upper()
        else:
            value = value.strip(" \0").replace(",", ".")

    parts = [_number(part) for part in (value if isinstance(value, tuple | list) else (value,))]
    numbers = [part for part in parts if part is not None]
    if not numbers or len(numbers) < len(parts):
        return None

    sign = -1 if side in ("S", "W") or numbers[0] < 0 else 1
    degrees = sum(abs(number) / 60**power for power, number in enumerate(numbers[:3]))
    return sign * degrees if degrees <= largest else None


def _altitude(gps: Mapping[int, Any]) -> float | None:
    altitude = _number(gps.get(GPS.GPSAltitude))
    if altitude is None:
        return None
    reference = gps.get(GPS.GPSAltitudeRef)
    if isinstance(reference, bytes):
        reference = int.from_bytes(reference[:1])
    return -abs(altitude) if reference == BELOW_SEA_LEVEL else altitude


def _gimbal_yaw(xmp: bytes) -> float | None:
    found = GIMBAL_YAW.search(xmp)
    return float(found[1]) if found else None


def _pixel_pitch(exif: Mapping[int, Any], width: int) -> float | None:
    """Return the distance on the sensor between two neighbouring pixels of the photo, in millimetres.

    If the photo was scaled down, one pixel of the photo covers several pixels of the sensor. So the distance is larger.
    """
    millimetres = {2: 25.4, 3: 10.0, 4: 1.0}.get(exif.get(Base.FocalPlaneResolutionUnit, 2))
    resolution = _positive(exif.get(Base.FocalPlaneXResolution))
    if millimetres is None or resolution is None:
        return None
    taken_width = _positive(exif.get(Base.ExifImageWidth)) or width
    return millimetres / resolution * taken_width / width


def _positive(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _number(value: Any) -> float | None:
    """Return a number or a rational as a finite float. Return None for every other value, such as the rational 0/0."""
    if isinstance(value, tuple) and len(value) == 2:  # tifffile gives rationals as pairs
        value = value[0] / value[1] if value[1] else math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.strip(" \0") if isinstance(value, str) else ""
