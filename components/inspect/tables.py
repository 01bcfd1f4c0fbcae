"""Write the results of an inspection as tables (CSV) and as a map (GeoJSON). docs/inspection.md lists the columns."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.inspect.findings import CRACK, NEEDS_REVIEW, NO_CRACK, NO_DATA, Finding, signed_area
from components.inspect.record import OVERLAYS, InspectedPhoto, PhotoRecord, numbered_findings
from components.shared.atomic_file import atomic_file

FINDING_COLUMNS = (
    "photo", "finding", "triage", "p_crack_max", "p_crack_mean", "novelty", "length_px", "length_mm",
    "left_px", "top_px", "right_px", "bottom_px", "polygon_px", "latitude", "longitude", "position_of", "taken",
    "close_up", "model", "version",
)  # fmt: skip
PHOTO_COLUMNS = (
    "photo", "triage", "findings", "p_crack_max", "tiles", "tiles_crack", "tiles_needs_review", "tiles_no_data",
    "tiles_novel", "width_px", "height_px", "tile_px", "mm_per_px", "scale_from", "taken", "latitude", "longitude",
    "altitude_m", "camera", "orientation", "gimbal_yaw_deg", "overlay", "note", "same_as", "error", "sha256", "model",
    "version",
)  # fmt: skip
TABLES = ("photos.csv", "findings.csv", "findings.geojson")
DEGREE_DIGITS = 8  # digits after the decimal point; the last one is about a millimetre


def write_tables(photos: list[InspectedPhoto], folder: Path) -> None:
    """Write findings.csv, photos.csv and findings.geojson into a folder, each completely or not at all."""
    _write_csv(folder / "photos.csv", PHOTO_COLUMNS, map(_photo_row, photos))
    rows = (_finding_row(*numbered) for numbered in numbered_findings(photos))
    _write_csv(folder / "findings.csv", FINDING_COLUMNS, rows)
    with atomic_file(folder / "findings.geojson") as file:
        file.write_text(json.dumps(geojson(photos), ensure_ascii=False), encoding="utf-8")


def photo_triage(record: PhotoRecord) -> str:
    """Return the triage of a photo: the triage of its most serious finding or tile."""
    found = {finding.triage for finding in record.findings}
    if CRACK in found:
        return CRACK
    if NEEDS_REVIEW in found or record.tiles_review:
        return NEEDS_REVIEW
    return NO_DATA if record.tiles_empty == record.tiles else NO_CRACK


def length_mm(finding: Finding, record: PhotoRecord) -> float | None:
    """Return the length of a finding in millimetres; None if the length or the scale is unknown."""
    if finding.length is None or record.mm_per_pixel is None:
        return None
    return finding.length * record.mm_per_pixel


def geojson(photos: list[InspectedPhoto]) -> dict[str, Any]:
    """Return the findings as a FeatureCollection of RFC 7946: longitude and latitude on WGS 84.

    If the photo is georeferenced, the geometry of a finding is the outline of the finding. Otherwise it is the position
    that the camera wrote, or null if the camera wrote none.
    """
    features = []
    for photo, record, number, finding in numbered_findings(photos):
        properties = _finding_row(photo, record, number, finding)
        for name in ("polygon_px", "latitude", "longitude"):
            del properties[name]
        features.append({"type": "Feature", "geometry": _geometry(record, number), "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def _geometry(record: PhotoRecord, number: int) -> dict[str, Any] | None:
    if record.positions:
        ring = [[round(x, DEGREE_DIGITS), round(y, DEGREE_DIGITS)] for x, y in record.positions[number - 1]]
        if signed_area(ring) < 0:  # RFC 7946 demands that the outer ring is counter-clockwise
            ring.reverse()
        return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}

    facts = record.facts
    if facts.longitude is None or facts.latitude is None:
        return None
    position = [round(facts.longitude, DEGREE_DIGITS), round(facts.latitude, DEGREE_DIGITS)]
    if facts.altitude is not None:
        position.append(round(facts.altitude, 2))
    return {"type": "Point", "coordinates": position}


def _finding_row(photo: InspectedPhoto, record: PhotoRecord, number: int, finding: Finding) -> dict[str, Any]:
    left, top, right, bottom = finding.box()
    latitude, longitude, position_of = _position(record, number)
    millimetres = length_mm(finding, record)
    close_up = record.close_ups[number - 1] if number <= len(record.close_ups) else None
    return {
        "photo": str(photo.path),
        "finding": number,
        "triage": finding.triage,
        "p_crack_max": round(finding.p_max, 6),
        "p_crack_mean": round(finding.p_mean, 6),
        "novelty": None if finding.novelty is None else round(finding.novelty, 4),
        "length_px": None if finding.length is None else round(finding.length, 1),
        "length_mm": None if millimetres is None else round(millimetres, 1),
        "left_px": left,
        "top_px": top,
        "right_px": right,
        "bottom_px": bottom,
        "polygon_px": _well_known_text(finding),
        "latitude": latitude,
        "longitude": longitude,
        "position_of": position_of,
        "taken": record.facts.taken,
        "close_up": f"{OVERLAYS}/{close_up}" if close_up else None,
        "model": record.model,
        "version": record.version,
    }


def _position(record: PhotoRecord, number: int) -> tuple[float | None, float | None, str]:
    """Return a latitude, a longitude, and a word that says whose position this is: "finding" or "photo".

    The position of a finding is the mean of the corners of its outline. If the position of the finding is unknown, the
    position of the photo is returned. If both are unknown, the result is (None, None, "").
    """
    if record.positions:
        ring = record.positions[number - 1]
        longitude, latitude = (sum(values) / len(ring) for values in zip(*ring, strict=True))
        return round(latitude, DEGREE_DIGITS), round(longitude, DEGREE_DIGITS), "finding"
    if record.facts.latitude is None:
        return None, None, ""
    return record.facts.latitude, record.facts.longitude, "photo"


def _well_known_text(finding: Finding) -> str:
    """Return the outline in the form `POLYGON ((x y, …))` (WKT of the OGC). x goes to the right and y downwards."""
    ring = (*finding.polygon, finding.polygon[0])
    return f"POLYGON (({', '.join(f'{x:g} {y:g}' for x, y in ring)}))"


def _photo_row(photo: InspectedPhoto) -> dict[str, Any]:
    row: dict[str, Any] = {"photo": str(photo.path), "same_as": photo.same_as, "error": photo.error}
    record = photo.record
    if record is None:
        return row

    facts = record.facts
    return row | {
        "triage": photo_triage(record),
        "findings": len(record.findings),
        "p_crack_max": None if record.p_max is None else round(record.p_max, 6),
        "tiles": record.tiles,
        "tiles_crack": record.tiles_crack,
        "tiles_needs_review": record.tiles_review,
        "tiles_no_data": record.tiles_empty,
        "tiles_novel": record.tiles_novel,
        "width_px": record.width,
        "height_px": record.height,
        "tile_px": record.tile_side,
        "mm_per_px": None if record.mm_per_pixel is None else round(record.mm_per_pixel, 6),
        "scale_from": record.scale_source,
        "taken": facts.taken,
        "latitude": facts.latitude,
        "longitude": facts.longitude,
        "altitude_m": facts.altitude,
        "camera": facts.camera,
        "orientation": facts.orientation,
        "gimbal_yaw_deg": facts.gimbal_yaw,
        "overlay": f"{OVERLAYS}/{record.overlay}",
        "note": record.note,
        "sha256": record.sha256,
        "model": record.model,
        "version": record.version,
    }


def _write_csv(path: Path, columns: tuple[str, ...], rows: Iterator[dict[str, Any]]) -> None:
    with atomic_file(path) as file, file.open("w", newline="", encoding="utf-8") as table:
        writer = csv.DictWriter(table, columns)
        writer.writeheader()
        writer.writerows(rows)
