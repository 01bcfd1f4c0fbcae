"""Draw the figures of an evaluation, and compute the points of the ROC and precision-recall curves."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from components.evaluate.calibration_fit import Band, OperatingCurve
from components.shared.data.manifest import CLASSES
from components.shared.results.measurements import spoken
from components.shared.results.metrics import confusion_matrix
from components.shared.results.slices import Slice

MAX_ROC_POINTS = 200
HISTOGRAM_BINS = 20
THRESHOLD_TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)

# Error increases: the darkest colour of the heat map, and the smallest increase that is written in white.
DARKEST_INCREASE = 0.5
WHITE_TEXT_FROM = 0.3


@dataclass(frozen=True)
class Scored:
    """The labels and the answers of n tiles: `labels` is int (n,) with 1 for crack, and `p_crack` is float (n,)."""

    labels: np.ndarray
    p_crack: np.ndarray

    def has_both_classes(self) -> bool:
        """Return whether there are tiles with a crack and tiles without one."""
        return 0 < self.labels.sum() < len(self.labels)


def roc_curve(labels: np.ndarray, p_crack: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the ROC curve: false-positive rates, true-positive rates and falling thresholds, each float64 (points,).

    There are at most MAX_ROC_POINTS points, always including the first and the last point of the full curve. At the
    first point, no tile is called a crack. We give this point the threshold 1.

    Args:
        labels: int (n,), both classes present.
        p_crack: float (n,), in [0, 1].
    """
    hits, alarms, scores = _running_counts(labels, p_crack)
    true_rate = np.append(0, hits / hits[-1])
    false_rate = np.append(0, alarms / alarms[-1])
    thresholds = np.append(1.0, scores)

    points = min(len(thresholds), MAX_ROC_POINTS)
    kept = np.unique(np.linspace(0, len(thresholds) - 1, points).round().astype(int))
    return false_rate[kept], true_rate[kept], thresholds[kept]


def precision_recall_curve(labels: np.ndarray, p_crack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the precision-recall curve: rising recalls, and the precision at each recall, both float64 (points,).

    The arguments are those of `roc_curve`.
    """
    hits, alarms, _ = _running_counts(labels, p_crack)
    return hits / hits[-1], hits / (hits + alarms)


def _running_counts(labels: np.ndarray, p_crack: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Use each distinct P(crack) as a threshold, and count how many cracks it finds and how many false alarms it gives.

    Return three arrays: numbers of found cracks, numbers of false alarms, and thresholds. The highest threshold is
    first.
    """
    order = np.argsort(-p_crack, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(p_crack[order])), len(order) - 1)
    hits = np.cumsum(labels[order])[last_of_ties]
    called = last_of_ties + 1
    return hits, called - hits, p_crack[order][last_of_ties]


def draw_curves(samples: dict[str, Scored]) -> Figure:
    """Draw the ROC curves and the precision-recall curves side by side.

    Args:
        samples: Name -> a set of tiles and their answers. Each set that has both classes gets one line.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    roc, precision_recall = figure.subplots(1, 2)

    for name, sample in samples.items():
        if sample.has_both_classes():
            false_rate, true_rate, _ = roc_curve(sample.labels, sample.p_crack)
            recall, precision = precision_recall_curve(sample.labels, sample.p_crack)
            roc.plot(false_rate, true_rate, label=name)
            precision_recall.plot(recall, precision, label=name)

    _draw_diagonal(roc)
    roc.set(title="ROC", xlabel="false-positive rate", ylabel="true-positive rate")
    precision_recall.set(title="Precision-recall", xlabel="recall", ylabel="precision")
    for axes in (roc, precision_recall):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        _add_grid_and_legend(axes)
    return figure


def draw_reliability(samples: dict[str, Scored], bins: int = 10) -> Figure:
    """Draw a reliability diagram and a histogram of P(crack) side by side.

    The diagram shows the share of cracks against the mean P(crack).

    Args:
        samples: Name -> a set of tiles and their answers. Each set gets one line.
        bins: Number of bins of the diagram. Each bin has the same number of tiles.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    reliability, histogram = figure.subplots(1, 2)

    for name, sample in samples.items():
        order = np.argsort(sample.p_crack, kind="stable")
        mean_p, share = [], []
        for part in np.array_split(order, min(bins, len(order))):
            mean_p.append(sample.p_crack[part].mean())
            share.append(sample.labels[part].mean())
        reliability.plot(mean_p, share, marker="o", markersize=4, label=name)
        histogram.hist(sample.p_crack, bins=HISTOGRAM_BINS, range=(0, 1), histtype="step", label=name)

    _draw_diagonal(reliability)
    reliability.set(title="Reliability", xlabel="mean P(crack)", ylabel="share of cracks", aspect="equal")
    histogram.set(title="How sure the network is", xlabel="P(crack)", ylabel="tiles")
    for axes in (reliability, histogram):
        _add_grid_and_legend(axes)
    return figure


