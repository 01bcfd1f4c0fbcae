from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from components.inspect.photo_facts import PhotoFacts, coordinate, read_facts
from components.inspect.scale import Scale, find_scale

GPS, EXIF = 0x8825, 0x8769
DJI = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description drone-dji:FlightYawDegree="+12.00"
 drone-dji:GimbalYawDegree="-93.40" drone-dji:GimbalPitchDegree="-90.00"/></x:xmpmeta>"""


def photo(path: Path, tags: dict | None = None, exif: dict | None = None, gps: dict | None = None, xmp: bytes = b""):
    written = Image.Exif()
    written.update(tags or {})
    written.get_ifd(EXIF).update(exif or {})
    written.get_ifd(GPS).update(gps or {})
    options = {"xmp": xmp} if xmp else {}
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(path, exif=written, **options)
    return path


def rationals(*values: float) -> tuple[IFDRational, ...]:
    return tuple(IFDRational(round(value * 1000), 1000) for value in values)


def test_a_drone_photo_gives_time_position_camera_and_the_yaw_of_its_gimbal(tmp_path):
    file = photo(
        tmp_path / "DJI_0001.jpg",
        tags={271: "DJI", 272: "FC6310", 274: 6},
        exif={36867: "2026:05:04 10:11:12", 36881: "+02:00", 37386: IFDRational(88, 10), 41989: 24},
        gps={1: "S", 2: rationals(47, 22, 30), 3: "W", 4: rationals(8, 30, 0), 5: b"\x01", 6: IFDRational(425, 10)},
        xmp=DJI,
    )
    facts = read_facts(file)
    assert facts.taken == "2026-05-04T10:11:12+02:00"
    assert (facts.latitude, facts.longitude) == (pytest.approx(-47.375), pytest.approx(-8.5))
    assert (facts.altitude, facts.camera, facts.orientation) == (-42.5, "DJI FC6310", 6)
    assert facts.gimbal_yaw == -93.4  # not the flight's 12 degrees
    assert (facts.focal_length, facts.focal_length_35mm) == (pytest.approx(8.8), 24)


@pytest.mark.parametrize(
    ("gps", "why"),
    [
        ({}, "no GPS"),
        ({1: "N", 2: rationals(0, 0, 0), 3: "E", 4: rationals(0, 0, 0)}, "0, 0 means no satellites"),
        ({1: "N", 2: (IFDRational(0, 0),) * 3, 3: "E", 4: (IFDRational(0, 0),) * 3}, "0/0 is not a number"),
        ({1: "N", 2: rationals(147, 0, 0), 3: "E", 4: rationals(8, 0, 0)}, "beyond the pole"),
        ({1: "N", 2: rationals(47, 0, 0)}, "no longitude"),
    ],
)
def test_a_position_that_is_none_is_not_reported(tmp_path, gps, why):
    facts = read_facts(photo(tmp_path / "a.jpg", gps=gps))
    assert (facts.latitude, facts.longitude) == (None, None), why


@pytest.mark.parametrize(
    ("value", "reference", "degrees"),
    [
        ("47,3750", None, 47.375),
        ("-8.5", None, -8.5),
        ("47,22.5N", None, 47.375),
        ("8,30,0W", None, -8.5),
        ((-8.0, 30.0, 0.0), None, -8.5),
        (rationals(8, 30, 0), "W", -8.5),
        ("north", None, None),
        (None, "N", None),
    ],
)
def test_coordinates_are_read_in_every_form(value, reference, degrees):
    assert coordinate(value, reference, 90) == (None if degrees is None else pytest.approx(degrees))


def test_a_photo_without_metadata_and_a_damaged_file_have_no_facts(tmp_path):
    (tmp_path / "bad.jpg").write_text("not an image")
    assert read_facts(tmp_path / "bad.jpg") == PhotoFacts()
    facts = read_facts(photo(tmp_path / "plain.jpg"))
    assert (facts.taken, facts.camera, facts.gimbal_yaw, facts.orientation) == ("", "", None, 1)


def test_the_scale_follows_from_lens_and_distance(tmp_path):
    # A pixel of 2.4 um behind a lens of 8.8 mm sees 2.4e-3 / 8.8 * 5000 mm from 5 m.
    per_centimetre = IFDRational(round(10 / 0.0024 * 100), 100)
    sensor = photo(tmp_path / "a.jpg", exif={37386: IFDRational(88, 10), 41486: per_centimetre, 41488: 3})
    film = photo(tmp_path / "b.jpg", exif={41989: 24})

    by_sensor = find_scale(None, 5, read_facts(sensor), None, 80, 60)
    assert by_sensor.mm_per_pixel == pytest.approx(0.0024 / 8.8 * 5000, rel=1e-3)
    # 80 x 60 px have a diagonal of 100 px, which is 43.27 mm on film.
    by_film = find_scale(None, 5, read_facts(film), None, 80, 60)
    assert by_film.mm_per_pixel == pytest.approx(43.267 / 100 / 24 * 5000, rel=1e-3)
    assert find_scale(0.5, 5, read_facts(film), None, 80, 60) == Scale(0.5, "given")
    assert find_scale(None, None, read_facts(film), None, 80, 60).mm_per_pixel is None
    assert find_scale(None, 5, PhotoFacts(), None, 80, 60).mm_per_pixel is None


def test_tiles_have_the_size_of_training_tiles_on_the_concrete_where_both_are_known():
    assert Scale(0.5, "given").tile_side(256, 200.0) == 400
    assert Scale(0.5, "given").tile_side(256, None) == 256
    assert Scale().tile_side(256, 200.0) == 256
