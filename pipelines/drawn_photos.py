"""Write synthetic photos, and masks of their cracks. The photos are JPEG files with EXIF metadata, as from a camera."""

import datetime
from pathlib import Path

from PIL import ExifTags, Image

from components.ingest.sources.synthetic_photo import draw_photo
from components.shared.atomic_file import atomic_file
from components.shared.errors import InputError
from components.shared.events import progress

MOST_PHOTOS = 999
JPEG_QUALITY = 95
FIRST_TAKEN = datetime.datetime(2026, 5, 4, 9, 30)
BETWEEN_PHOTOS = datetime.timedelta(seconds=40)
# The positions of the photos are in the sea, so no real structure is at these positions.
FIRST_LATITUDE, FIRST_LONGITUDE = 54.1, 7.2  # degrees
PHOTOS_PER_ROW = 10
DEGREES_BETWEEN_PHOTOS = 0.0001
ALTITUDE_METRES = 12.0


def write_drawn_photos(number: int, folder: Path, seed: int) -> None:
    """Write synthetic photos of 3000 x 2000 pixels: `photo_001.jpg`, … and `masks/photo_001.png`, …

    The photos have EXIF metadata: time, position, altitude, and the camera "drawn". A mask is white on the cracks. The
    mask of a photo is written before the photo, so every photo in the folder has its mask.

    Args:
        number: Number of photos, 1 to 999.
        folder: A new or empty folder.
        seed: An integer, 0 or more.

    Raises:
        InputError: The number or the seed is out of range. Or `folder` is a file, is not empty, or cannot be written.
    """
    if not 1 <= number <= MOST_PHOTOS:
        raise InputError(f"--draw-photos {number} {folder}: the number of photos must be from 1 to {MOST_PHOTOS}")
    if seed < 0:
        raise InputError(f"--seed {seed} is negative; give 0 or a larger whole number")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"--draw-photos {number} {folder}: the folder is not empty; give a new folder")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--draw-photos {number} {folder}: this is a file; give a new folder")

    for index in range(number):
        progress(index, number, "drawing photos")
        photo = draw_photo(index + 1, seed)
        with atomic_file(folder / "masks" / f"{photo.name}.png") as path:
            Image.fromarray(photo.mask).save(path, format="PNG")
        with atomic_file(folder / f"{photo.name}.jpg") as path:
            Image.fromarray(photo.image).save(path, format="JPEG", quality=JPEG_QUALITY, exif=_exif(index))


def _exif(index: int) -> Image.Exif:
    taken = (FIRST_TAKEN + index * BETWEEN_PHOTOS).strftime("%Y:%m:%d %H:%M:%S")
    row, column = divmod(index, PHOTOS_PER_ROW)

    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "drawn"
    exif[ExifTags.Base.Model] = "drawn"
    exif[ExifTags.Base.Orientation] = 1
    exif[ExifTags.Base.DateTime] = taken
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken

    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef] = "N"
    gps[ExifTags.GPS.GPSLatitude] = _degrees_minutes_seconds(FIRST_LATITUDE + row * DEGREES_BETWEEN_PHOTOS)
    gps[ExifTags.GPS.GPSLongitudeRef] = "E"
    gps[ExifTags.GPS.GPSLongitude] = _degrees_minutes_seconds(FIRST_LONGITUDE + column * DEGREES_BETWEEN_PHOTOS)
    gps[ExifTags.GPS.GPSAltitudeRef] = b"\0"
    gps[ExifTags.GPS.GPSAltitude] = ALTITUDE_METRES
    return exif


def _degrees_minutes_seconds(degrees: float) -> tuple[float, float, float]:
    minutes, seconds = divmod(round(degrees * 3600, 4), 60)
    whole_degrees, minutes = divmod(minutes, 60)
    return whole_degrees, minutes, round(seconds, 4)
