"""The rules of RFC 7946 that a file of findings must keep. We wrote the checks from the text of the RFC."""

import json
from itertools import pairwise
from typing import Any


def check_geojson(text: str) -> dict[str, Any]:
    """Return the parsed text. Raise `AssertionError` if it is not a FeatureCollection of RFC 7946."""
    document = json.loads(text, parse_constant=_not_json)
    assert document["type"] == "FeatureCollection"
    assert isinstance(document["features"], list)
    assert not document.keys() & {"crs", "coordinates", "geometries", "geometry", "properties"}  # sections 4 and 7.1
    for feature in document["features"]:
        _check_feature(feature)
    return document


def _check_feature(feature: dict[str, Any]) -> None:
    assert feature["type"] == "Feature"
    assert feature["properties"] is None or isinstance(feature["properties"], dict)
    assert not feature.keys() & {"coordinates", "geometries", "features"}
    assert isinstance(feature.get("id", ""), str | int | float)

    geometry = feature["geometry"]
    if geometry is None:  # an unlocated feature, section 3.2
        return
    assert not geometry.keys() & {"geometry", "properties", "features"}
    positions = []
    if geometry["type"] == "Point":
        positions = [geometry["coordinates"]]
    elif geometry["type"] == "Polygon":
        for number, ring in enumerate(geometry["coordinates"]):
            _check_ring(ring, is_exterior=number == 0)
            positions += ring
    else:
        raise AssertionError(f"a finding cannot be a {geometry['type']}")
    for position in positions:
        _check_position(position)
    for holder in (feature, geometry):
        if "bbox" in holder:
            _check_bbox(holder["bbox"], positions)


def _check_position(position: list[float]) -> None:
    assert len(position) in (2, 3)
    assert all(isinstance(number, int | float) and not isinstance(number, bool) for number in position)
    assert -180 <= position[0] <= 180
    assert -90 <= position[1] <= 90


def _check_ring(ring: list[list[float]], is_exterior: bool) -> None:
    assert len(ring) >= 4
    assert ring[0] == ring[-1]
    first_x, first_y = ring[0][:2]
    area = 0.0
    for (x0, y0, *_), (x1, y1, *_) in pairwise(ring):
        area += (x0 - first_x) * (y1 - first_y) - (x1 - first_x) * (y0 - first_y)
    assert area > 0 if is_exterior else area < 0  # the right-hand rule, section 3.1.6


def _check_bbox(bbox: list[float], positions: list[list[float]]) -> None:
    dimensions = len(bbox) // 2
    assert len(bbox) in (4, 6)
    for axis in range(dimensions):
        values = [position[axis] for position in positions]
        assert bbox[axis] <= min(values)
        assert max(values) <= bbox[axis + dimensions]


def _not_json(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")
