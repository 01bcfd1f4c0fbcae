"""Print what a person must know about an ingestion."""

from collections.abc import Iterable
from typing import Any

from components.ingest.file_order_page import say_file_order
from components.shared.data.scaling_note import scaling_note
from components.shared.events import inform, warn


def say_source(name: str, understood: Iterable[str], warnings: Iterable[str]) -> None:
    """Print how a source was read, and which of its files are not used."""
    for sentence in understood:
        inform(f"{name}: {sentence}")
    for sentence in warnings:
        warn(f"{name}: {sentence}")


def say(report: dict[str, Any]) -> None:
    """Print those facts of an ingestion's report that are not printed by `say_source`."""
    if report["masks_turned"]:
        inform(
            f"masks that were turned: {report['masks_turned']}; they were drawn on the stored pixels of photos that "
            "have an EXIF orientation"
        )
    if report["scaled_from"]:
        inform(scaling_note("images", report["scaled_from"]))
    say_file_order(report["file_order"])
    for sentence in report["joined_too_much"]:
        warn(sentence)
    if report["overlaps_with_both_labels"]:
        inform(
            f"overlapping tiles with different labels: {report['overlaps_with_both_labels']} pairs in "
            f"{report['groups_with_both_labels']} groups. This is right where the crack is outside the area that both "
            "tiles show; the data set report shows them"
        )
    if report["photos_joined"]:
        first, second = report["photos_joined"][0]
        warn(
            f"photos that overlap: {len(report['photos_joined'])} pairs; the first is {first} and {second}. Their "
            "tiles are in one group; the data set report shows them"
        )
    if report["corrected"] or report["bad_images"]:
        inform(
            f"people's corrections: {report['corrected']} tiles have another label than in their source, and "
            f"{report['bad_images']} are in quarantine as bad images; the data set report lists them"
        )
    if report["disputed"]:
        warn(
            f"people disagree about {report['disputed']} tiles, so these keep the label of their source; the data set "
            "report lists them"
        )
