"""The record of an inspected photo: one JSON file, which is written when the photo is finished.

A rerun reads the records and skips the photos that are finished. A record holds the digest of the photo's content, of
the model version and of the settings, so it is not used after any of these has changed.
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
        identity: Digest of all that decides the result.
        sha256: Digest of the photo's file.
        model: Name of the registered model.
        version: Number of the model version.
        threshold: A position is a crack from this P(crack) on, 0 to 1.
        low: A position needs review from this P(crack) on; None if the model has no certified review
            band.
        width: Pixels, upright.
        height: Pixels, upright.
        facts: What the camera wrote.
        mm_per_pixel: None if unknown.
        scale_source: Where the scale comes from, in words.
        tile_side: Side of a tile in the photo, pixels.
        tiles: Number of all tiles, also of those without data.
        tiles_crack: Number of tiles in which the model sees a crack.
        tiles_review: Number of tiles that need review. None if the model has no review band.
        tiles_novel: Number of tiles with a novelty above 1.
        tiles_empty: Number of tiles without data.
        p_max: Largest P(crack) of a tile; None if no tile has data.
        findings: The most certain first.
        has_georeference: Whether the position of each pixel is known.
        positions: Longitude and latitude of each corner of each finding's polygon; empty without a georeference.
        note: Something about the photo that the reader must know; "" if there is nothing.
        overlay: Name of the drawing with the crack map, in the folder of overlays.
        close_ups: Names of the close-ups of the first findings, in the folder of overlays.
    """

    identity: str
    sha256: str
    model: str
    version: str
    threshold: float
    low: float | None
    width: int
    height: int
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
    """A photo that the caller gave.

    Attributes:
        path: As the caller named it.
        record: The result; None if there is none.
        error: Why there is no result; "" if there is one.
        same_as: The path that was given before with the same content; "" if there is none.
        is_reused: Whether an earlier call finished the photo.
    """

    path: Path
    record: PhotoRecord | None = None
    error: str = ""
    same_as: str = ""
    is_reused: bool = False


def numbered_findings(photos: list[InspectedPhoto]) -> Iterator[tuple[InspectedPhoto, PhotoRecord, int, Finding]]:
    """Yield each finding with its photo, the record of the photo, and its number in the photo, from 1."""
    for photo in photos:
        if photo.record is not None:
            for number, finding in enumerate(photo.record.findings, start=1):
                yield photo, photo.record, number, finding


def file_stem(photo: Path, sha256: str) -> str:
    """Return the part of file names that is the same for all files about a photo: its name and its digest."""
    name = re.sub(r"[^\w.+-]+", "_", photo.stem)[:LONGEST_NAME]
    return f"{name}-{sha256[:12]}"


def write_record(record: PhotoRecord, path: Path) -> None:
    """Write a record completely, or write nothing."""
    with atomic_file(path) as file:
        file.write_text(json.dumps({"record": FORMAT, **asdict(record)}, ensure_ascii=False), encoding="utf-8")


def read_record(path: Path, identity: str | None = None) -> PhotoRecord | None:
    """Return a record; None if there is none with this identity. Without an identity, return any record."""
    try:
        record = load_record(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if identity in (None, record.identity) else None


def load_record(path: Path) -> PhotoRecord:
    """Return a record.

    Raises:
        OSError: The file cannot be read.
        ValueError, KeyError, TypeError: The file is not a record of this `FORMAT`.
    """
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if stored.pop("record") != FORMAT:
        raise ValueError(f"{path} is a record of another release; its format must be {FORMAT}")
    facts = PhotoFacts(**stored.pop("facts"))
    findings = tuple(Finding.from_json(finding) for finding in stored.pop("findings"))
    return PhotoRecord(**stored, facts=facts, findings=findings)
