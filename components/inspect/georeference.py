"""Find where the pixels of a GeoTIFF are on the Earth.

The file says how to transform pixels to its map projection (OGC GeoTIFF 1.1, section 7.4). Two kinds of map projection
are supported: longitude and latitude on WGS 84 (EPSG:4326), and UTM on WGS 84 (EPSG:32601 to 32660 and 32701 to 32760).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tifffile import TiffFile

PIXEL_SCALE, TIE_POINT, TRANSFORMATION, GEO_KEYS = 33550, 33922, 34264, 34735
RASTER_TYPE, GEOGRAPHIC_CRS, PROJECTED_CRS = 1025, 2048, 3072  # GeoKeys
PIXEL_IS_POINT = 2  # the tie point is the centre of a pixel and not its corner
WGS84 = 4326
UTM_NORTH, UTM_SOUTH = 32600, 32700
UTM_ZONES = range(1, 61)

# WGS 84 and UTM (NIMA TR8350.2; Snyder 1987, "Map Projections: A Working Manual", page 57).
SEMI_MAJOR_AXIS, FLATTENING = 6_378_137.0, 1 / 298.257223563
UTM_SCALE, UTM_FALSE_EASTING, UTM_FALSE_NORTHING_SOUTH = 0.9996, 500_000.0, 10_000_000.0


@dataclass(frozen=True)
class Georeference:
    """Where the pixels of a raster image are on the Earth.

    Attributes:
        affine: (a, b, c, d, e, f). The point (x, y), in pixels from the upper left corner of the image, has the
            coordinates (a x + b y + c, d x + e y + f) in the map projection.
        epsg: Code of the map projection.
    """

    affine: tuple[float, float, float, float, float, float]
    epsg: int

    def positions(self, corners: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        """Return the longitude and latitude, in degrees, of each point (x, y) in pixels."""
        a, b, c, d, e, f = self.affine
        positions = []
        for x, y in corners:
            east, north = a * x + b * y + c, d * x + e * y + f
            positions.append((east, north) if self.epsg == WGS84 else utm_to_degrees(east, north, self.epsg))
        return positions

    def mm_per_pixel(self) -> float | None:
        """Return the side of a pixel in millimetres. None for a raster in degrees, or if pixels are not square."""
        if self.epsg == WGS84:
            return None
        a, b, _, d, e, _ = self.affine
        across, down = math.hypot(a, d), math.hypot(b, e)
        return 1000 * across if math.isclose(across, down, rel_tol=0.01) else None


def read_georeference(path: Path) -> tuple[Georeference | None, str]:
    """Read the georeference of a file.

    Returns:
        The georeference, and a note. The georeference is None if the file has none, or has one that is not supported.
        The note says why a georeference is not supported; in all other cases it is "".
    """
    try:
        with TiffFile(path) as file:
            tags = file.pages.first.tags
            keys = _geo_keys(tags.valueof(GEO_KEYS))
            affine = _affine(tags, keys)
    except Exception:  # not a TIFF file; tifffile raises many kinds of errors for damaged files
        return None, ""

    if affine is None:
        return None, ""
    epsg = keys.get(PROJECTED_CRS) or keys.get(GEOGRAPHIC_CRS) or 0
    if epsg == WGS84 or _utm_zone(epsg):
        return Georeference(affine, epsg), ""
    return None, (
        f"its map projection {f'EPSG:{epsg}' if epsg else 'has no EPSG code and'} is not supported, so findings have "
        "no position; convert the file to UTM on WGS 84, such as zone 32 north with `gdalwarp -t_srs EPSG:32632`"
    )


def _geo_keys(directory: Any) -> dict[int, int]:
    """Return a dict of the GeoKeys that have a code as value: key -> code.

    `directory` has four numbers for each key: key, place, count and value.
    """
    numbers = list(directory or ())
    return {numbers[i]: numbers[i + 3] for i in range(4, len(numbers) - 3, 4) if numbers[i + 1] == 0}


def _affine(tags: Any, keys: dict[int, int]) -> tuple[float, float, float, float, float, float] | None:
    matrix, scale, tie = tags.valueof(TRANSFORMATION), tags.valueof(PIXEL_SCALE), tags.valueof(TIE_POINT)
    if matrix is not None:
        affine = np.array([matrix[0], matrix[1], matrix[3], matrix[4], matrix[5], matrix[7]], float)
    elif scale is not None and tie is not None:
        column, row, _, east, north = tie[:5]
        affine = np.array([scale[0], 0, east - column * scale[0], 0, -scale[1], north + row * scale[1]], float)
    else:
        return None

    if keys.get(RASTER_TYPE) == PIXEL_IS_POINT:  # move the origin from the pixel's centre to its corner
        affine[2] -= (affine[0] + affine[1]) / 2
        affine[5] -= (affine[3] + affine[4]) / 2
    a, b, c, d, e, f = affine.tolist()
    return a, b, c, d, e, f


def _utm_zone(epsg: int) -> int | None:
    for base in (UTM_NORTH, UTM_SOUTH):
        if epsg - base in UTM_ZONES:
            return epsg - base
    return None


def utm_to_degrees(east: float, north: float, epsg: int) -> tuple[float, float]:
    """Convert UTM coordinates on WGS 84 to longitude and latitude.

    Args:
        east: Metres.
        north: Metres.
        epsg: 32601 to 32660, or 32701 to 32760.

    Returns:
        Longitude and latitude, degrees.

    Source: Karney 2011, "Transverse Mercator with an accuracy of a few nanometers", equations 11, 15, 19 to 21 and 36:
        Krueger's series, here to the fourth order of the third flattening. Its error is below a micrometre in a zone.
    """
    zone = _utm_zone(epsg)
    assert zone is not None, epsg
    if epsg > UTM_SOUTH:
        north -= UTM_FALSE_NORTHING_SOUTH

    n = FLATTENING / (2 - FLATTENING)
    rectifying_radius = SEMI_MAJOR_AXIS / (1 + n) * (1 + n**2 / 4 + n**4 / 64)
    xi = north / (UTM_SCALE * rectifying_radius)
    eta = (east - UTM_FALSE_EASTING) / (UTM_SCALE * rectifying_radius)

    series = (
        n / 2 - 2 * n**2 / 3 + 37 * n**3 / 96 - n**4 / 360,
        n**2 / 48 + n**3 / 15 - 437 * n**4 / 1440,
        17 * n**3 / 480 - 37 * n**4 / 840,
        4397 * n**4 / 161280,
    )
    xi_prime, eta_prime = xi, eta
    for power, factor in enumerate(series, start=1):
        xi_prime -= factor * math.sin(2 * power * xi) * math.cosh(2 * power * eta)
        eta_prime -= factor * math.cos(2 * power * xi) * math.sinh(2 * power * eta)

    tangent = math.sin(xi_prime) / math.hypot(math.sinh(eta_prime), math.cos(xi_prime))
    longitude = math.degrees(math.atan2(math.sinh(eta_prime), math.cos(xi_prime)))
    return longitude + 6 * zone - 183, math.degrees(math.atan(_geographic(tangent)))


def _geographic(conformal: float) -> float:
    """Convert the tangent of the conformal latitude to the tangent of the latitude, by Newton's method."""
    eccentricity = math.sqrt(FLATTENING * (2 - FLATTENING))
    tangent = conformal
    for _ in range(5):
        hypotenuse = math.hypot(1, tangent)
        sigma = math.sinh(eccentricity * math.atanh(eccentricity * tangent / hypotenuse))
        guess = tangent * math.hypot(1, sigma) - sigma * hypotenuse
        slope = (1 - eccentricity**2) / (1 + (1 - eccentricity**2) * tangent**2)
        tangent += (conformal - guess) / math.hypot(1, guess) / (slope * hypotenuse)
    return tangent
