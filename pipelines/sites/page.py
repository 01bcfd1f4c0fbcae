"""Write the page of a site: the verdict, the evidence, the tiles to label next, and a threshold for the site."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.shared.data.image import ImageError, decode, thumbnail
from components.shared.hashing import digest
from components.shared.page import CellImage, Page
from components.shared.results.measurements import with_interval
from pipelines.review.page import AnswerFile, PageTile, page_jpeg, show_tiles
from pipelines.sites.plan import STRATA, Limits, Plan
from pipelines.sites.site_threshold import SiteThreshold
from pipelines.sites.verdict import UNKNOWN, Acceptance, Judged, Verdict

TILE_PIXELS = 160
SHOWN_ERRORS = 30
QUEUE_ID = 12  # number of characters of the name under which a browser keeps the answers
MAX_SHOWN_EVIDENCE = 1000

HEADLINES = {"accept": "Accepted", "refuse": "Refused", "label more": "Not decided: label {more} more tiles"}
CLAIMS = {
    "images": (
        "The verdict is about the {tiles} tiles of this site, which come from {photos} photos. It is not about other "
        "photos of this site. For a verdict about other photos, use `--claim photos`. It needs many more photos. "
        "The tiles were drawn at random, so the verdict is valid even if the tiles of one photo resemble each other."
    ),
    "photos": (
        "The verdict is about all photos like these {photos}, including photos that will be taken later. Each photo "
        "counts as one observation, so the verdict is valid even if the tiles of one photo resemble each other."
    ),
}
HOW_TO_LABEL = (
    "Look at each tile, and press the button for what it shows, or the key on the button. Then press *save answers*. "
    "Your browser saves the file {name}, which also has the earlier labels. Give the same command again, with this "
    "file as `--labels`. The model's answers are not shown here, because they would influence you."
)
METHOD = (
    "Each draw chose a tile at random. Some kinds of tiles were drawn more often than others, and the weight of each "
    "draw corrects for this. The test is a game. A player starts with a wealth of 1. At each draw, the player bets a "
    'fraction of the wealth on a claim, such as "the recall is above its limit". The *evidence* for the claim is the '
    "player's wealth. If the claim is wrong, the probability that the evidence ever reaches {enough:g} is at most "
    "{risk:.0%}, no matter how often somebody looks at the evidence. The numbers in brackets are intervals. For each "
    "end of an interval, the probability that the true value is ever outside of this end is also at most {risk:.0%}. "
    'The section "Accepting a site" in docs/statistics.md explains why.'
)


@dataclass(frozen=True)
class PageOfSite:
    """What the page shows besides the verdict.

    Attributes:
        site: The site's name.
        version: The name and number of the model version.
        files: Path in the plan -> image file.
        saved: The label file that a person saves on the page.
    """

    site: str
    version: str
    files: dict[str, Path]
    saved: AnswerFile


def write_page(
    acceptance: Acceptance, plan: Plan, labels: np.ndarray, limits: Limits, about: PageOfSite, path: Path
) -> None:
    """Write the page.

    Args:
        acceptance: The verdict, the next tiles and the site's threshold.
        plan: The draws.
        labels: int (tiles,), the label of each tile. UNKNOWN for a tile without a label.
        limits: The limits that recall and false alarms must reach.
        about: The site, the model version, the image files and the label file.
        path: File to write, HTML.
    """
    verdict = acceptance.verdict
    page = Page(f"{about.version} at the site {about.site}")
    headline = HEADLINES[verdict.decision].format(more=verdict.more)
    page.callout(f"**{headline}.** {verdict.why}", passed=verdict.decision == "accept")
    photos = plan.tiles["photo"].nunique()
    page.text(CLAIMS[plan.claim].format(tiles=len(plan.tiles), photos=photos))

    if acceptance.next_tiles:
        _show_next_tiles(page, acceptance.next_tiles, about)
    _show_numbers(page, verdict, limits)
    _show_errors(page, plan, labels, about.files)
    _show_threshold(page, acceptance.threshold)

    with page.fold("Which tiles were drawn"):
        page.text(METHOD.format(enough=1 / limits.risk, risk=limits.risk))
        header = ["kind of tile", "tiles at the site", "share of the draws", "labelled", "with a crack"]
        page.table(header, _strata(plan, labels))
    page.write(path)


def _show_next_tiles(page: Page, paths: list[str], about: PageOfSite) -> None:
    """Append the tiles to label, with buttons.

    This part cannot be closed. Its keyboard keys work everywhere on the page, so the tile must always be visible.
    """
    page.heading(f"The next {len(paths)} tiles to label")
    page.text(HOW_TO_LABEL.format(name=about.saved.name))
    tiles = []
    for path in paths:
        jpeg = page_jpeg(decode(about.files[path].read_bytes()))
        tiles.append(PageTile(path, jpeg, label="", facts=path))
    queue_id = digest(about.site, about.version, paths)[:QUEUE_ID]
    show_tiles(page, queue_id, tiles, about.saved)


def _show_numbers(page: Page, verdict: Verdict, limits: Limits) -> None:
    recall, specificity = verdict.recall, verdict.specificity
    low, high = specificity.interval
    enough = 1 / limits.risk
    page.heading("Recall and false alarms")
    page.table(
        ["number", "must be", "estimate", "evidence that it is", "evidence that it is not"],
        [
            _row("recall", f"above {limits.recall:g}", recall.value, recall.interval, recall),
            _row(
                "false-alarm rate",
                f"below {limits.false_alarms:g}",
                1 - specificity.value,
                (1 - high, 1 - low),
                specificity,
            ),
        ],
        f"{verdict.labelled} labelled tiles. The model version is accepted when the evidence in the fourth column "
        f"reaches {enough:g} in both rows. It is refused when the evidence in the last column, averaged over both rows "
        f"at the same draw, reaches {enough:g}.",
    )
    if verdict.bets:
        page.figure(
            _draw_paths(recall, specificity),
            "The shaded area shows the interval after each draw. The dashed lines are the limits.",
            "confidence sequences of recall and of the false-alarm rate, with their limits",
        )


def _row(name: str, wanted: str, value: float, interval: tuple[float, float], judged: Judged) -> list[str]:
    against = float(judged.below.max()) if len(judged.below) else 1.0
    return [name, wanted, with_interval(value, *interval), _evidence(judged.above), _evidence(against)]


def _evidence(value: float) -> str:
    return f"{value:.2f}" if value < MAX_SHOWN_EVIDENCE else f"more than {MAX_SHOWN_EVIDENCE:g}"


def _draw_paths(recall: Judged, specificity: Judged) -> Figure:
    figure = Figure(figsize=(9, 3))
    left, right = figure.subplots(1, 2)
    _draw_path(left, recall.low, recall.high, recall.limit, "recall")
    _draw_path(right, 1 - specificity.high, 1 - specificity.low, 1 - specificity.limit, "false-alarm rate")
    return figure


def _draw_path(axes: Axes, low: np.ndarray, high: np.ndarray, limit: float, name: str) -> None:
    draws = np.arange(1, len(low) + 1)
    axes.fill_between(draws, low, high, alpha=0.3, step="post")
    axes.axhline(limit, linestyle="--", color="black", linewidth=1)
    axes.set(xlabel="draws", ylabel=name, ylim=(0, 1))


def _show_errors(page: Page, plan: Plan, labels: np.ndarray, files: dict[str, Path]) -> None:
    called = plan.tiles["called"].to_numpy()
    kinds = {"Missed cracks": (labels == 1) & ~called, "False alarms": (labels == 0) & called}
    for title, wrong in kinds.items():
        rows = []
        for tile in np.flatnonzero(wrong)[:SHOWN_ERRORS]:
            path = plan.tiles["path"].iloc[tile]
            rows.append([_image(files, path), path, f"{plan.tiles['p_crack'].iloc[tile]:.3f}"])
        if rows:
            with page.fold(f"{title} among the labelled tiles: {int(wrong.sum())}"):
                page.table(["tile", "path", "P(crack)"], rows)


def _show_threshold(page: Page, threshold: SiteThreshold | str) -> None:
    page.heading("A threshold for this site")
    if isinstance(threshold, str):
        page.text(f"There is none: {threshold}.")
        return

    page.text(
        f"The best threshold for this site is {threshold.threshold:.3g}: a tile is called a crack if P(crack) is at "
        "least this number. The best calibration for this site is "
        f"expit({threshold.slope:.3g} · logit(P(crack)) + {threshold.shift:.3g}). Both were chosen on "
        f"{threshold.fitted} labelled tiles of one half of the photos, and measured on {threshold.measured} labelled "
        "tiles of the other half. The verdict is about the model with its own threshold, not with this threshold."
    )
    rows = []
    for name, (own, site) in threshold.rows.items():
        rows.append([name, with_interval(own.value, own.low, own.high), with_interval(site.value, site.low, site.high)])
    page.table(["on the other photos", "the model's own", "for this site"], rows)


def _strata(plan: Plan, labels: np.ndarray) -> list[list[str]]:
    stratum = plan.tiles["stratum"].to_numpy()
    drawn = np.bincount(stratum[plan.draws["tile"]], minlength=len(STRATA)) / max(len(plan.draws), 1)
    rows = []
    for number, name in enumerate(STRATA):
        inside = stratum == number
        labelled = inside & (labels != UNKNOWN)
        counts = (inside.sum(), f"{drawn[number]:.0%}", labelled.sum(), (labels[inside] == 1).sum())
        rows.append([name, *map(str, counts)])
    return rows


def _image(files: dict[str, Path], path: str) -> CellImage | str:
    try:
        return CellImage(thumbnail(decode(files[path].read_bytes()), TILE_PIXELS), path)
    except (OSError, ImageError):
        return "the file was removed or damaged after it was classified"
