"""Write the data set report. It shows what was ingested, what is in quarantine, and what the images look like."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from components.ingest.corrected_labels import Corrected
from components.ingest.corrections_page import corrections_content, show_corrections
from components.ingest.file_order_page import show_file_order
from components.ingest.grouping import Selection
from components.ingest.label_conflicts import QUARANTINE_COLUMNS
from components.ingest.mosaic import MOSAIC_COLUMNS, mosaic, show_largest
from components.ingest.overlap_page import overlap_content, show_overlaps
from components.ingest.shortcuts import audit_shortcuts
from components.ingest.sources.open_sources import Source
from components.ingest.sources.source_listing import cracks_without_mask
from components.shared.data.image import UPRIGHT, decode, thumbnail
from components.shared.data.manifest import CLASSES
from components.shared.data.scaling_note import scaling_note, used_bits_counts
from components.shared.page import CellImage, Page

SAMPLE_ROWS = 2
CONFLICT_IMAGE_PIXELS = 160
QUARANTINED_FILES_LISTED = 100  # report.json lists all of them
AUROC_OF_AN_EASY_PREDICTOR = 0.9
PREDICTORS = {
    "photo": "the photo that the tile was cut from",
    "surface": "surface",
    "source": "source",
    "brightness": "mean brightness",
    "contrast": "contrast (standard deviation of grey levels)",
    "darkest": "darkest spot (median minus minimum of grey levels)",
    "file_size": "file size",
}


def report_content(
    sources: list[Source],
    selection: Selection,
    corrected: Corrected,
    refused: pd.DataFrame,
    order_hints: list[dict[str, Any]],
    digest: str,
) -> dict[str, Any]:
    """Return the content of report.json.

    Args:
        sources: The sources that were ingested.
        selection: The data set's images, and the files that are not part of the data set.
        corrected: What people's answers changed.
        refused: Table (source, path, reason) of the refused files.
        order_hints: The folders whose file numbers run photo by photo, from `group_by_order`.
        digest: The data set version's digest.
    """
    images = selection.images
    quarantine = pd.concat([refused, selection.conflicts, selection.between_groups, corrected.quarantined])
    return {
        "digest": digest,
        "files": sum(len(source.files) for source in sources),
        "images": len(images),
        **_images_by_class(images["label"]),
        "groups": int(images["group_id"].nunique()),
        "exact_copies": len(selection.copies),
        "near_duplicate_pairs": len(selection.near_pairs),
        **overlap_content(selection),
        "masks": int(images["mask_id"].notna().sum()),
        "masks_turned": int((images["mask_turn"] != UPRIGHT).sum()),
        "masks_without_image": sum(source.masks_without_image for source in sources),
        "cracks_without_mask": sum(len(cracks_without_mask(source.files)) for source in sources),
        "scaled": int((images["used_bits"] > 0).sum()),
        "scaled_from": used_bits_counts(images["used_bits"]),
        "refused": len(refused),
        "conflicts": len(selection.conflicts),
        "between_groups": len(selection.between_groups),
        **corrections_content(corrected, images["sample_id"], quarantine),
        "sources": [_source_report(source, selection, refused) for source in sources],
        "shortcuts": audit_shortcuts(images),
        "file_order": order_hints,
        "quarantine": quarantine.to_dict("records"),
        "copies": selection.copies.to_dict("records"),
    }


def _source_report(source: Source, selection: Selection, refused: pd.DataFrame) -> dict[str, Any]:
    def count(table: pd.DataFrame) -> int:
        return int((table["source"] == source.name).sum())

    labels = selection.images.loc[selection.images["source"] == source.name, "label"]
    return {
        "source": source.name,
        "layout": source.layout,
        "files": len(source.files),
        "images": len(labels),
        **_images_by_class(labels),
        "refused": count(refused),
        "conflicts": count(selection.conflicts),
        "between_groups": count(selection.between_groups),
        "understood": source.understood,
        "warnings": source.warnings,
    }


def _images_by_class(labels: pd.Series) -> dict[str, int]:
    return {name: int((labels == label).sum()) for label, name in enumerate(CLASSES)}


class ConflictPair(NamedTuple):
    """Two files that show the same image with different labels: the name and the content of both files."""

    no_crack_name: str
    no_crack_content: bytes
    crack_name: str
    crack_content: bytes


def write_page(
    report: dict[str, Any],
    selection: Selection,
    read: Callable[[int], bytes],
    conflict_pairs: Sequence[ConflictPair],
    path: str | Path,
) -> None:
    """Write the report as one HTML page.

    Args:
        report: From `report_content`.
        selection: The data set's images.
        read: Function that takes the index of an image and returns the content of its file.
        conflict_pairs: The pairs to show. The selection can have more pairs.
        path: File to write.
    """
    page = Page("Data set")
    _show_counts(page, report)
    _show_images_by_stratum(page, selection.images)
    show_corrections(page, report)
    _show_shortcuts(page, report["shortcuts"])
    _show_samples(page, selection.images, read)
    _show_near_duplicates(page, selection, read)
    show_overlaps(page, report, selection, read)
    show_file_order(page, report["file_order"], selection, read)
    _show_quarantine(page, report["quarantine"], conflict_pairs, len(selection.conflict_pairs))
    page.write(path)


def _show_counts(page: Page, report: dict[str, Any]) -> None:
    page.text(
        f"Data set version `{report['digest'][:12]}`: {report['images']} images from {report['files']} files, in "
        f"{report['groups']} groups. A group holds the tiles of one photo, near duplicates, or overlapping tiles. All "
        "tiles of a group go to the same split."
    )
    rows = [
        ["in the data set version", report["images"]],
        ["exact copies of another file", report["exact_copies"]],
        ["refused", report["refused"]],
        ["in quarantine: the same image has both labels, or a mask contradicts the label", report["conflicts"]],
        ["in quarantine: they belong to several groups of earlier data set versions", report["between_groups"]],
        ["in quarantine: people called them bad images", report["bad_images"]],
    ]
    page.table(["files", "number"], rows, "Use of the files")

    if report["scaled_from"]:
        page.text(f"**Depth**: {scaling_note('images', report['scaled_from'])}.")

    columns = ["source", "layout", "files", "images", "refused", "conflicts", "between_groups"]
    headers = ["source", "layout", "files", "images used", "refused", "contradictions", "in several groups"]
    by_source = pd.DataFrame(report["sources"])[columns]
    page.table(headers, by_source.values.tolist(), "Where the files come from")
    readings = []
    for source in report["sources"]:
        for sentence in [*source["understood"], *source["warnings"]]:
            readings.append([source["source"], sentence])
    if readings:
        page.table(["source", "how we read it, and what we do not use"], readings, "How the sources were read")


def _show_images_by_stratum(page: Page, images: pd.DataFrame) -> None:
    strata = images.groupby(["source", "surface", "label"])
    counts = pd.DataFrame(
        {"images": strata.size(), "groups": strata["group_id"].nunique(), "masks": strata["mask_id"].count()}
    )
    rows = []
    for (source, surface, label), row in counts.iterrows():
        rows.append([source, surface, CLASSES[label], *row])
    page.table(["source", "surface", "class", "images", "groups", "with mask"], rows, "What the data set version holds")


def _show_shortcuts(page: Page, shortcuts: dict[str, dict[str, float | None]]) -> None:
    page.heading("Shortcuts")
    page.text(
        "This table shows how well simple predictors predict the label without looking for a crack. An AUROC of 0.5 "
        "means that a predictor is useless, and 1 means that it is perfect. If a predictor has a high AUROC, a network "
        "can get a high score without recognising cracks. Three predictors use only the photo, the surface or the "
        "source of an image. They predict the share of cracks in the other images of that photo, surface or source."
    )
    rows = []
    for name, description in PREDICTORS.items():
        row = [description]
        for by_predictor in shortcuts.values():
            value = by_predictor[name]
            row.append("-" if value is None else f"{value:.3f}")
        rows.append(row)
    page.table(["predictor", *shortcuts], rows, "AUROC of the simple predictors (-: cannot be measured)")

    for source, by_predictor in shortcuts.items():
        best = max(by_predictor, key=lambda name: by_predictor[name] or 0)
        auroc = by_predictor[best]
        if auroc is not None and auroc >= AUROC_OF_AN_EASY_PREDICTOR:
            page.text(
                f'Column {source}: the predictor "{PREDICTORS[best]}" alone separates the classes with an AUROC of '
                f"{auroc:.3f}. So a high score of a network on these images proves little."
            )


def _show_samples(page: Page, images: pd.DataFrame, read: Callable[[int], bytes]) -> None:
    """Show the first images of each class.

    The images are in the order of their content hashes, so the first images are a random sample.
    """
    for label, name in enumerate(CLASSES):
        indices = np.flatnonzero(images["label"] == label)[: SAMPLE_ROWS * MOSAIC_COLUMNS]
        contents = list(map(read, indices.tolist()))
        rows = [contents[start : start + MOSAIC_COLUMNS] for start in range(0, len(contents), MOSAIC_COLUMNS)]
        page.image(mosaic(rows), f"{name}: a random sample", f"Tiles of class {name}")


def _show_near_duplicates(page: Page, selection: Selection, read: Callable[[int], bytes]) -> None:
    if not len(selection.near_pairs):
        return
    clusters = _clusters(selection.near_pairs)
    tiles = sum(map(len, clusters))

    page.heading("Near duplicates")
    page.text(
        f"{tiles} tiles have near duplicates. They form {len(clusters)} sets, with {len(selection.near_pairs)} pairs. "
        "Mirrored and rotated tiles count too. All tiles of a set are in one group, so that no model is tested on "
        "images that it was trained on."
    )
    show_largest(page, "sets of near duplicates", clusters, list(map(len, clusters)), read)


def _clusters(pairs: np.ndarray) -> list[list[int]]:
    """Join pairs of row numbers into sets. Return the sets, the largest first.

    Two rows are in one set if a pair connects them, directly or through other rows.
    """
    from scipy.cluster.hierarchy import DisjointSet

    connected = DisjointSet(np.unique(pairs).tolist())
    for first, second in pairs.tolist():
        connected.merge(first, second)
    clusters = map(sorted, connected.subsets())
    return sorted(clusters, key=len, reverse=True)


def _show_quarantine(
    page: Page, quarantine: list[dict[str, str]], conflict_pairs: Sequence[ConflictPair], all_pairs: int
) -> None:
    """Show the files in quarantine, and some pairs of files that show the same image with different labels.

    `all_pairs` is the number of all such pairs. `conflict_pairs` has only the pairs to show.
    """
    if not quarantine:
        return
    page.heading("Quarantine")

    if conflict_pairs:
        rows = []
        for pair in conflict_pairs:
            no_crack = CellImage(_small(pair.no_crack_content), pair.no_crack_name)
            crack = CellImage(_small(pair.crack_content), pair.crack_name)
            rows.append([no_crack, pair.no_crack_name, crack, pair.crack_name])
        more = f" (first {len(rows)} of {all_pairs} pairs)" if all_pairs > len(rows) else ""
        caption = f"The same image with both labels{more}. Correct one label and ingest again to get the images back."
        page.table(["as no_crack", "file", "as crack", "file"], rows, caption)

    listed = quarantine[:QUARANTINED_FILES_LISTED]
    more = f" (first {len(listed)} of {len(quarantine)})" if len(quarantine) > len(listed) else ""
    table = pd.DataFrame(listed)[QUARANTINE_COLUMNS]
    page.table(["source", "file", "reason"], table.values.tolist(), f"Files in quarantine{more}")


def _small(content: bytes) -> bytes:
    return thumbnail(decode(content), CONFLICT_IMAGE_PIXELS)
