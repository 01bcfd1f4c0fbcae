"""The data set report: what came in, what did not, and what it looks like."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from components.ingest.selection import Selection
from components.shared.image import decode
from components.shared.manifest import CLASSES, Manifest
from components.shared.page import Page

TILE, COLUMNS, ROWS = 96, 10, 2  # of a mosaic; pixels, tiles
PREDICTORS = {
    "photo": "the photo it was cut from",
    "surface": "surface",
    "source": "source",
    "brightness": "mean brightness",
    "contrast": "contrast (standard deviation)",
    "darkest": "median minus minimum",
    "file_size": "file size",
}
LISTED = 100  # quarantined files named on the page; report.json names all


def write_page(
    report: dict[str, Any], manifest: Manifest, selection: Selection, read: Callable[[int], bytes], path: str | Path
) -> None:
    """Write the report as one HTML page.

    Args:
        report: Content of report.json.
        manifest: The version.
        selection: Its pictures, in the order of the manifest.
        read: Gives the content of the picture of an index.
        path: File to write.
    """
    page = Page("Data set")
    page.text(
        f"Version `{report['digest'][:12]}`: {report['images']} images of {report['files']} files, "
        f"in {report['groups']} groups that must not be split. "
        f"{report['refused']} files were refused, {report['conflicts']} stand under both labels and "
        f"{report['bridges']} between two groups of an earlier version, so that they were left out, "
        f"{report['exact_copies']} are copies of others, and {report['near_duplicate_pairs']} pairs look the same."
    )
    rows = [
        [s[name] for name in ("source", "layout", "files", "images", "refused", "conflicts", "bridges")]
        for s in report["sources"]
    ]
    page.table(
        ["source", "layout", "files", "images kept", "refused", "both labels", "between groups"],
        rows,
        "Where they come from",
    )
    counts = manifest.table.groupby(["source", "surface", "label"]).agg(
        images=("sample_id", "size"), groups=("group_id", "nunique"), masks=("mask_id", "count")
    )
    rows = [[source, surface, CLASSES[label], *map(int, row)] for (source, surface, label), *row in counts.itertuples()]
    page.table(["source", "surface", "class", "images", "groups", "with mask"], rows, "What the version holds")
    _show_shortcuts(page, report["shortcuts"])
    for label, name in enumerate(CLASSES):
        chosen = np.flatnonzero(manifest.table["label"] == label)[: COLUMNS * ROWS].tolist()
        page.image(
            _mosaic([read(index) for index in chosen]),
            f"{name}: a random sample",
            f"Tiles of class {name}",
        )
    _show_near_duplicates(page, selection, read)
    quarantine = [[entry["source"], entry["path"], entry["reason"]] for entry in report["quarantine"]]
    if quarantine:
        page.heading("Quarantine")
        more = f" (first {LISTED} of {len(quarantine)})" if len(quarantine) > LISTED else ""
        page.table(["source", "file", "reason"], quarantine[:LISTED], f"Files left out{more}")
    page.write(path)


def _show_shortcuts(page: Page, shortcuts: dict[str, dict[str, float | None]]) -> None:
    page.heading("Shortcuts")
    page.text(
        "How well the label can be told without looking for a crack: AUROC of each trivial predictor, 0.5 for one that "
        "tells nothing, 1 for one that tells all. Where one is high, a network that scores high may have learnt no "
        "more than that. Photo, surface and source stand for the share of cracks among other pictures with the same."
    )
    rows = [
        [PREDICTORS[name], *("-" if by[name] is None else f"{by[name]:.3f}" for by in shortcuts.values())]
        for name in PREDICTORS
    ]
    page.table(["predictor", *shortcuts], rows, "AUROC of trivial predictors (- where there is nothing to compare)")


def _show_near_duplicates(page: Page, selection: Selection, read: Callable[[int], bytes]) -> None:
    if not len(selection.near_pairs):
        return
    pairs = selection.near_pairs[: COLUMNS // 2 * ROWS].ravel().tolist()
    page.heading("Near duplicates")
    page.text("Pictures that look the same stay in one group, so that no split is tested on what it was trained on.")
    page.image(
        _mosaic([read(index) for index in pairs]),
        "Pairs that look the same, side by side",
        "Pairs of near-duplicate tiles",
    )


def _mosaic(pictures: list[bytes]) -> bytes:
    """Tiles side by side, as PNG. Pictures are ordered by content hash, so the first ones are a random sample."""
    rows = -(-len(pictures) // COLUMNS)
    canvas = np.full((rows * TILE, min(COLUMNS, len(pictures)) * TILE, 3), 255, np.uint8)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, COLUMNS)
        tile = cv2.resize(decode(picture), (TILE - 4, TILE - 4), interpolation=cv2.INTER_AREA)
        canvas[row * TILE + 2 : (row + 1) * TILE - 2, column * TILE + 2 : (column + 1) * TILE - 2] = tile
    return cv2.imencode(".png", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR))[1].tobytes()
