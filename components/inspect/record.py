"""The record of an inspected photo: one JSON file, which is written when the photo is finished.

A rerun reads the records and skips the photos that are finished. A record contains one digest of
three things: the photo's content, the model version and the settings. If one of them has changed, the record is not
used.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.inspect.config import FORMAT
from components.inspect.findings import Finding
from components.inspect.photo_facts import PhotoFacts
from components.shared.atomic_file import atomic_file

RECORDS, TILES, OVERLAYS = "photos", "tiles", "overlays"  # folders of the results
LONGEST_NAME = 50  # characters of a photo's name in the names of our files


@dataclass(frozen=True)
class PhotoRecord:
    """The result of one photo.

    Attributes:
        identity: Digest of everything that decides the result: the photo, the model version and the settings.
        sha256: Digest of the photo's file.
        model: Name of the registered model.
        version: Number of the model version.
        threshold: Smallest P(crack) of a crack, 0 to 1.
        low: Smallest P(crack) that needs review, 0 to 1. None if the model has no certified review band.
        width: Width of the photo in pixels, after the EXIF rotation is applied.
        height: Height of the photo in pixels, after the EXIF rotation is applied.
        used_bits: Bits per value before the photo was scaled to 8 bits, such as 12 (`image_depth.Decoded`). It is 0 if
            the photo was not scaled.
        facts: What the camera wrote into the file.
        mm_per_pixel: Millimetres of concrete per pixel; None if unknown.
        scale_source: How the scale was found, in words.
        tile_side: Side of a tile in the photo, pixels.
        tiles: Number of all tiles, including tiles without data.
        tiles_crack: Number of tiles in which the model sees a crack.
        tiles_review: Number of tiles that need review. None if the model has no review band.
        tiles_novel: Number of tiles with a novelty above 1.
        tiles_empty: Number of tiles without data.
        p_max: Largest P(crack) of a tile; None if no tile has data.
        findings: First the cracks, then the findings that need review. Both parts are sorted from most to least
            certain.
        has_georeference: Whether the position of each pixel is known.
        positions: For each finding, the longitude and latitude of each corner of its polygon. The tuple is empty if the
            photo has no georeference.
        note: Why the georeference in the file is not supported; "" in all other cases.
        overlay: File name of the drawing with the crack map, in the folder of overlays.
        close_ups: File names of the close-ups of the first findings, in the folder of overlays.
    """

    identity: str
    sha256: str
    model: str
    version: str
    threshold: float
    low: float | None
    width: int
    height: int
    used_bits: int
    facts: PhotoFacts
    mm_per_pixel: float | None
    scale_source: str
    tile_side: int
    tiles: int
    tiles_crack: int
    tiles_review: int | None
    tiles_novel: int
    tiles_empty: int
    p_max: float | None
    findings: tuple[Finding, ...]
    has_georeference: bool
    positions: tuple[tuple[tuple[float, float], ...], ...]
    note: str
    overlay: str
    close_ups: tuple[str, ...]


@dataclass(frozen=True)
class InspectedPhoto:
    """A photo, and either the result of its inspection or the reason why there is no result.

    Attributes:
        path: Path or key of the photo, as it was given.
        record: The result; None if there is none.
        error: Why the photo could not be inspected; "" if there is no error.
        same_as: Path of an earlier photo with the same content; "" if there is none.
        is_reused: Whether the record was written by an earlier call.
    """

    path: Path
    record: PhotoRecord | None = None
    error: str = ""
    same_as: str = ""
    is_reused: bool = False


def numbered_findings(photos: list[InspectedPhoto]) -> Iterator[tuple[InspectedPhoto, PhotoRecord, int, Finding]]:
    """Yield each finding: its photo, the record of the photo, its number in the photo (from 1), and the finding."""
    for photo in photos:
        if photo.record is not None:
            for number, finding in enumerate(photo.record.findings, start=1):
                yield photo, photo.record, number, finding


def file_stem(photo: Path, sha256: str) -> str:
    """Return the photo's name and digest, joined. The names of all result files of the photo begin with this text."""
    name = re.sub(r"[^\w.+-]+", "_", photo.stem)[:LONGEST_NAME]
    return f"{name}-{sha256[:12]}"


def write_record(record: PhotoRecord, path: Path) -> None:
    """Write a record completely, or write nothing."""
    with atomic_file(path) as file:
        file.write_text(json.dumps({"record": FORMAT, **asdict(record)}, ensure_ascii=False), encoding="utf-8")


def read_record(path: Path, identity: str | None = None) -> PhotoRecord | None:
    """Return the record in a file, or None if it cannot be read or has another identity.

    If `identity` is None, every identity is accepted.
    """
    try:
        record = load_record(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if identity in (None, record.identity) else None


def load_record(path: Path) -> PhotoRecord:
    """Return the record in a file.

    Raises:
        OSError: The file cannot be read.
        ValueError, KeyError, TypeError: The file is not a record of this `FORMAT`.
    """
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if stored.pop("record") != FORMAT:
        raise ValueError(
            f"{path} has the format of another release, but this release reads only format {FORMAT}; inspect the photo "
            "again"
        )
    facts = PhotoFacts(**stored.pop("facts"))
    findings = tuple(Finding.from_json(finding) for finding in stored.pop("findings"))
    return PhotoRecord(**stored, facts=facts, findings=findings)
