"""Compute binary metrics on plain arrays, for many resamples at once.

A resample counts how often each group (photo) was drawn. The plain value of a metric is its value for the resample that
draws every group once. `estimates.py` adds the intervals.

Positive means crack (label 1). A decision is positive if P(crack) >= threshold. A metric that would be 0/0 is NaN, not
0 or 1, and `UNDEFINED` gives the reason.
"""

from dataclasses import dataclass

import numpy as np

from components.shared.data.manifest import CLASSES
from components.shared.results.intervals import Scale

UNDEFINED = {
    "accuracy": "there are no images",
    "balanced_accuracy": "needs images of both classes",
    "precision": "no image was called a crack",
    "recall": "no image shows a crack",
    "specificity": "every image shows a crack",
    "f1": "no image shows a crack, and none was called a crack",
    "mcc": "needs both classes, among the labels and among the decisions",
    "auroc": "needs images of both classes",
    "average_precision": "no image shows a crack",
    "brier": "there are no images",
    "nll": "there are no images",
    "ece": "there are no images",
}
METRICS = tuple(UNDEFINED)

# The best value of these metrics is 0. The best value of all other metrics is 1.
LOSSES = ("brier", "nll", "ece")

# These metrics depend only on the order of the images by P(crack), not on the threshold.
RANKING = ("auroc", "average_precision")

SCALES: dict[str, Scale] = {**dict.fromkeys(METRICS, "share"), **dict.fromkeys(LOSSES, "loss"), "mcc": "signed"}
ECE_BINS = 15

# For the log-likelihood, P(crack) is kept at least this far from 0 and 1, so that the result is finite.
SMALLEST_P = np.finfo(np.float64).eps
MAX_NLL = float(-np.log(SMALLEST_P))

# This many weights (resamples times images) fit into the processor's cache.
WEIGHTS_PER_CHUNK = 50_000


def confusion_matrix(labels: np.ndarray, p_crack: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Count images by class and decision.

    Args:
        labels: int (n,), 1 for crack.
        p_crack: float (n,), in [0, 1].
        threshold: An image is called a crack if P(crack) >= threshold.

    Returns:
        int64 (2, 2): rows are the true class (no_crack, crack), columns are the decision, as in scikit-learn.
    """
    decisions = np.asarray(p_crack) >= threshold
    cells = 2 * np.asarray(labels, np.int64) + decisions
    return np.bincount(cells, minlength=4).reshape(2, 2)


def classification_report(confusion: np.ndarray) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and number of images of each class, and of both classes together ("macro").

    The "macro" values of precision, recall and F1 are the unweighted means of both classes. The "macro" number of
    images is the sum.

    Args:
        confusion: (2, 2) counts, from `confusion_matrix`.
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
    """Return the plain value of every metric in METRICS. The arguments are those of `resampled_metrics`."""
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
        codes: int (n,), the group of each image, as a column number of `draws`.
        draws: (resamples, groups), how often each group was drawn.
        threshold: An image is called a crack if P(crack) >= threshold.

    Returns:
        Name in METRICS -> float64 (resamples,).

    Raises:
        ValueError: A label is not 0 or 1, or a probability is outside [0, 1].

    Source: scikit-learn's definitions, except for `ece` (see `_ece`). For `nll`, P(crack) is kept at least 2.2e-16 away
        from 0 and 1.
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
    """Return the metrics that follow from sums over images.

    The values of the images are summed by group, and then the groups are summed for each resample.
    """
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
    """Weighted images in order of rising P(crack). Images with equal P(crack) form one block.

    The weight of an image is the number of times that a resample draws its group.

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
        """Build the blocks from images (n,) in order of rising P(crack) and their weights (resamples, n)."""
        images = weights.astype(np.float64)
        cracks = images * labels
        scores, first = np.unique(p_crack, return_index=True)
        if len(scores) < len(p_crack):
            cracks = np.add.reduceat(cracks, first, axis=1)
            images = np.add.reduceat(images, first, axis=1)
        return cls(scores, cracks, images, np.cumsum(cracks, axis=1), np.cumsum(images, axis=1))


def _ranking_metrics(labels: np.ndarray, p_crack: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return ece and the metrics in RANKING, each float64 (resamples,); NaN if there are no images.

    The images (n,) must be in order of rising P(crack); `weights` is (resamples, n).
    """
    if not len(labels):
        return dict.fromkeys((*RANKING, "ece"), np.full(len(weights), np.nan))
    ranked = _Ranked.of(labels, p_crack, weights)
    return {"auroc": _auroc(ranked), "average_precision": _average_precision(ranked), "ece": _ece(ranked)}


def _auroc(ranked: _Ranked) -> np.ndarray:
    """Compare each crack with each image without a crack. Return how often the crack has the higher P(crack), 0 to 1.

    A pair with equal P(crack) counts half.
    """
    others = ranked.images - ranked.cracks
    others_so_far = ranked.images_so_far - ranked.cracks_so_far
    won = (ranked.cracks * (others_so_far - others / 2)).sum(axis=1)
    all_cracks = ranked.cracks_so_far[:, -1]
    all_images = ranked.images_so_far[:, -1]
    return _ratio(won, all_cracks * (all_images - all_cracks))


def _average_precision(ranked: _Ranked) -> np.ndarray:
    """Compute one precision for each crack, with the crack's P(crack) as the threshold. Return the mean precision."""
    all_cracks = ranked.cracks_so_far[:, -1]
    all_images = ranked.images_so_far[:, -1]
    called = all_images[:, None] - ranked.images_so_far + ranked.images
    hits = all_cracks[:, None] - ranked.cracks_so_far + ranked.cracks
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return _ratio((ranked.cracks * precision).sum(axis=1), all_cracks)


def _ece(ranked: _Ranked) -> np.ndarray:
    """Return the expected calibration error: |share of cracks - mean P(crack)|, averaged over bins of equal weight.

    Images with equal P(crack) may belong to several bins. They are spread evenly over these bins, so the order of the
    rows does not matter. The bins make the result too high if there are few images.

    Source: Nguyen & O'Connor 2015.
    """
    all_images = ranked.images_so_far[:, -1:]
    surplus = np.cumsum(ranked.cracks - ranked.images * ranked.p_crack, axis=1) / all_images
    mass = ranked.images_so_far / all_images

    # One call of `interp` serves all resamples, because `shift` gives each resample its own part of the axis.
    shift = 2.0 * np.arange(len(mass))[:, None]
    edges = shift + np.linspace(0, 1, ECE_BINS + 1)
    known_at = np.hstack([shift, shift + mass])
    known = np.pad(surplus, ((0, 0), (1, 0)))
    surplus_at_edges = np.interp(edges, known_at.ravel(), known.ravel())
    return np.abs(np.diff(surplus_at_edges, axis=1)).sum(axis=1)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.true_divide(top, bottom)
