"""Find the scale of a photo: how many millimetres of concrete a pixel shows."""

import math
from dataclasses import dataclass

from components.inspect.georeference import Georeference
from components.inspect.photo_facts import PhotoFacts

FILM_DIAGONAL = math.hypot(36, 24)  # millimetres
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Scale:
    """The scale of a photo.

    Attributes:
        mm_per_pixel: Millimetres of concrete per pixel; None if unknown. Then all lengths are in pixels.
        source: How the scale was found, in words.
    """

    mm_per_pixel: float | None = None
    source: str = UNKNOWN

    def tile_side(self, pixels: int, millimetres: float | None) -> int:
        """Return the side of the tiles to cut from the photo, in pixels.

        Args:
            pixels: Side of a training tile, pixels.
            millimetres: Side of a training tile on the concrete. None if unknown; then the result is `pixels`.
        """
        if self.mm_per_pixel is None or millimetres is None:
            return pixels
        return round(millimetres / self.mm_per_pixel)


def find_scale(
    given: float | None,
    distance: float | None,
    facts: PhotoFacts,
    georeference: Georeference | None,
    width: int,
    height: int,
) -> Scale:
    """Return the scale of a photo.

    The result is the first of these scales that is known: the given scale, the scale of the map projection, and the
    scale that follows from lens and distance.

    Args:
        given: Scale that the user gave, millimetres of concrete per pixel; None if the user gave none.
        distance: Metres between the camera and the concrete; None if unknown. The surface of the concrete should be
            parallel to the sensor.
        facts: What the camera wrote: focal length and pixel pitch.
        georeference: Georeference of an orthomosaic; None if the photo has none.
        width: Width of the photo, pixels.
        height: Height of the photo, pixels.

    Source: A pinhole camera: concrete / distance = sensor / focal length. The 35 mm equivalent focal length is
        computed from the diagonal of the sensor (CIPA DCG-001).
    """
    if given is not None:
        return Scale(given, "given")
    if georeference is not None and (on_map := georeference.mm_per_pixel()) is not None:
        return Scale(on_map, "georeference")
    if distance is None:
        return Scale()

    if facts.pixel_pitch is not None and facts.focal_length is not None:
        return Scale(1000 * distance * facts.pixel_pitch / facts.focal_length, "focal length, sensor and distance")
    if facts.focal_length_35mm is not None:
        film_pitch = FILM_DIAGONAL / math.hypot(width, height)
        return Scale(1000 * distance * film_pitch / facts.focal_length_35mm, "35 mm focal length and distance")
    return Scale()
