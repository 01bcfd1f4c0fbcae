"""Pictures of an evaluation: ROC, precision-recall, reliability, confusion matrix, errors under corruption."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from components.shared.data.manifest import CLASSES
from components.shared.results.measurements import spoken
from components.shared.results.metrics import confusion_matrix
from components.shared.results.slices import Slice

Curves = dict[str, tuple[np.ndarray, np.ndarray]]
ROC_POINTS = 200


def roc_curve(labels: np.ndarray, p_crack: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """False-positive rate, true-positive rate and threshold, float64 (points,), thresholds falling and within [0, 1].

    At most ROC_POINTS points, first and last kept. The first, at which nothing is called a crack, has threshold 1.

    Args:
        labels: int (n,), both classes present.
        p_crack: float (n,).
    """
    hits, alarms, scores = _running_counts(labels, p_crack)
    true_rate, false_rate = np.append(0, hits / hits[-1]), np.append(0, alarms / alarms[-1])
    thresholds = np.append(1.0, scores)
    kept = np.unique(np.linspace(0, len(thresholds) - 1, min(len(thresholds), ROC_POINTS)).round().astype(int))
    return false_rate[kept], true_rate[kept], thresholds[kept]


def precision_recall_curve(labels: np.ndarray, p_crack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall, rising, and precision at each distinct P(crack), float64 (points,); arguments as in `roc_curve`."""
    hits, alarms, _ = _running_counts(labels, p_crack)
    return hits / hits[-1], hits / (hits + alarms)


def _running_counts(labels: np.ndarray, p_crack: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = np.argsort(-p_crack, kind="stable")
    last = np.append(np.flatnonzero(np.diff(p_crack[order])), len(order) - 1)
    hits = np.cumsum(labels[order])[last]
    return hits, last + 1 - hits, p_crack[order][last]


def draw_curves(samples: Curves) -> Figure:
    """ROC and precision-recall side by side, one line per sample that holds both classes.

    Args:
        samples: name -> (labels int (n,), p_crack float (n,)).
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    roc, precision_recall = figure.subplots(1, 2)
    for name, (labels, p_crack) in samples.items():
        if 0 < labels.sum() < len(labels):
            false_rate, true_rate, _ = roc_curve(labels, p_crack)
            roc.plot(false_rate, true_rate, label=name)
            precision_recall.plot(*precision_recall_curve(labels, p_crack), label=name)
    roc.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
    roc.set(title="ROC", xlabel="false-positive rate", ylabel="true-positive rate")
    precision_recall.set(title="Precision-recall", xlabel="recall", ylabel="precision")
    for axes in (roc, precision_recall):
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


def draw_reliability(samples: Curves, bins: int = 10) -> Figure:
    """Reliability diagram with bins of equal mass: share of cracks against mean P(crack), and how often each occurs."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    reliability, histogram = figure.subplots(1, 2)
    for name, (labels, p_crack) in samples.items():
        parts = [part for part in np.array_split(np.argsort(p_crack, kind="stable"), bins) if len(part)]
        mean = [p_crack[part].mean() for part in parts]
        reliability.plot(mean, [labels[part].mean() for part in parts], marker="o", markersize=4, label=name)
        histogram.hist(p_crack, bins=20, range=(0, 1), histtype="step", label=name)
    reliability.plot([0, 1], [0, 1], color="0.7", linestyle=":", linewidth=1)
    reliability.set(title="Reliability", xlabel="mean P(crack)", ylabel="share of cracks", aspect="equal")
    histogram.set(title="How sure it is", xlabel="P(crack)", ylabel="images")
    for axes in (reliability, histogram):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


def draw_confusions(samples: Curves, threshold: float = 0.5) -> Figure:
    """One confusion matrix per sample, counts and shares of the true class."""
    figure = Figure(figsize=(max(2.6 * len(samples), 4), 3), layout="constrained")
    row = figure.subplots(1, len(samples), squeeze=False)[0]
    names = [spoken(name) for name in CLASSES]
    for axes, (sample, (labels, p_crack)) in zip(row, samples.items(), strict=True):
        counts = confusion_matrix(labels, p_crack, threshold)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for truth, decision in np.ndindex(2, 2):
            share = shares[truth, decision]
            text = f"{counts[truth, decision]}\n{share:.1%}"
            color = "white" if share > 0.5 else "black"
            axes.text(decision, truth, text, ha="center", va="center", color=color, fontsize=9)
        axes.set_xticks([0, 1], names)
        axes.set_yticks([0, 1], names, rotation=90, va="center")
        axes.set_title(sample, fontsize=10)
        axes.set(xlabel="decision", ylabel="truth")
    return figure


def draw_corruptions(increases: dict[Slice, float]) -> Figure:
    """Heat map of the error increase, families by severities, the families that hurt most at the top.

    Args:
        increases: Slice of one corruption and severity -> error increase, fraction of images.
    """
    cells = pd.Series(
        list(increases.values()),
        index=pd.MultiIndex.from_tuples([(part.get("corruption"), part.get("severity")) for part in increases]),
    )
    table = cells.unstack()
    table = table.loc[table.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    names, severities, values = table.index, table.columns, table.to_numpy()
    figure = Figure(figsize=(2.2 + 1.1 * len(severities), 0.6 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="RdBu_r", vmin=-0.5, vmax=0.5, aspect="auto")
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        axes.text(
            column,
            row,
            f"{100 * value:+.0f}",
            ha="center",
            va="center",
            fontsize=9,
            color="white" if abs(value) > 0.3 else "black",
        )
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_xticks(range(len(severities)), [f"severity {severity}" for severity in severities])
    return figure
