"""The map of findings keeps the rules of RFC 7946."""

from pathlib import Path

import pytest

from components.inspect.photo_facts import PhotoFacts
from components.inspect.tables import write_tables
from tests.geojson_rules import check_geojson
from tests.inspection_records import finding, inspected_photo

# Around Greenwich, with the corners in both directions, as north and south of the equator give them.
RINGS = [
    ((-0.0015, 51.4779), (-0.0014, 51.4779), (-0.0014, 51.4780), (-0.0015, 51.4780)),
    ((-0.0015, 51.4779), (-0.0015, 51.4780), (-0.0014, 51.4780), (-0.0014, 51.4779)),
    ((151.215, -33.857), (151.216, -33.857), (151.2155, -33.858)),
]


def test_findings_are_polygons_points_or_unlocated(tmp_path: Path) -> None:
    photos = []
    for number in range(4):
        (tmp_path / f"Brücke {number}.jpg").write_bytes(bytes([number]))
    paths = sorted(tmp_path.glob("*.jpg"))
    three = [finding("crack", 0.9), finding("crack", 0.8), finding("needs_review", 0.3)]
    photos.append(inspected_photo(paths[0], *three, positions=tuple(RINGS)))
    photos.append(
        inspected_photo(paths[1], *three[:1], facts=PhotoFacts(latitude=-90.0, longitude=180.0, altitude=12.3))
    )
    photos.append(inspected_photo(paths[2], *three[:1], facts=PhotoFacts(latitude=51.5, longitude=-0.1)))
    photos.append(inspected_photo(paths[3], *three[:1]))
    write_tables(photos, tmp_path)

    document = check_geojson((tmp_path / "findings.geojson").read_text(encoding="utf-8"))
    geometries = [feature["geometry"] for feature in document["features"]]
    assert [geometry and geometry["type"] for geometry in geometries] == [*["Polygon"] * 3, "Point", "Point", None]
    for geometry, ring in zip(geometries, RINGS, strict=False):
        assert {tuple(position) for position in geometry["coordinates"][0]} == set(ring)
    assert geometries[3]["coordinates"] == [180, -90, 12.3]


def collection(geometry: str, properties: str = "{}") -> str:
    feature = f'{{"type": "Feature", "properties": {properties}, "geometry": {geometry}}}'
    return f'{{"type": "FeatureCollection", "features": [{feature}]}}'


@pytest.mark.parametrize(
    "wrong",
    [
        collection('{"type": "Point", "coordinates": [200, 0]}'),
        collection('{"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [0, 0]]]}'),
        collection('{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 1]]]}'),
        collection("null", '{"p": NaN}'),
    ],
)
def test_the_rules_find_what_is_wrong(wrong: str) -> None:
    assert check_geojson(collection("null"))
    with pytest.raises(AssertionError):
        check_geojson(wrong)
