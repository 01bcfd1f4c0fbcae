"""Inspect one photo: classify its tiles, blend the answers into a crack map, and read the findings from this map."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.inspect.config import InspectConfig
from components.inspect.crack_map import blend
from components.inspect.findings import CRACK, NEEDS_REVIEW, NO_CRACK, NO_DATA, Finding, join_into_findings
from components.inspect.georeference import Georeference, read_georeference
from components.inspect.overlays import draw_close_ups, draw_overlay
from components.inspect.photo_facts import PhotoFacts, read_facts
from components.inspect.photo_reader import Photo, open_photo
from components.inspect.record import PhotoRecord, file_stem
from components.inspect.scale import Scale, find_scale
from components.inspect.tile_answers import Model, classify_tiles
from components.inspect.tile_grid import MAX_EMPTY, CutTile, TileGrid, cut_tiles, make_grid, without_data
from components.shared.data.novelty import STRANGE


@dataclass(frozen=True)
class TileAnswers:
    """The answers about all tiles of a photo. Each array has the shape (rows, columns) of the grid of tiles.

    Attributes:
        p_crack: float, 0 to 1. NaN for tiles without data.
        novelty: float, at least 0. NaN for tiles without data.
        is_empty: bool, true for tiles without data.
    """

    p_crack: np.ndarray
    novelty: np.ndarray
    is_empty: np.ndarray


@dataclass(frozen=True)
class Place:
    """Where and how a photo was taken.

    Attributes:
        facts: What the camera wrote into the file.
        georeference: The position of each pixel on the Earth; None if it is unknown.
        scale: Millimetres of concrete per pixel, and how this scale was found.
        note: Why the georeference in the file is not supported; "" in all other cases.
    """

    facts: PhotoFacts
    georeference: Georeference | None
    scale: Scale
    note: str


@dataclass(frozen=True)
class Inspection:
    """All results of a photo.

    Attributes:
        record: What the tables and the page show.
        tiles: One row for each tile: left_px, top_px, triage, p_crack and novelty.
        drawings: File name -> drawing, uint8 (h, w, 3) RGB. The drawings are the overlay and the close-ups.
    """

    record: PhotoRecord
    tiles: pd.DataFrame
    drawings: dict[str, np.ndarray]


def inspect_photo(path: Path, sha256: str, identity: str, model: Model, config: InspectConfig) -> Inspection:
    """Inspect a photo.

    Args:
        path: Image file.
        sha256: Digest of the file.
        identity: Digest of everything that decides the result; it becomes a part of the record.
        model: A registered model version.
        config: Scale, overlap and number of close-ups.

    Raises:
        ImageError: The photo cannot be inspected.
        OSError: The file cannot be read.
    """
    calibration = model.calibration
    with open_photo(path) as photo:
        place = _find_place(path, photo, config)
        grid = _grid(photo, place.scale, model, config)
        answers = _classify(photo, grid, model, config.batch_size)
        crack_map = blend(grid, answers.p_crack)
        findings = join_into_findings(
            crack_map, grid, answers.p_crack, answers.novelty, calibration.threshold, model.low
        )
        overlay = draw_overlay(photo, crack_map, findings, calibration.threshold)
        close_ups = draw_close_ups(photo, grid, findings[: config.close_ups], model.network)
        sizes_and_findings: dict[str, Any] = {
            "width": photo.width,
            "height": photo.height,
            "used_bits": photo.used_bits,
            "tile_side": grid.side,
            "findings": tuple(findings),
        }

    tiles = _table(answers, grid, model)
    drawings = _named(file_stem(path, sha256), overlay, close_ups)
    overlay_name, *close_up_names = drawings
    record = PhotoRecord(
        identity=identity,
        sha256=sha256,
        **_facts_of_model(model),
        **sizes_and_findings,
        **_facts_of_place(place, findings),
        **_counts(tiles, has_band=calibration.band is not None),
        overlay=overlay_name,
        close_ups=tuple(close_up_names),
    )
    return Inspection(record, tiles, drawings)


def _find_place(path: Path, photo: Photo, config: InspectConfig) -> Place:
    facts = read_facts(path)
    georeference, note = read_georeference(path)
    scale = find_scale(config.scale, config.distance, facts, georeference, photo.width, photo.height)
    return Place(facts, georeference, scale, note)


def _grid(photo: Photo, scale: Scale, model: Model, config: InspectConfig) -> TileGrid:
    info = model.network.info
    side = scale.tile_side(info.tile_side, info.tile_mm)
    return make_grid(photo.width, photo.height, side, config.overlap)


def _named(stem: str, overlay: np.ndarray, close_ups: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return a dict: file name -> drawing. The overlay is first."""
    drawings = {f"{stem}.jpg": overlay}
    for number, drawn in enumerate(close_ups, start=1):
        drawings[f"{stem}_finding_{number}.jpg"] = drawn
    return drawings


