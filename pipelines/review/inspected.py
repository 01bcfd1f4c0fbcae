"""Cut tiles from inspected photos: one tile for each finding that needs review."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from components.inspect.findings import NEEDS_REVIEW, Finding
from components.inspect.photo_reader import open_photo
from components.inspect.record import RECORDS, PhotoRecord, file_stem, read_record
from components.shared.data.image_structure import ImageError
from components.shared.errors import InputError
from components.shared.hashing import bytes_digest, file_digest
from pipelines.review.ranking import log_odds

PHOTOS = "photos.csv"
COLUMNS = ["tile", "photo", "path", "p_crack", "distance"]


@dataclass(frozen=True)
class InspectedTiles:
    """Tiles that were cut from inspected photos.

    Attributes:
        tiles: Table with these columns: `tile` (sha256 of the PNG file), `photo` (name of the photo's group), `path`
            (PHOTO@LEFT,TOP), `p_crack`, and `distance` (difference between P(crack) and the threshold in log odds). The
            smallest distance is first.
        images: sha256 of the PNG file -> content of the file.
        missing: One text for each photo that has findings to review, but cannot be used. The text names the photo and
            the reason: the photo cannot be read, or was changed since the inspection.
    """

    tiles: pd.DataFrame
    images: dict[str, bytes]
    missing: list[str]


def cut_inspected(folder: Path) -> InspectedTiles:
    """Cut one tile for each finding that needs review: the finding's tile with the largest P(crack).

    Args:
        folder: The folder that `crack-pipeline inspect` wrote.

    Raises:
        InputError: The folder is not the folder of an inspection, or no finding needs review. Or all photos with
            findings to review are missing or were changed.
    """
    rows = []
    images: dict[str, bytes] = {}
    missing: list[str] = []
    for photo, record in _records(folder):
        unsure = [finding for finding in record.findings if finding.triage == NEEDS_REVIEW]
        if not unsure:
            continue
        problem = _problem(photo, record)
        if problem:
            missing.append(f"{photo}: {problem}")
            continue
        for finding, png in zip(unsure, _cut(photo, record, unsure), strict=True):
            tile = bytes_digest(png)
            images[tile] = png
            left, top = finding.peak
            distance = float(abs(log_odds(finding.p_max) - log_odds(record.threshold)))
            group = file_stem(photo, record.sha256)
            rows.append((tile, group, f"{photo}@{left},{top}", finding.p_max, distance))

    if not rows:
        reason = f"photos that cannot be read: {missing[0]}" if missing else "no finding needs review"
        raise InputError(f"the inspection {folder} gives no tile for the queue: {reason}; leave --inspection out")
    table = pd.DataFrame(rows, columns=COLUMNS).sort_values(["distance", "tile"]).drop_duplicates("tile")
    return InspectedTiles(table.reset_index(drop=True), images, missing)


def _records(folder: Path) -> Iterator[tuple[Path, PhotoRecord]]:
    """Yield the path and the record of each photo. The path is the one that was given to the inspection."""
    try:
        photos = pd.read_csv(folder / PHOTOS, dtype=str, keep_default_na=False)[["photo", "sha256"]]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder} has no table {PHOTOS} ({error}); give a folder that `crack-pipeline inspect` wrote"
        ) from error

    for name, sha256 in photos.itertuples(index=False):
        if sha256:
            path = folder / RECORDS / f"{file_stem(Path(name), sha256)}.json"
            record = read_record(path)
            if record is None:
                raise InputError(f"{path} is missing or damaged; inspect the photos again")
            yield Path(name), record


def _problem(photo: Path, record: PhotoRecord) -> str:
    """Return why no tile can be cut from a photo, or "" if nothing prevents it."""
    try:
        is_same = file_digest(photo) == record.sha256
    except OSError as error:
        return f"{error.strerror}; call the command from the folder from which `inspect` was called"
    return "" if is_same else "the photo was changed since the inspection; inspect it again"


def _cut(photo: Path, record: PhotoRecord, findings: list[Finding]) -> list[bytes]:
    """For each finding, return its tile with the largest P(crack), as the content of a PNG file."""
    side = record.tile_side
    tiles = []
    try:
        with open_photo(photo) as opened:
            for finding in findings:
                left, top = finding.peak
                pixels = opened.rows(top, top + side).pixels[:, left : left + side]
                bgr = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2BGR)
                tiles.append(cv2.imencode(".png", bgr)[1].tobytes())
    except ImageError as error:
        raise InputError(f"{photo}: {error}; inspect the photo again") from error
    return tiles
