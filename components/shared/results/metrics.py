"""Binary metrics on plain arrays, with intervals that resample groups (photos), not images.

Tiles of one photo resemble each other, so an interval that resamples tiles is several times too narrow. Every metric
here is computed for many resamples at once from the number of times each group was drawn; the plain value is the case
of every group drawn once. `shared/intervals.py` turns the resamples into intervals.

Positive means crack (label 1). A decision is positive where P(crack) >= threshold. 0/0 is NaN, never 0 or 1, and
`UNDEFINED` says what was missing.
"""

from dataclasses import dataclass, replace

import numpy as np

from components.shared.data.manifest import CLASSES
from components.shared.results.intervals import Scale, draw_groups, group_codes, interval, one_twice
from components.shared.results.measurements import FEW_PHOTOS

UNDEFINED = {
    "accuracy": "no images",
    "balanced_accuracy": "needs images of both classes",
    "precision": "nothing was called a crack",
    "recall": "no cracks among the images",
    "specificity": "every image is a crack",
    "f1": "no cracks, neither true nor called",
    "mcc": "needs both classes, among the labels and among the decisions",
    "auroc": "needs images of both classes",
    "average_precision": "no cracks among the images",
    "brier": "no images",
    "nll": "no images",
    "ece": "no images",
}
METRICS = tuple(UNDEFINED)
LOSSES = ("brier", "nll", "ece")  # 0 is best, not 1
RANKING = ("auroc", "average_precision")  # of the order of P(crack), not of decisions
SCALES: dict[str, Scale] = {**dict.fromkeys(METRICS, "share"), **dict.fromkeys(LOSSES, "loss"), "mcc": "signed"}
ECE_BINS = 15
_SMALLEST = np.finfo(np.float64).eps
NLL_MOST = float(-np.log(_SMALLEST))
_CHUNK = 50_000  # weights at a time, to stay in the processor's cache


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its interval; NaN with a note where undefined, None ends where there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


