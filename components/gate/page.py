"""The page "should I promote?": the gate's limits, champion beside challenger, and the tiles on which they disagree."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.gate.champion_comparison import Comparison, Difference
from components.shared.data.image import decode, thumbnail
from components.shared.data.manifest import CLASSES
from components.shared.page import Badge, Page, Picture
from components.shared.results.dossier import PAIRS
from components.shared.results.measurements import spoken, with_interval
from components.shared.results.metrics import LOSSES
from components.shared.results.slices import WHOLE, WHOLE_TEXT

SIDE = 128  # pixels of a tile on the page
SIGNS = {">=": "≥", ">": ">", "<=": "≤", "<": "<"}
Read = Callable[[list[str]], pd.DataFrame]
DEPLOYED = (
    "Both as they are deployed: calibrated, a crack from P(crack) ≥ {:.3f} (champion) and ≥ {:.3f} (candidate). They "
    "were scored on the same {} test images of {} photos; {} images were left out because the champion had learnt from "
    "them or their photos. Brackets are 95 % intervals by bootstrap over photos, the same photos drawn for both; a "
    "difference is called better or worse where its interval does not hold 0."
)


@dataclass(frozen=True)
class Disagreement:
    """A kind of disagreement: the true class, who says crack, and what that means."""

    label: int
    candidate: bool
    heading: str


DISAGREEMENTS = (  # missed cracks first: they cost more than false alarms
    Disagreement(1, False, "Cracks that only the champion finds"),
    Disagreement(1, True, "Cracks that only the candidate finds"),
    Disagreement(0, True, "False alarms of the candidate only"),
    Disagreement(0, False, "False alarms of the champion only"),
)


def promotion_page(verdict: dict, comparison: Comparison, read: Read, shown: int) -> Page:
    """Draw the page.

    Args:
        verdict: What verdict.json holds.
        comparison: The candidate against the champion.
        read: Given sample_ids, returns their `path` and `data`, the image file, with the sample_ids as index.
        shown: Tiles of each kind of disagreement.
    """
    page = Page(f"Should {verdict['candidate']} be promoted?")
    outcome = "The gate lets it through" if verdict["passed"] else "The gate refuses it"
    failed = "\n".join(f"- {row['why']}" for row in verdict["rows"] if not row["passed"])
    page.callout("\n\n".join(filter(None, (f"{outcome}.", failed, comparison.text))), passed=verdict["passed"])
    page.heading("The gate's limits")
    page.table(
        ["measurement", "where", "verdict", "measured", "limit", "why"], [_limit(row) for row in verdict["rows"]]
    )
    if comparison.differences and comparison.pairs is not None:
        _compare(page, comparison, verdict["champion"]["version"])
        _disagree(page, comparison.pairs, read, shown)
    return page


def _limit(row: dict) -> list:
    where = row["split"] + ("" if row["slice"] == WHOLE_TEXT else f", {row['slice']}")
    measured = with_interval(row["value"], row["low"], row["high"])
    limit = f"{SIGNS[row['op']]} {row['limit']:g}"
    return [spoken(row["name"]), where, Badge(row["passed"]), measured, limit, row["why"]]


def _compare(page: Page, comparison: Comparison, version: str) -> None:
    assert comparison.pairs is not None
    page.heading("Beside the champion")
    pairs = comparison.pairs
    images = len(pairs), pairs["group_id"].nunique(), comparison.left_out
    page.text(DEPLOYED.format(*reversed(comparison.thresholds), *images))
    whole = [one for one in comparison.differences if one.slice == WHOLE]
    headers = ["metric", f"champion, version {version}", "candidate", "difference", ""]
    page.table(headers, [[spoken(one.metric), *_sides(one)] for one in whole])
    parts = [one for one in comparison.differences if one.slice != WHOLE and one.metric in ("recall", "specificity")]
    if parts:
        page.heading("By source and surface", 3)
        rows = [[str(one.slice), spoken(one.metric), str(one.n), *_sides(one)] for one in parts]
        page.table(["part", "metric", "images", *headers[1:]], rows)


def _sides(one: Difference) -> list:
    values = [with_interval(one.champion), with_interval(one.candidate)]
    if np.isnan(one.value):
        return [*values, "-", "undefined for one of the two"]
    difference = f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
    better = (one.high < 0) if one.metric in LOSSES else (one.low > 0)
    clear = one.low > 0 or one.high < 0
    return [*values, difference, Badge(better, "better" if better else "worse") if clear else ""]


def _disagree(page: Page, pairs: pd.DataFrame, read: Read, shown: int) -> None:
    right, champion = (pairs[name] == pairs["label"] for name in ("crack", "crack_champion"))
    page.heading("Where they disagree")
    page.table(
        ["", "champion right", "champion wrong"],
        [
            ["candidate right", int((right & champion).sum()), int((right & ~champion).sum())],
            ["candidate wrong", int((~right & champion).sum()), int((~right & ~champion).sum())],
        ],
        "Test images",
    )
    for kind in DISAGREEMENTS:
        rows = pairs[
            (pairs["label"] == kind.label)
            & (pairs["crack"] == kind.candidate)
            & (pairs["crack_champion"] != kind.candidate)
        ]
        page.heading(f"{kind.heading}: {len(rows)}", 3)
        if len(rows):
            apart = (rows["p_crack"] - rows["p_crack_champion"]).abs()
            _tiles(page, rows.loc[apart.sort_values(ascending=False, kind="stable").index[:shown]], read, len(rows))
    page.text(f"`{PAIRS}` beside this page holds every image with both answers.")


def _tiles(page: Page, rows: pd.DataFrame, read: Read, all_of_them: int) -> None:
    files = read(rows["sample_id"].tolist())
    if len(rows) < all_of_them:
        page.text(f"The {len(rows)} on which their P(crack) is furthest apart.")
    cells = [
        [
            Picture(thumbnail(decode(files.at[row.sample_id, "data"]), SIDE), f"tile with label {CLASSES[row.label]}"),
            files.at[row.sample_id, "path"],
            f"{row.source}, {row.surface}",
            f"{row.p_crack:.3f}",
            f"{row.p_crack_champion:.3f}",
        ]
        for row in rows.itertuples()
    ]
    page.table(["tile", "file", "source, surface", "candidate's P(crack)", "champion's P(crack)"], cells)
