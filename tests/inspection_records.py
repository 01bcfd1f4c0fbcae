"""Records of inspected photos, as an inspection would write them."""

from pathlib import Path

from components.inspect.findings import Finding
from components.inspect.photo_facts import PhotoFacts
from components.inspect.record import InspectedPhoto, PhotoRecord
from components.shared.hashing import file_digest


def finding(
    triage: str, p_max: float, peak: tuple[int, int] = (0, 0), corners: tuple = ((0, 0), (0, 9), (9, 9))
) -> Finding:
    return Finding(triage, p_max, p_max / 2, corners, None, peak, tiles=1)


def inspected_photo(
    path: Path, *findings: Finding, positions: tuple = (), facts: PhotoFacts | None = None, side: int = 32
) -> InspectedPhoto:
    record = PhotoRecord(
        identity="", sha256=file_digest(path), model="crack-classifier", version="3", threshold=0.5, low=0.1,
        width=100, height=80, used_bits=0, facts=facts or PhotoFacts(), mm_per_pixel=None, scale_source="",
        tile_side=side, tiles=9, tiles_crack=0, tiles_review=len(findings), tiles_novel=0, tiles_empty=0, p_max=0.4,
        findings=findings, has_georeference=bool(positions), positions=positions, note="", overlay="", close_ups=(),
    )  # fmt: skip
    return InspectedPhoto(path, record)