def confusion_matrix(labels: np.ndarray, p_crack: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """int64 (2, 2): rows are the true class (no_crack, crack), columns the decision, as scikit-learn's."""
    decisions = np.asarray(p_crack) >= threshold
    return np.bincount(2 * np.asarray(labels, np.int64) + decisions, minlength=4).reshape(2, 2)


def classification_report(confusion: np.ndarray) -> dict[str, dict[str, float]]:
    """Precision, recall, F1 and number of images per class, and their unweighted mean ("macro").

    Args:
        confusion: (2, 2) counts as from `confusion_matrix`.
    """
    report: dict[str, dict[str, float]] = {}
    for index, name in enumerate(CLASSES):
        hit, called, true = confusion[index, index], confusion[:, index].sum(), confusion[index].sum()
        report[name] = {
            "precision": float(_ratio(hit, called)),
            "recall": float(_ratio(hit, true)),
            "f1": float(_ratio(2 * hit, called + true)),
            "images": float(true),
        }
    means = {key: sum(row[key] for row in report.values()) / 2 for key in ("precision", "recall", "f1")}
    report["macro"] = {**means, "images": float(confusion.sum())}
    return report


def compute_metrics(labels: np.ndarray, p_crack: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Every metric of METRICS once, without intervals; arguments as in `resampled_metrics`."""
    groups = np.zeros(len(labels), np.int64)
    values = resampled_metrics(labels, p_crack, groups, np.ones((1, 1)), threshold)
    return {name: float(value[0]) for name, value in values.items()}


def estimate_metrics(
    labels: np.ndarray,
    p_crack: np.ndarray,
    groups: np.ndarray,
    threshold: float = 0.5,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Every metric with its 95 % interval by bootstrap over groups.

    Args:
        labels: int (n,), 1 for crack.
        p_crack: float (n,), in [0, 1].
        groups: (n,), anything that can be told apart: the group of each image.
        threshold: Decisions are P(crack) >= threshold.
        resamples: Number of bootstrap resamples; 0 gives values without intervals.
        seed: Of the resampling; equal seeds draw equal groups.
    """
    labels, p_crack = np.asarray(labels, np.int64), np.asarray(p_crack, np.float64)
    drawn = _Draws.of(groups, resamples, seed)
    estimates = _estimate_all(labels, p_crack, drawn, threshold)
    faultless = [name for name, found in estimates.items() if found.low == found.value == 1 and name not in LOSSES]
    if faultless:
        decided, ranked = _as_if_wrong(labels, p_crack)
        made_up = replace(drawn, twice=drawn.twice[:0])  # an error made up says nothing of the worst photo
        doubted = _estimate_all(labels, decided, made_up, threshold)
        by_rank = _estimate_all(labels, ranked, made_up, threshold)
        for name in faultless:
            low = (by_rank if name in RANKING else doubted)[name].low
            estimates[name] = Estimate(1.0, low, 1.0)
    wrong = int(((p_crack >= threshold) != labels).sum())
    if few_photos(wrong, len(labels), drawn.count):
        for name, found in estimates.items():
            if found.low is not None:
                estimates[name] = replace(found, note=FEW_PHOTOS)
    return estimates


def few_photos(wrong: float, images: int, photos: int) -> bool:
    """Whether the wrong answers are fewer than the images of one photo.

    Then an interval of these photos may be too short: by simulation it holds the truth in 84 to 93 % of draws.
    """
    return wrong * photos < images


@dataclass(frozen=True)
class _Draws:
    """Which groups the images are of, and how often each is drawn in every resample."""

    codes: np.ndarray
    count: int
    bootstrap: np.ndarray
    twice: np.ndarray

    @classmethod
    def of(cls, groups: np.ndarray, resamples: int, seed: int) -> "_Draws":
        codes, count = group_codes(groups)
        bootstrap = draw_groups(count, resamples if count > 1 else 0, seed)
        return cls(codes, count, bootstrap, one_twice(count) if len(bootstrap) else bootstrap)


def _estimate_all(labels: np.ndarray, p_crack: np.ndarray, drawn: _Draws, threshold: float) -> dict[str, Estimate]:
    values = compute_metrics(labels, p_crack, threshold)
    draws, twice = (
        resampled_metrics(labels, p_crack, drawn.codes, times, threshold) for times in (drawn.bootstrap, drawn.twice)
    )
    return {name: _estimate(name, values[name], draws[name], twice[name], drawn.count) for name in METRICS}


def resampled_metrics(
    labels: np.ndarray, p_crack: np.ndarray, codes: np.ndarray, draws: np.ndarray, threshold: float = 0.5
) -> dict[str, np.ndarray]:
    """Every metric for every resample.

    Args:
        labels: int (n,), 1 for crack.
        p_crack: float (n,), in [0, 1].
        codes: int (n,), each image's column of `draws`.
        draws: (resamples, groups), how often each group was drawn.
        threshold: Decisions are P(crack) >= threshold.

    Returns:
        float64 (resamples,) for each name of METRICS.

    Raises:
        ValueError: Labels other than 0 and 1, or probabilities outside [0, 1].

    Source: definitions as in scikit-learn, but for `ece`: the mean over 15 bins of equal mass of the absolute
        difference between the share of cracks and the mean P(crack) (Nguyen & O'Connor 2015). Images of equal P(crack)
        are spread evenly over the bins they reach into, so that the order of the rows does not matter. Like any binned
        error it is too high where images are few. `nll` keeps P(crack) at least 2.2e-16 away from 0 and 1.
    """
    labels, p_crack = np.asarray(labels, np.int64), np.asarray(p_crack, np.float64)
    if not np.isin(labels, (0, 1)).all() or not ((p_crack >= 0) & (p_crack <= 1)).all():
        raise ValueError("labels must be 0 or 1 and probabilities within [0, 1]")
    order = np.argsort(p_crack, kind="stable")
    labels, p_crack, codes = labels[order], p_crack[order], codes[order]
    values = _row_metrics(labels, p_crack, codes, draws, threshold)
    chunk = max(1, _CHUNK // max(1, len(labels)))
    parts = [_ranking_metrics(labels, p_crack, draws[i : i + chunk][:, codes]) for i in range(0, len(draws), chunk)]
    parts = parts or [np.empty((3, 0))]
    values |= dict(zip((*RANKING, "ece"), np.concatenate(parts, axis=1), strict=True))
    return {name: values[name] for name in METRICS}


def _row_metrics(
    labels: np.ndarray, p_crack: np.ndarray, codes: np.ndarray, draws: np.ndarray, threshold: float
) -> dict[str, np.ndarray]:
    """Metrics that are made of sums over images: sums per group first, then per resample."""
    clipped = np.clip(p_crack, _SMALLEST, 1 - _SMALLEST)
    positive, called = labels == 1, p_crack >= threshold
    loss = -np.where(positive, np.log(clipped), np.log1p(-clipped))
    columns = [~positive & ~called, ~positive & called, positive & ~called, positive & called]
    sums = [np.bincount(codes, column, draws.shape[1]) for column in (*columns, (p_crack - labels) ** 2, loss)]
    tn, fp, fn, tp, square, loss = np.stack(sums) @ draws.T.astype(np.float64)
    images = tn + fp + fn + tp
    return {**_decision_metrics(tn, fp, fn, tp), "brier": _ratio(square, images), "nll": _ratio(loss, images)}


def _decision_metrics(tn: np.ndarray, fp: np.ndarray, fn: np.ndarray, tp: np.ndarray) -> dict[str, np.ndarray]:
    recall, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    spread = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    return {
        "accuracy": _ratio(tp + tn, tn + fp + fn + tp),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": _ratio(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": _ratio(tp * tn - fp * fn, spread),
    }


def _ranking_metrics(labels: np.ndarray, p_crack: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float64 (3, resamples): auroc, average precision and ece; images in order of rising P(crack)."""
    if not len(labels):
        return np.full((3, len(weights)), np.nan)
    everything = weights.astype(np.float64)
    cracks = everything * labels
    scores, first = np.unique(p_crack, return_index=True)
    if len(scores) < len(p_crack):  # images of equal P(crack) count as one block
        cracks, everything = (np.add.reduceat(block, first, axis=1) for block in (cracks, everything))
    cracks_below, below = np.cumsum(cracks, axis=1), np.cumsum(everything, axis=1)
    positives, total = cracks_below[:, -1], below[:, -1]
    others, others_below = everything - cracks, below - cracks_below
    pairs = (cracks * (others_below - others / 2)).sum(axis=1)
    called = total[:, None] - below + everything
    hits = positives[:, None] - cracks_below + cracks
    steps = (cracks * np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)).sum(axis=1)
    surplus = np.cumsum(cracks - everything * scores, axis=1)
    ece = _equal_mass_gap(below / total[:, None], surplus / total[:, None])
    return np.stack([_ratio(pairs, positives * (total - positives)), _ratio(steps, positives), ece])


def _equal_mass_gap(mass: np.ndarray, surplus: np.ndarray) -> np.ndarray:
    """Sum over bins of equal mass of |share of cracks - P(crack)|, for each resample.

    Args:
        mass: (resamples, blocks), running share of the images, up to 1.
        surplus: (resamples, blocks), running sum of label - P(crack), over the number of images.
    """
    shift = 2.0 * np.arange(len(mass))[:, None]  # rows side by side on one axis, so that one interpolation does
    edges = shift + np.linspace(0, 1, ECE_BINS + 1)
    at_edges = np.interp(edges, np.hstack([shift, shift + mass]).ravel(), np.pad(surplus, ((0, 0), (1, 0))).ravel())
    return np.abs(np.diff(at_edges, axis=1)).sum(axis=1)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(top, bottom)


def _as_if_wrong(labels: np.ndarray, p_crack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """P(crack) of a sample in which the least sure answer of either class is wrong: for decisions, and for the ranking.

    No resample can hold an error that the sample lacks, so the bootstrap gives a faultless model the interval [1, 1].
    One error is the least that cannot be ruled out, and its interval joins on to those of models with errors seen: a
    faultless model never has the lower low end. Decisions are turned over; for the ranking, the closest crack and other
    image change places.
    """
    crack = np.flatnonzero(labels == 1)[np.argmin(p_crack[labels == 1])] if (labels == 1).any() else None
    other = np.flatnonzero(labels == 0)[np.argmax(p_crack[labels == 0])] if (labels == 0).any() else None
    decided, ranked = p_crack.copy(), p_crack.copy()
    if crack is not None:
        decided[crack] = 0.0
    if other is not None:
        decided[other] = 1.0
    if crack is not None and other is not None:
        ranked[[crack, other]] = p_crack[[other, crack]]
    return decided, ranked


def _estimate(name: str, value: float, draws: np.ndarray, twice: np.ndarray, groups: int) -> Estimate:
    if np.isnan(value):
        return Estimate(value, note=f"undefined: {UNDEFINED[name]}")
    if not len(draws):
        return Estimate(value, note="one group only: no interval" if groups == 1 else "")
    return Estimate(value, *interval(value, draws, twice, groups, SCALES[name]))