def draw_operating_curve(curve: OperatingCurve, threshold: float) -> Figure:
    """Draw recall, false alarms and cost against the threshold, with the chosen threshold and its range."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    rates, cost = figure.subplots(1, 2)
    _draw_band(rates, curve.thresholds, curve.recall, "cracks found (recall)")
    _draw_band(rates, curve.thresholds, curve.false_alarms, "false alarms on tiles without a crack")
    _draw_band(cost, curve.thresholds, curve.cost, "cost of 100 tiles, in false alarms")

    rates.set(title="Rates by threshold", ylabel="share", ylim=(-0.01, 1.01))
    cost.set(title="Cost by threshold", ylabel="false alarms", ylim=(0, None))

    for axes in (rates, cost):
        axes.axvline(threshold, color="black", linewidth=1, label=f"chosen: {threshold:.3g}")
        if np.isfinite(curve.chosen_low):
            axes.axvspan(curve.chosen_low, curve.chosen_high, color="black", alpha=0.08, linewidth=0)
        axes.set_xscale("logit")
        axes.set_xticks(THRESHOLD_TICKS, [f"{tick:g}" for tick in THRESHOLD_TICKS])
        axes.set(xlabel="threshold, calibrated P(crack)", xlim=(curve.thresholds[0], curve.thresholds[-1]))
        axes.xaxis.set_minor_formatter("")
        _add_grid_and_legend(axes)
    return figure


def _draw_band(axes: Axes, thresholds: np.ndarray, band: Band, label: str) -> None:
    (line,) = axes.plot(thresholds, band.value, label=label)
    axes.fill_between(thresholds, band.low, band.high, color=line.get_color(), alpha=0.2, linewidth=0)


def draw_confusions(samples: dict[str, Scored], threshold: float = 0.5) -> Figure:
    """Draw a confusion matrix for each set of tiles.

    The rows are the labels. A cell shows a number of tiles, and this number as a share of the row.

    Args:
        samples: Name -> a set of tiles and their answers.
        threshold: A tile is called a crack if P(crack) >= threshold.
    """
    figure = Figure(figsize=(max(2.6 * len(samples), 4), 3), layout="constrained")
    row = figure.subplots(1, len(samples), squeeze=False)[0]
    classes = [spoken(name) for name in CLASSES]

    for axes, (name, sample) in zip(row, samples.items(), strict=True):
        counts = confusion_matrix(sample.labels, sample.p_crack, threshold)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for truth, decision in np.ndindex(2, 2):
            share = shares[truth, decision]
            text = f"{counts[truth, decision]}\n{share:.1%}"
            color = "white" if share > 0.5 else "black"
            axes.text(decision, truth, text, ha="center", va="center", color=color, fontsize=9)

        axes.set_xticks([0, 1], classes)
        axes.set_yticks([0, 1], classes, rotation=90, va="center")
        axes.set_title(name, fontsize=10)
        axes.set(xlabel="answer", ylabel="label")
    return figure


def draw_corruptions(increases: dict[Slice, float]) -> Figure:
    """Draw a heat map of the error increase. Rows are families, with the worst family on top. Columns are severities.

    Args:
        increases: Slice of one corruption family and severity -> error increase, such as 0.05 for 5 percentage points.
    """
    places = [(part.get("corruption"), part.get("severity")) for part in increases]
    table = pd.Series(list(increases.values()), index=pd.MultiIndex.from_tuples(places)).unstack()
    most_harmful_first = table.mean(axis=1).sort_values(ascending=False, kind="stable").index
    table = table.loc[most_harmful_first]

    families, severities = table.shape
    figure = Figure(figsize=(2.2 + 1.1 * severities, 0.6 + 0.36 * families), layout="constrained")
    axes = figure.subplots()

    values = table.to_numpy()
    axes.imshow(values, cmap="RdBu_r", vmin=-DARKEST_INCREASE, vmax=DARKEST_INCREASE, aspect="auto")
    for row, column in np.ndindex(families, severities):
        value = values[row, column]
        color = "white" if abs(value) > WHITE_TEXT_FROM else "black"
        axes.text(column, row, f"{100 * value:+.0f}", ha="center", va="center", fontsize=9, color=color)

    axes.set_yticks(range(families), table.index.str.replace("_", " "))
    axes.set_xticks(range(severities), "severity " + table.columns)
    return figure


def _draw_diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)


def _add_grid_and_legend(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
