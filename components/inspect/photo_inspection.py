"""Inspect one photo: answer its tiles, blend the answers into a crack map, and join them into findings."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.inspect.config import InspectConfig
from components.inspect.crack_map import blend
from components.inspect.findings import CRACK, NEEDS_REVIEW, NO_CRACK, NO_DATA, find_regions
from components.inspect.georeference import read_georeference
from components.inspect.overlays import draw_close_ups, draw_overlay
from components.inspect.photo_facts import read_facts
from components.inspect.photo_reader import Photo, open_photo
from components.inspect.record import PhotoRecord, file_stem
from components.inspect.scale import find_scale
from components.inspect.tile_answers import Model, answer_tiles
from components.inspect.tile_grid import MAX_EMPTY, CutTile, TileGrid, cut_tiles, make_grid, without_data
from components.shared.data.novelty import STRANGE


@dataclass(frozen=True)
class TileAnswers:
    """The answers of all tiles of a photo, each (rows, columns). P(crack) and novelty are NaN for tiles without data.

    Attributes:
        p_crack: float, 0 to 1.
        novelty: float, from 0.
        is_empty: bool, tiles without data.
    """

    p_crack: np.ndarray
    novelty: np.ndarray
    is_empty: np.ndarray


@dataclass(frozen=True)
class Inspection:
    """All results of a photo.

    Attributes:
        record: What the tables and the page show.
        tiles: One row for each tile: left_px, top_px, triage, p_crack and novelty.
        drawings: Name -> uint8 (h, w, 3) RGB, the overlay and the close-ups.
    """

    record: PhotoRecord
    tiles: pd.DataFrame
    drawings: dict[str, np.ndarray]


def inspect_photo(path: Path, sha256: str, identity: str, model: Model, config: InspectConfig) -> Inspection:
    """Inspect a photo.

    Args:
        path: Image file.
        sha256: Digest of the file.
        identity: Digest of all that decides the result; it is kept in the record.
        model: A registered model version.
        config: Scale, overlap and number of close-ups.

    Raises:
        ImageError: The photo cannot be inspected.
        OSError: The file cannot be read.
    """
    facts = read_facts(path)
    georeference, note = read_georeference(path)
    calibration, info = model.calibration, model.network.info
    with open_photo(path) as photo:
        width, height = photo.width, photo.height
        scale = find_scale(config.scale, config.distance, facts, georeference, width, height)
        grid = make_grid(width, height, scale.tile_side(info.tile_side, info.tile_mm), config.overlap)
        answers = _answer(photo, grid, model, config.batch_size)
        crack_map = blend(grid, answers.p_crack)
        findings = find_regions(crack_map, grid, answers.p_crack, answers.novelty, calibration.threshold, model.low)

        stem = file_stem(path, sha256)
        drawings = {f"{stem}.jpg": draw_overlay(photo, crack_map, findings, calibration.threshold)}
        close_ups = draw_close_ups(photo, grid, findings[: config.close_ups], model.network)
    drawings |= {f"{stem}_finding_{number}.jpg": drawn for number, drawn in enumerate(close_ups, start=1)}

    tiles = _table(answers, grid, model)
    overlay, *names_of_close_ups = drawings
    positions = []
    if georeference is not None:
        positions = [tuple(georeference.positions(finding.polygon)) for finding in findings]
    record = PhotoRecord(
        identity=identity,
        sha256=sha256,
        model=model.name,
        version=model.version,
        threshold=calibration.threshold,
        low=model.low,
        width=width,
        height=height,
        facts=facts,
        mm_per_pixel=scale.mm_per_pixel,
        scale_source=scale.source,
        tile_side=grid.side,
        **_counts(tiles, has_band=calibration.band is not None),
        findings=tuple(findings),
        has_georeference=georeference is not None,
        positions=tuple(positions),
        note=note,
        overlay=overlay,
        close_ups=tuple(names_of_close_ups),
    )
    return Inspection(record, tiles, drawings)


def _answer(photo: Photo, grid: TileGrid, model: Model, batch_size: int | None) -> TileAnswers:
    """Let the model answer the tiles with data of a photo."""
    empty = np.ones(grid.shape)
    asked: list[tuple[int, int]] = []

    def with_data(tiles: Iterable[CutTile]) -> Iterator[np.ndarray]:
        for tile in tiles:
            empty[tile.row, tile.column] = tile.empty
            if tile.empty <= MAX_EMPTY:
                asked.append((tile.row, tile.column))
                yield tile.pixels

    answers = list(answer_tiles(model, with_data(cut_tiles(photo, grid)), batch_size))
    p_crack, novelty = np.full(grid.shape, np.nan), np.full(grid.shape, np.nan)
    if answers:
        rows, columns = np.array(asked).T
        p_crack[rows, columns] = np.concatenate([p for p, _ in answers])
        novelty[rows, columns] = np.concatenate([score for _, score in answers])

    is_empty = without_data(empty)
    p_crack[is_empty] = np.nan
    novelty[is_empty] = np.nan
    return TileAnswers(p_crack, novelty, is_empty)


def _counts(tiles: pd.DataFrame, has_band: bool) -> dict[str, Any]:
    """Return the fields of the record that count tiles, and the largest P(crack)."""
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
    """Return one row for each tile, row by row of the grid."""
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
