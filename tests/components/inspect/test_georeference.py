from pathlib import Path

import numpy as np
import pytest
import tifffile

from components.inspect.georeference import read_georeference, utm_to_degrees


def geotiff(path: Path, keys: tuple[int, ...], scale: float, corner: tuple[float, float], **options: object) -> Path:
    """A small raster whose upper left corner is at a point of the map projection."""
    tags = [
        (33550, "d", 3, (scale, scale, 0.0)),
        (33922, "d", 6, (0.0, 0.0, 0.0, *corner, 0.0)),
        (34735, "H", 4 + len(keys), (1, 1, 0, len(keys) // 4, *keys)),
    ]
    tifffile.imwrite(path, np.full((64, 64, 3), 90, np.uint8), photometric="rgb", extratags=tags, **options)
    return path


@pytest.mark.parametrize(
    ("east", "north", "epsg", "longitude", "latitude"),
    [
        # Published coordinates of monuments in UTM and in degrees, to 1e-4 degrees (about 10 m).
        (448251.8, 5411932.7, 32631, 2.2945, 48.8582),  # Eiffel Tower
        (630084.0, 4833438.0, 32617, -79.3871, 43.6426),  # CN Tower
        (683466.25, 7460687.43, 32723, -43.2106, -22.9519),  # Christ the Redeemer
        (500000.0, 0.0, 32631, 3.0, 0.0),
    ],
)
def test_utm_becomes_degrees(east, north, epsg, longitude, latitude):
    assert utm_to_degrees(east, north, epsg) == (pytest.approx(longitude, abs=1e-4), pytest.approx(latitude, abs=1e-4))


def test_utm_agrees_with_an_integral_of_the_meridian():
    """On the central meridian, the northing is the arc of the meridian times 0.9996."""
    flattening = 1 / 298.257223563
    e2 = flattening * (2 - flattening)
    latitudes = np.radians(np.linspace(0, 60, 2_000_001))
    arc = np.trapezoid(6378137.0 * (1 - e2) / (1 - e2 * np.sin(latitudes) ** 2) ** 1.5, latitudes)
    assert utm_to_degrees(500000.0, 0.9996 * arc, 32632) == (pytest.approx(9.0), pytest.approx(60.0, abs=1e-9))


def test_a_raster_in_utm_has_positions_and_a_scale(tmp_path):
    file = geotiff(tmp_path / "utm.tif", (1025, 0, 1, 1, 3072, 0, 1, 32631), 0.002, (448251.8, 5411932.7))
    found, problem = read_georeference(file)
    assert problem == ""
    assert found.mm_per_pixel() == pytest.approx(2.0)
    corner, right, below = found.positions([(0, 0), (50, 0), (0, 50)])
    assert corner == (pytest.approx(2.2945, abs=1e-4), pytest.approx(48.8582, abs=1e-4))
    assert right[0] > corner[0]
    assert below[1] < corner[1]


def test_the_tie_point_of_a_pixel_is_its_centre_if_the_file_says_so(tmp_path):
    area = geotiff(tmp_path / "a.tif", (1025, 0, 1, 1, 2048, 0, 1, 4326), 1e-6, (8.0, 47.0))
    point = geotiff(tmp_path / "p.tif", (1025, 0, 1, 2, 2048, 0, 1, 4326), 1e-6, (8.0, 47.0))
    assert read_georeference(area)[0].positions([(0, 0)]) == [(8.0, 47.0)]
    assert read_georeference(point)[0].positions([(0.5, 0.5)]) == [(pytest.approx(8.0), pytest.approx(47.0))]
    assert read_georeference(area)[0].mm_per_pixel() is None  # degrees are not a length


def test_another_projection_is_named(tmp_path):
    file = geotiff(tmp_path / "lv95.tif", (3072, 0, 1, 2056), 0.01, (2_600_000.0, 1_200_000.0))
    found, problem = read_georeference(file)
    assert found is None
    assert "EPSG:2056 is not supported" in problem
    assert "gdalwarp" in problem


def test_a_photo_has_no_georeference(tmp_path):
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((20, 20, 3), np.uint8), photometric="rgb")
    (tmp_path / "a.jpg").write_text("not a TIFF file")
    assert read_georeference(tmp_path / "plain.tif") == (None, "")
    assert read_georeference(tmp_path / "a.jpg") == (None, "")
