"""Write the page "Should CANDIDATE be promoted?".

It shows the limits, the comparison with the champion, and the tiles on which both models disagree.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.gate.champion_comparison import Comparison, Difference
from components.shared.data.image import decode, thumbnail
from components.shared.data.manifest import CLASSES
from components.shared.page import Badge, CellImage, Page
from components.shared.results.dossier import PAIRS
from components.shared.results.measurements import spoken, with_interval
from components.shared.results.metrics import LOSSES
from components.shared.results.slices import WHOLE, WHOLE_TEXT

THUMBNAIL_PIXELS = 128
METRICS_BY_SLICE = ("recall", "specificity")
SIGNS = {">=": "≥", ">": ">", "<=": "≤", "<": "<"}
ReadTiles = Callable[[list[str]], pd.DataFrame]
AS_DEPLOYED = (
    "Both models are compared as they work in production, with the calibrated probability of a crack, P(crack). The "
    "champion calls a tile a crack if P(crack) is at least {champion:.3f}, and the candidate calls a tile a crack if "
    "P(crack) is at least {candidate:.3f}. Both models answered the same {tiles} test tiles of {photos} photos."
    "{excluded}\n\n"
    "*Difference* is candidate minus champion. Brackets are 95 % intervals. They are computed from many random draws "
    "of the photos, with replacement (bootstrap). Each draw takes the same photos for both models. If the interval "
    "does not contain 0, the last column says whether the candidate is better or worse."
)
EXCLUDED = " {left_out} more test tiles are not compared, because the champion was trained on them or their photos."


@dataclass(frozen=True)
class Disagreement:
    """A kind of disagreement between the two models.

    Attributes:
        label: The true class of the tiles.
        candidate_says_crack: The candidate's answer. The champion gives the other answer.
        heading: The heading on the page.
    """

    label: int
    candidate_says_crack: bool
    heading: str


# Missed cracks come first, because they cost more than false alarms.
DISAGREEMENTS = (
    Disagreement(1, False, "Cracks that only the champion finds"),
    Disagreement(1, True, "Cracks that only the candidate finds"),
    Disagreement(0, True, "False alarms that only the candidate raises"),
    Disagreement(0, False, "False alarms that only the champion raises"),
)


def promotion_page(verdict: dict, comparison: Comparison, read_tiles: ReadTiles, shown: int) -> Page:
    """Return the page "Should CANDIDATE be promoted?".

    Args:
        verdict: The content of verdict.json.
        comparison: The result of the comparison with the champion.
        read_tiles: Function that takes sample_ids and returns a table with the index sample_id and the columns `path`
            and `data` (the bytes of the image file).
        shown: Largest number of tiles to show for each kind of disagreement.
    """
    page = Page(f"Should {verdict['candidate']} be promoted?")
    _show_outcome(page, verdict, comparison)

    page.heading("The gate's limits")
    limits = [_limit_row(row) for row in verdict["rows"]]
    page.table(["measurement", "split", "result", "measured", "limit", "why"], limits)

    if comparison.differences and comparison.pairs is not None:
        _show_differences(page, comparison, comparison.pairs, verdict["champion"]["version"])
        _show_disagreements(page, comparison.pairs, read_tiles, shown)
    return page


def _show_outcome(page: Page, verdict: dict, comparison: Comparison) -> None:
    paragraphs = ["The candidate passed the gate." if verdict["passed"] else "The gate refused the candidate."]
    failed = [f"- {row['why']}" for row in verdict["rows"] if not row["passed"]]
    if failed:
        paragraphs.append("\n".join(failed))
    paragraphs.append(comparison.text)
    page.callout("\n\n".join(paragraphs), passed=verdict["passed"])


def _limit_row(row: dict) -> list:
    where = row["split"]
    if row["slice"] != WHOLE_TEXT:
        where += f", {row['slice']}"
    measured = with_interval(row["value"], row["low"], row["high"])
    limit = f"{SIGNS[row['op']]} {row['limit']:g}"
    return [spoken(row["name"]), where, Badge(row["passed"]), measured, limit, row["why"]]


def _show_differences(page: Page, comparison: Comparison, pairs: pd.DataFrame, version: str) -> None:
    page.heading("Compared with the champion")
    page.text(
        AS_DEPLOYED.format(
            champion=comparison.champion_threshold,
            candidate=comparison.candidate_threshold,
            tiles=len(pairs),
            photos=pairs["group_id"].nunique(),
            excluded=EXCLUDED.format(left_out=comparison.left_out) if comparison.left_out else "",
        )
    )

    columns = [f"champion, version {version}", "candidate", "difference", ""]
    whole, parts = [], []
    for difference in comparison.differences:
        metric, cells = spoken(difference.metric), _difference_cells(difference)
        if difference.slice == WHOLE:
            whole.append([metric, *cells])
        elif difference.metric in METRICS_BY_SLICE:
            parts.append([str(difference.slice), metric, str(difference.n), *cells])

    page.table(["metric", *columns], whole)
    if parts:
        page.heading("By source and surface", 3)
        page.table(["part", "metric", "tiles", *columns], parts)


def _difference_cells(difference: Difference) -> list:
    sides = [with_interval(difference.champion), with_interval(difference.candidate)]
    if np.isnan(difference.value):
        return [*sides, "-", "this metric is undefined for one of the two models"]

    low, high = difference.low, difference.high
    verdict: Badge | str = ""
    if low > 0 or high < 0:
        is_loss = difference.metric in LOSSES
        better = high < 0 if is_loss else low > 0
        verdict = Badge(better, "better" if better else "worse")
    return [*sides, f"{difference.value:+.4f} [{low:+.4f}, {high:+.4f}]", verdict]


def _show_disagreements(page: Page, pairs: pd.DataFrame, read_tiles: ReadTiles, shown: int) -> None:
    candidate_right = pairs["crack"] == pairs["label"]
    champion_right = pairs["crack_champion"] == pairs["label"]
    page.heading("Tiles on which the two models disagree")
    counts = pd.crosstab(candidate_right, champion_right).reindex(
        index=[True, False], columns=[True, False], fill_value=0
    )

    rows = [
        ["candidate right", *counts.loc[True].tolist()],
        ["candidate wrong", *counts.loc[False].tolist()],
    ]
    page.table(["", "champion right", "champion wrong"], rows, "Test tiles")

    for kind in DISAGREEMENTS:
        of_kind = (
            (pairs["label"] == kind.label)
            & (pairs["crack"] == kind.candidate_says_crack)
            & (pairs["crack_champion"] != kind.candidate_says_crack)
        )

        rows_of_kind = pairs[of_kind]
        page.heading(f"{kind.heading}: {len(rows_of_kind)}", 3)
        _show_tiles(page, rows_of_kind, read_tiles, shown)

    page.text(f"The file `{PAIRS}` in the dossier lists every tile with both answers.")


def _show_tiles(page: Page, rows: pd.DataFrame, read_tiles: ReadTiles, shown: int) -> None:
    """Show at most `shown` tiles. Choose the tiles on which the two models differ most in P(crack)."""
    if rows.empty or not shown:
        return
    apart = (rows["p_crack"] - rows["p_crack_champion"]).abs()
    furthest = rows.loc[apart.sort_values(ascending=False, kind="stable").index[:shown]]
    if len(furthest) < len(rows):
        page.text(f"These are the {len(furthest)} tiles on which the two values of P(crack) differ most.")

    files = read_tiles(furthest["sample_id"].tolist())
    table = []
    for row in furthest.itertuples():
        image = thumbnail(decode(files.at[row.sample_id, "data"]), THUMBNAIL_PIXELS)
        table.append(
            [
                CellImage(image, f"tile with label {CLASSES[row.label]}"),
                files.at[row.sample_id, "path"],
                f"{row.source}, {row.surface}",
                f"{row.p_crack:.3f}",
                f"{row.p_crack_champion:.3f}",
            ]
        )
    page.table(["tile", "file", "source, surface", "candidate's P(crack)", "champion's P(crack)"], table)