def _facts_of_model(model: Model) -> dict[str, Any]:
    """Return those fields of the record that describe the model version."""
    return {
        "model": model.name,
        "version": model.version,
        "threshold": model.calibration.threshold,
        "low": model.low,
    }


def _facts_of_place(place: Place, findings: list[Finding]) -> dict[str, Any]:
    """Return those fields of the record that describe the camera, the scale and the position on the Earth."""
    positions = []
    if place.georeference is not None:
        positions = [tuple(place.georeference.positions(finding.polygon)) for finding in findings]
    return {
        "facts": place.facts,
        "mm_per_pixel": place.scale.mm_per_pixel,
        "scale_source": place.scale.source,
        "has_georeference": place.georeference is not None,
        "positions": tuple(positions),
        "note": place.note,
    }


def _classify(photo: Photo, grid: TileGrid, model: Model, batch_size: int | None) -> TileAnswers:
    """Classify the tiles of a photo. A tile without data gets NaN as its answer."""
    empty = np.ones(grid.shape)
    classified: list[tuple[int, int]] = []

    def with_data(tiles: Iterable[CutTile]) -> Iterator[np.ndarray]:
        for tile in tiles:
            empty[tile.row, tile.column] = tile.empty
            if tile.empty <= MAX_EMPTY:
                classified.append((tile.row, tile.column))
                yield tile.pixels

    answers = list(classify_tiles(model, with_data(cut_tiles(photo, grid)), batch_size))
    p_crack, novelty = np.full(grid.shape, np.nan), np.full(grid.shape, np.nan)
    if answers:
        rows, columns = np.array(classified).T
        p_crack[rows, columns] = np.concatenate([p for p, _ in answers])
        novelty[rows, columns] = np.concatenate([score for _, score in answers])

    is_empty = without_data(empty)
    p_crack[is_empty] = np.nan
    novelty[is_empty] = np.nan
    return TileAnswers(p_crack, novelty, is_empty)


def _counts(tiles: pd.DataFrame, has_band: bool) -> dict[str, Any]:
    """Return those fields of the record that contain a number of tiles or the largest P(crack)."""
    number = tiles["triage"].value_counts()
    return {
        "tiles": len(tiles),
        "tiles_crack": int(number.get(CRACK, 0)),
        "tiles_review": int(number.get(NEEDS_REVIEW, 0)) if has_band else None,
        "tiles_novel": int((tiles["novelty"] > STRANGE).sum()),
        "tiles_empty": int(number.get(NO_DATA, 0)),
        "p_max": None if tiles["p_crack"].isna().all() else float(tiles["p_crack"].max()),
    }


def _table(answers: TileAnswers, grid: TileGrid, model: Model) -> pd.DataFrame:
    """Return a table with one row for each tile. The tiles of the grid's first row come first."""
    p_crack = answers.p_crack.ravel()
    needs_review = model.calibration.needs_review(p_crack).astype(bool)  # None becomes false
    triage = np.select(
        [answers.is_empty.ravel(), p_crack >= model.calibration.threshold, needs_review],
        [NO_DATA, CRACK, NEEDS_REVIEW],
        NO_CRACK,
    )
    return pd.DataFrame(
        {
            "left_px": np.tile(grid.lefts, len(grid.tops)),
            "top_px": np.repeat(grid.tops, len(grid.lefts)),
            "triage": triage,
            "p_crack": p_crack,
            "novelty": answers.novelty.ravel(),
        }
    )
