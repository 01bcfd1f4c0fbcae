"""Binary metrics on plain arrays, computed for many resamples at once.

A resample says how often each group (photo) was drawn. The plain value is the case of every group drawn once.
`estimates.py` adds the intervals.

Positive means crack (label 1). A decision is positive where P(crack) >= threshold. 0/0 is NaN, never 0 or 1, and
`UNDEFINED` says what was missing.
"""

from dataclasses import dataclass

import numpy as np

from components.shared.data.manifest import CLASSES
from components.shared.results.intervals import Scale

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

# Of these 0 is best; of all other metrics it is 1.
LOSSES = ("brier", "nll", "ece")

# These depend on the order of P(crack) alone, not on decisions.
RANKING = ("auroc", "average_precision")

SCALES: dict[str, Scale] = {**dict.fromkeys(METRICS, "share"), **dict.fromkeys(LOSSES, "loss"), "mcc": "signed"}
ECE_BINS = 15

# P(crack) is kept this far from 0 and 1, so that the log-likelihood stays finite.
SMALLEST_P = np.finfo(np.float64).eps
MAX_NLL = float(-np.log(SMALLEST_P))

# This many weights (resamples times images) fit the processor's cache.
WEIGHTS_PER_CHUNK = 50_000


def confusion_matrix(labels: np.ndarray, p_crack: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Count images by class and decision.

    Args:
        labels: int (n,), 1 for crack.
        p_crack: float (n,), in [0, 1].
        threshold: Decisions are P(crack) >= threshold.

    Returns:
        int64 (2, 2): rows are the true class (no_crack, crack), columns the decision, as in scikit-learn.
    """
    decisions = np.asarray(p_crack) >= threshold
    cells = 2 * np.asarray(labels, np.int64) + decisions
    return np.bincount(cells, minlength=4).reshape(2, 2)


def classification_report(confusion: np.ndarray) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and number of images of each class, and their unweighted mean ("macro").

    Args:
        confusion: (2, 2) counts as from `confusion_matrix`.
    """
    report: dict[str, dict[str, float]] = {}
    for index, name in enumerate(CLASSES):
        hit = confusion[index, index]
        called = confusion[:, index].sum()
        true = confusion[index].sum()

        report[name] = {
            "precision": float(_ratio(hit, called)),
            "recall": float(_ratio(hit, true)),
            "f1": float(_ratio(2 * hit, called + true)),
            "images": float(true),
        }

    macro = {}
    for key in ("precision", "recall", "f1"):
        macro[key] = (report[CLASSES[0]][key] + report[CLASSES[1]][key]) / 2
    report["macro"] = {**macro, "images": float(confusion.sum())}
    return report


def compute_metrics(labels: np.ndarray, p_crack: np.ndarray, threshold: float = 0.5) -> dict[str, float]:
    """Return every metric of METRICS once, without intervals; arguments as in `resampled_metrics`."""
    one_group = np.zeros(len(labels), np.int64)
    values = resampled_metrics(labels, p_crack, one_group, np.ones((1, 1)), threshold)
    return {name: float(value[0]) for name, value in values.items()}


def resampled_metrics(
    labels: np.ndarray, p_crack: np.ndarray, codes: np.ndarray, draws: np.ndarray, threshold: float = 0.5
) -> dict[str, np.ndarray]:
    """Return every metric for every resample.

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

    Source: definitions as in scikit-learn, except `ece` (see `_ece`). `nll` keeps P(crack) at least 2.2e-16 away from
        0 and 1.
    """
    labels = np.asarray(labels, np.int64)
    p_crack = np.asarray(p_crack, np.float64)
    if not np.isin(labels, (0, 1)).all() or not ((p_crack >= 0) & (p_crack <= 1)).all():
        raise ValueError("labels must be 0 or 1 and probabilities within [0, 1]")

    order = np.argsort(p_crack, kind="stable")
    labels, p_crack, codes = labels[order], p_crack[order], codes[order]
    values = _sum_metrics(labels, p_crack, codes, draws, threshold)

    ranking: dict[str, list[np.ndarray]] = {name: [] for name in (*RANKING, "ece")}
    chunk = max(1, WEIGHTS_PER_CHUNK // max(1, len(labels)))
    for start in range(0, len(draws), chunk):
        weights = draws[start : start + chunk][:, codes]
        for name, part in _ranking_metrics(labels, p_crack, weights).items():
            ranking[name].append(part)
    for name, parts in ranking.items():
        values[name] = np.concatenate(parts) if parts else np.empty(0)

    return {name: values[name] for name in METRICS}


def _sum_metrics(
    labels: np.ndarray, p_crack: np.ndarray, codes: np.ndarray, draws: np.ndarray, threshold: float
) -> dict[str, np.ndarray]:
    """Metrics that are sums over images: add up each group first, then each resample."""
    positive = labels == 1
    called = p_crack >= threshold
    clipped = np.clip(p_crack, SMALLEST_P, 1 - SMALLEST_P)
    columns = (
        ~positive & ~called,
        ~positive & called,
        positive & ~called,
        positive & called,
        (p_crack - labels) ** 2,
        -np.where(positive, np.log(clipped), np.log1p(-clipped)),
    )

    groups = draws.shape[1]
    group_sums = np.stack([np.bincount(codes, column, groups) for column in columns])
    tn, fp, fn, tp, squared_error, log_loss = group_sums @ draws.T.astype(np.float64)

    images = tn + fp + fn + tp
    losses = {"brier": _ratio(squared_error, images), "nll": _ratio(log_loss, images)}
    return {**_decision_metrics(tn, fp, fn, tp), **losses}


def _decision_metrics(tn: np.ndarray, fp: np.ndarray, fn: np.ndarray, tp: np.ndarray) -> dict[str, np.ndarray]:
    recall = _ratio(tp, tp + fn)
    specificity = _ratio(tn, tn + fp)
    mcc_scale = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)

    return {
        "accuracy": _ratio(tp + tn, tn + fp + fn + tp),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": _ratio(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "mcc": _ratio(tp * tn - fp * fn, mcc_scale),
    }


@dataclass(frozen=True)
class _Ranked:
    """Weighted images in order of rising P(crack); images of equal P(crack) form one block.

    Attributes:
        p_crack: float64 (blocks,), rising.
        cracks: float64 (resamples, blocks), weight of the cracks in each block.
        images: float64 (resamples, blocks), weight of all images in each block.
        cracks_so_far: float64 (resamples, blocks), running sum of `cracks`.
        images_so_far: float64 (resamples, blocks), running sum of `images`.
    """

    p_crack: np.ndarray
    cracks: np.ndarray
    images: np.ndarray
    cracks_so_far: np.ndarray
    images_so_far: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, p_crack: np.ndarray, weights: np.ndarray) -> "_Ranked":
        """Arrange images (n,), already in order of rising P(crack), with their weights (resamples, n)."""
        images = weights.astype(np.float64)
        cracks = images * labels
        scores, first = np.unique(p_crack, return_index=True)
        if len(scores) < len(p_crack):
            cracks = np.add.reduceat(cracks, first, axis=1)
            images = np.add.reduceat(images, first, axis=1)
        return cls(scores, cracks, images, np.cumsum(cracks, axis=1), np.cumsum(images, axis=1))


