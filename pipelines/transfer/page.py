"""Write the page of a transfer matrix: the limits, the matrix as a figure, and the metrics as tables."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.shared.page import Badge, Page
from components.shared.results.measurements import spoken, with_interval
from pipelines.transfer.matrix import SHOWN, Cell, LimitResult, Matrix, everything_cracked

IN_FIGURE = ("balanced_accuracy", "auroc", "precision", "recall")
LIGHT_TEXT_BELOW = 0.55
ABOUT = (
    "Each network was trained without one {kind}, the unseen {kind}. The network was measured on all tiles of the "
    "unseen {kind}, and on the test tiles of every other {kind}. The network's threshold was chosen on its own "
    "validation split, so the unseen {kind} had no influence on the threshold. The numbers in brackets are 95 % "
    "intervals by bootstrap over groups (photos, if the data name them)."
)


def write_page(matrix: Matrix, results: Sequence[LimitResult], candidate: str, path: Path) -> None:
    """Write the page.

    Args:
        matrix: The metrics of all networks.
        results: The limits, each with the measured value that is compared with the limit.
        candidate: Name of the candidate that was trained.
        path: File to write, HTML.
    """
    page = Page(f"{candidate} on {matrix.domain_kind}s that it was not trained on")
    page.callout(verdict_of(matrix, results), passed=all(result.passed for result in results) and not matrix.failed)
    page.text(ABOUT.format(kind=matrix.domain_kind))
    if results:
        page.table(["limit", "must be at least", "is", ""], [_limit_row(result) for result in results])

    page.heading(f"On the unseen {matrix.domain_kind}")
    header = [matrix.domain_kind, "tiles (groups)", "", *map(spoken, SHOWN)]
    rows: list[list] = []
    for cell in matrix.cells:
        if cell.unseen:
            rows += _rows_with_everything_cracked(cell)
    page.table(header, rows)
    page.text(_better_than_everything_cracked(matrix))
    page.text(_interval_note(matrix))

    for domain, reason in matrix.failed.items():
        page.text(f"No network was trained without **{domain}**: {reason}")

    page.heading("The whole matrix")
    page.figure(
        draw_matrix(matrix),
        f"Each row is the {matrix.domain_kind} that a network was trained without. Each column is the "
        f"{matrix.domain_kind} that the network was measured on. A frame marks the unseen {matrix.domain_kind}.",
        "transfer matrix, one panel for each metric",
    )
    with page.fold("The metrics of the whole matrix"):
        page.table(
            ["trained without", "measured on", "tiles", *map(spoken, SHOWN)],
            [[cell.left_out, cell.domain, str(cell.tiles), *_numbers(cell)] for cell in matrix.cells],
        )
    page.write(path)


def verdict_of(matrix: Matrix, results: Sequence[LimitResult]) -> str:
    """Return the result as one to three sentences of Markdown."""
    auroc = matrix.unseen("auroc")
    sentences = []
    missed = [result for result in results if not result.passed]
    if missed:
        sentences.append(f"**{len(missed)} of {len(results)} limits on unseen {matrix.domain_kind}s are missed.**")
    elif results:
        sentences.append(f"**All limits on unseen {matrix.domain_kind}s are reached.**")
    if auroc:
        worst = min(auroc, key=lambda domain: auroc[domain])
        mean = np.mean(list(auroc.values()))
        sentences.append(
            f"On unseen {matrix.domain_kind}s, AUROC is {mean:.3f} on average. It is lowest on {worst}: "
            f"{auroc[worst]:.3f}."
        )
    if matrix.failed:
        sentences.append(f"No network could be trained without {', '.join(matrix.failed)}.")
    return " ".join(sentences)


def _better_than_everything_cracked(matrix: Matrix) -> str:
    unseen = [cell for cell in matrix.cells if cell.unseen]
    better = [cell for cell in unseen if cell.numbers["f1"].value > everything_cracked(cell.crack_share)["f1"]]
    return (
        f"On {len(better)} of {len(unseen)} unseen {matrix.domain_kind}s, the network has a higher F1 than a rule that "
        "calls every tile a crack."
    )


def _interval_note(matrix: Matrix) -> str:
    without_photos = sorted({cell.domain for cell in matrix.cells if cell.unknown_photos})
    if not without_photos:
        return ""
    return (
        f"The photos of these {matrix.domain_kind}s are not all known: {', '.join(without_photos)}. There, a group can "
        "be smaller than a photo, so the intervals may be too narrow. `ingest.group_pattern` reads the photo from the "
        "file name."
    )


def _limit_row(result: LimitResult) -> list:
    name = f"{result.limit.over} {spoken(result.limit.name)}"
    if result.domain:
        name += f" ({result.domain})"
    return [name, f"{result.limit.limit:g}", with_interval(result.value), Badge(result.passed)]


def _rows_with_everything_cracked(cell: Cell) -> list[list]:
    rule = everything_cracked(cell.crack_share)
    shown = [with_interval(rule[name]) for name in SHOWN]
    counts = [cell.domain, f"{cell.tiles} ({cell.groups})"]
    return [[*counts, "the network", *_numbers(cell)], ["", "", "every tile a crack", *shown]]


def _numbers(cell: Cell) -> list[str]:
    numbers = [cell.numbers[name] for name in SHOWN]
    return [with_interval(number.value, number.low, number.high) for number in numbers]


def draw_matrix(matrix: Matrix) -> Figure:
    """Draw one panel for each metric in IN_FIGURE."""
    size = len(matrix.domains)
    figure = Figure(figsize=(3.2 + 1.5 * size, 2.4 + 1.3 * size), layout="constrained")
    for axes, name in zip(figure.subplots(2, 2).flat, IN_FIGURE, strict=True):
        _draw_panel(axes, matrix, name)
    return figure


def _draw_panel(axes: Axes, matrix: Matrix, name: str) -> None:
    size = len(matrix.domains)
    values = np.full((size, size), np.nan)
    for row, left_out in enumerate(matrix.domains):
        for column, domain in enumerate(matrix.domains):
            cell = matrix.find(left_out, domain)
            if cell is not None:
                values[row, column] = cell.numbers[name].value

    axes.imshow(values, vmin=0, vmax=1, cmap="viridis")
    for row in range(size):
        for column in range(size):
            value = values[row, column]
            text = "-" if np.isnan(value) else f"{value:.2f}"
            colour = "white" if value < LIGHT_TEXT_BELOW else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour)
        frame = [(row - 0.46, row - 0.46), (row + 0.46, row - 0.46), (row + 0.46, row + 0.46), (row - 0.46, row + 0.46)]
        axes.plot(*zip(*frame, frame[0], strict=True), color="red", linewidth=2)
    axes.set_xticks(range(size), matrix.domains, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(size), [f"without {domain}" for domain in matrix.domains], fontsize=8)
    axes.set_title(spoken(name), fontsize=10)
