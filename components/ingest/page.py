"""The data set report: what came in, what did not, and what it looks like."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from components.ingest.duplicates import Clusters
from components.ingest.grouping import Selection
from components.ingest.shortcuts import audit_shortcuts
from components.ingest.sources.open_sources import Source
from components.shared.data.image import decode, thumbnail
from components.shared.data.manifest import CLASSES
from components.shared.page import Page, Picture

TILE, COLUMNS = 96, 10  # of a mosaic; pixels, tiles
CLUSTERS = 4  # of near duplicates, shown
EASY = 0.9  # AUROC from which a trivial predictor deserves a word
PREDICTORS = {
    "photo": "the photo it was cut from",
    "surface": "surface",
    "source": "source",
    "brightness": "mean brightness",
    "contrast": "contrast (standard deviation of grey levels)",
    "darkest": "darkest spot (median minus minimum of grey levels)",
    "file_size": "file size",
}
SHOWN = 160  # longer side of a picture under both labels, pixels
LISTED = 100  # quarantined files named on the page; report.json names all


def report_content(sources: list[Source], selection: Selection, refused: pd.DataFrame, digest: str) -> dict[str, Any]:
    """What report.json says of a version.

    Args:
        sources: What was ingested.
        selection: What was made of their good pictures.
        refused: Table (source, path, reason) of the others.
        digest: The version's.
    """
    table = selection.pictures
    return {
        "digest": digest,
        "files": sum(len(source.files) for source in sources),
        "images": len(table),
        **{name: int((table["label"] == label).sum()) for label, name in enumerate(CLASSES)},
        "groups": int(table["group_id"].nunique()),
        "exact_copies": len(selection.copies),
        "near_duplicate_pairs": len(selection.near_pairs),
        "masks": int(table["mask_id"].notna().sum()),
        "refused": len(refused),
        "conflicts": len(selection.conflicts),
        "bridges": len(selection.bridges),
        "sources": [_source_report(source, selection, refused) for source in sources],
        "shortcuts": audit_shortcuts(table),
        "quarantine": pd.concat([refused, selection.conflicts, selection.bridges]).to_dict("records"),
        "copies": selection.copies.to_dict("records"),
    }


def _source_report(source: Source, selection: Selection, refused: pd.DataFrame) -> dict[str, Any]:
    labels = selection.pictures.loc[selection.pictures["source"] == source.name, "label"]
    left_out = {"refused": refused, "conflicts": selection.conflicts, "bridges": selection.bridges}
    return {
        "source": source.name,
        "layout": source.layout,
        "files": len(source.files),
        "images": len(labels),
        **{name: int((labels == label).sum()) for label, name in enumerate(CLASSES)},
        **{name: int((files["source"] == source.name).sum()) for name, files in left_out.items()},
    }


class Opposed(NamedTuple):
    """The same picture under both labels: of each file the name and the content, the sound one first."""

    names: tuple[str, str]
    contents: tuple[bytes, bytes]


def write_page(
    report: dict[str, Any],
    selection: Selection,
    read: Callable[[int], bytes],
    opposed: Sequence[Opposed],
    path: str | Path,
) -> None:
    """Write the report as one HTML page.

    Args:
        report: From `report_content`.
        selection: The version's pictures.
        read: Gives the content of the picture of an index.
        opposed: Pictures under both labels, to be shown; there may be more of them.
        path: File to write.
    """
    page = Page("Data set")
    _show_counts(page, report, selection.pictures)
    _show_shortcuts(page, report["shortcuts"])
    for label, name in enumerate(CLASSES):
        chosen = np.flatnonzero(selection.pictures["label"] == label)[: 2 * COLUMNS].tolist()
        rows = [list(map(read, chosen[start : start + COLUMNS])) for start in range(0, len(chosen), COLUMNS)]
        page.image(_mosaic(rows), f"{name}: a random sample", f"Tiles of class {name}")
    _show_near_duplicates(page, selection, read)
    _show_quarantine(page, report["quarantine"], opposed, len(selection.opposed))
    page.write(path)


def _show_quarantine(page: Page, quarantine: list[dict[str, str]], opposed: Sequence[Opposed], pairs: int) -> None:
    if not quarantine:
        return
    page.heading("Quarantine")
    if opposed:
        rows = []
        for names, contents in opposed:
            sound, cracked = (Picture(thumbnail(decode(data), SHOWN), names[at]) for at, data in enumerate(contents))
            rows.append([sound, names[0], cracked, names[1]])
        more = f" (first {len(rows)} of {pairs} pairs)" if pairs > len(rows) else ""
        headers = ["as no_crack", "file", "as crack", "file"]
        page.table(headers, rows, f"The same picture under both labels{more}: right one label, and they come back")
    more = f" (first {LISTED} of {len(quarantine)})" if len(quarantine) > LISTED else ""
    named = [[entry["source"], entry["path"], entry["reason"]] for entry in quarantine[:LISTED]]
    page.table(["source", "file", "reason"], named, f"Files left out{more}")


def _show_counts(page: Page, report: dict[str, Any], pictures: pd.DataFrame) -> None:
    page.text(
        f"Version `{report['digest'][:12]}`: {report['images']} images of {report['files']} files, in "
        f"{report['groups']} groups. A group, the tiles of one photo or pictures that look the same, is never divided "
        "among training and test."
    )
    ends = {
        "kept": report["images"],
        "copies of others, byte for byte": report["exact_copies"],
        "refused as no good picture": report["refused"],
        "stand under both labels": report["conflicts"],
        "belong to two groups of an earlier version": report["bridges"],
    }
    page.table(["files", "number"], [[what, number] for what, number in ends.items()], "What became of the files")
    rows = [
        [s[name] for name in ("source", "layout", "files", "images", "refused", "conflicts", "bridges")]
        for s in report["sources"]
    ]
    page.table(
        ["source", "layout", "files", "images kept", "refused", "both labels", "between groups"],
        rows,
        "Where they come from",
    )
    parts = pictures.groupby(["source", "surface", "label"])
    counts = zip(parts.size().items(), parts["group_id"].nunique(), parts["mask_id"].count(), strict=True)
    rows = [
        [source, surface, CLASSES[label], images, groups, masks]
        for ((source, surface, label), images), groups, masks in counts
    ]
    page.table(["source", "surface", "class", "images", "groups", "with mask"], rows, "What the version holds")


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
    for source, by in shortcuts.items():
        easy = {PREDICTORS[name]: value for name, value in by.items() if value is not None and value >= EASY}
        if easy:
            best = max(easy, key=lambda name: easy[name])
            page.text(
                f"Of {source}, {best} alone tells a cracked tile from a sound one in {easy[best]:.0%} of pairs: a high "
                "score on these pictures proves little."
            )


def _show_near_duplicates(page: Page, selection: Selection, read: Callable[[int], bytes]) -> None:
    found = _clusters(selection)
    if not found:
        return
    page.heading("Near duplicates")
    page.text(
        f"{sum(map(len, found))} pictures look like others, in {len(found)} clusters ({len(selection.near_pairs)} "
        "pairs). Each cluster stays in one group, so that no model is tested on what it was trained on."
    )
    shown = found[:CLUSTERS]
    sizes = ", ".join(str(len(cluster)) for cluster in shown)
    page.image(
        _mosaic([[read(index) for index in cluster[:COLUMNS]] for cluster in shown]),
        f"The largest clusters, one in each row; they have {sizes} pictures",
        "Near-duplicate tiles",
    )


def _clusters(selection: Selection) -> list[list[int]]:
    """Row numbers of the pictures that look the same, by way of others too; the largest cluster first."""
    clusters, members = Clusters(len(selection.pictures)), defaultdict(list)
    for a, b in selection.near_pairs.tolist():
        clusters.join(a, b)
    for row in np.unique(selection.near_pairs).tolist():
        members[clusters.root(row)].append(row)
    return sorted(members.values(), key=len, reverse=True)


def _mosaic(rows: list[list[bytes]]) -> bytes:
    """Rows of tiles, as JPEG. Pictures are ordered by content hash, so the first ones are a random sample."""
    canvas = np.full((len(rows) * TILE, max(map(len, rows)) * TILE, 3), 255, np.uint8)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            tile = cv2.resize(decode(picture), (TILE - 4, TILE - 4), interpolation=cv2.INTER_AREA)
            canvas[row * TILE + 2 : (row + 1) * TILE - 2, column * TILE + 2 : (column + 1) * TILE - 2] = tile
    return thumbnail(canvas, max(canvas.shape))