def _ranking_metrics(labels: np.ndarray, p_crack: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics of the order of P(crack), and ece; images in order of rising P(crack), weights (resamples, n)."""
    if not len(labels):
        return dict.fromkeys((*RANKING, "ece"), np.full(len(weights), np.nan))
    ranked = _Ranked.of(labels, p_crack, weights)
    return {"auroc": _auroc(ranked), "average_precision": _average_precision(ranked), "ece": _ece(ranked)}


def _auroc(ranked: _Ranked) -> np.ndarray:
    """Share of the pairs of a crack and another image in which the crack has the higher P(crack)."""
    others = ranked.images - ranked.cracks
    others_so_far = ranked.images_so_far - ranked.cracks_so_far
    won = (ranked.cracks * (others_so_far - others / 2)).sum(axis=1)
    all_cracks = ranked.cracks_so_far[:, -1]
    all_images = ranked.images_so_far[:, -1]
    return _ratio(won, all_cracks * (all_images - all_cracks))


def _average_precision(ranked: _Ranked) -> np.ndarray:
    """Mean over the cracks of the precision at their P(crack)."""
    all_cracks = ranked.cracks_so_far[:, -1]
    all_images = ranked.images_so_far[:, -1]
    called = all_images[:, None] - ranked.images_so_far + ranked.images
    hits = all_cracks[:, None] - ranked.cracks_so_far + ranked.cracks
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return _ratio((ranked.cracks * precision).sum(axis=1), all_cracks)


def _ece(ranked: _Ranked) -> np.ndarray:
    """Expected calibration error: mean over bins of equal mass of |share of cracks - mean P(crack)|.

    Images of equal P(crack) are spread evenly over the bins that they reach into, so the order of the rows does not
    matter. Like any binned error it is too high where images are few.

    Source: Nguyen & O'Connor 2015.
    """
    all_images = ranked.images_so_far[:, -1:]
    surplus = np.cumsum(ranked.cracks - ranked.images * ranked.p_crack, axis=1) / all_images
    mass = ranked.images_so_far / all_images

    # One interpolation serves all resamples: their running shares, 0 to 1, are put side by side on one axis.
    shift = 2.0 * np.arange(len(mass))[:, None]
    edges = shift + np.linspace(0, 1, ECE_BINS + 1)
    known_at = np.hstack([shift, shift + mass])
    known = np.pad(surplus, ((0, 0), (1, 0)))
    surplus_at_edges = np.interp(edges, known_at.ravel(), known.ravel())
    return np.abs(np.diff(surplus_at_edges, axis=1)).sum(axis=1)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(top, bottom)
