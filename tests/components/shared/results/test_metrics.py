"""Compare our metrics with scikit-learn and with resampling by hand."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from components.shared.results.intervals import draw_groups, group_codes
from components.shared.results.metrics import (
    METRICS,
    classification_report,
    compute_metrics,
    confusion_matrix,
    resampled_metrics,
)


def sample(images: int, share: float, levels: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of both classes, and P(crack) that is correlated with them. With `levels`, P(crack) is rounded."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(images) < share).astype(int)
    labels[:2] = 0, 1
    p_crack = 1 / (1 + np.exp(-(rng.normal(size=images) + 2 * labels - 1)))
    if levels:
        p_crack = np.round(p_crack * levels) / levels
    return labels, p_crack


def by_sklearn(labels: np.ndarray, p_crack: np.ndarray, threshold: float) -> dict[str, float]:
    called = p_crack >= threshold
    return {
        "accuracy": sklearn_metrics.accuracy_score(labels, called),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(labels, called),
        "precision": sklearn_metrics.precision_score(labels, called, zero_division=np.nan),
        "recall": sklearn_metrics.recall_score(labels, called),
        "specificity": sklearn_metrics.recall_score(labels, called, pos_label=0),
        "f1": sklearn_metrics.f1_score(labels, called),
        "mcc": sklearn_metrics.matthews_corrcoef(labels, called) if len(set(called)) == 2 else np.nan,
        "auroc": sklearn_metrics.roc_auc_score(labels, p_crack),
        "average_precision": sklearn_metrics.average_precision_score(labels, p_crack),
        "brier": sklearn_metrics.brier_score_loss(labels, p_crack),
        "nll": sklearn_metrics.log_loss(labels, p_crack, labels=[0, 1]),
    }


def ece_by_hand(labels: np.ndarray, p_crack: np.ndarray, bins: int) -> float:
    """Compute ECE in another way: cut every image into `bins` equal pieces, so that each bin holds whole pieces."""
    _, inverse = np.unique(p_crack, return_inverse=True)
    mean = np.bincount(inverse, labels) / np.bincount(inverse)
    order = np.argsort(p_crack, kind="stable")
    truth = np.repeat(mean[inverse][order], bins).reshape(bins, -1)
    predicted = np.repeat(p_crack[order], bins).reshape(bins, -1)
    return float(np.abs(truth.mean(axis=1) - predicted.mean(axis=1)).mean())


@pytest.mark.parametrize("images", [10, 97, 1500])
@pytest.mark.parametrize("share", [0.03, 0.5, 0.9])
@pytest.mark.parametrize("levels", [None, 1, 7])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 1.0])
def test_every_metric_is_scikit_learns(images: int, share: float, levels: int | None, threshold: float) -> None:
    labels, p_crack = sample(images, share, levels, seed=images)
    ours = compute_metrics(labels, p_crack, threshold)
    theirs = by_sklearn(labels, p_crack, threshold)
    assert set(ours) == {*theirs, "ece"} == set(METRICS)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name
    assert ours["ece"] == pytest.approx(ece_by_hand(labels, p_crack, 15), abs=1e-9)


def test_order_of_rows_does_not_matter() -> None:
    labels, p_crack = sample(400, 0.3, 9, seed=1)
    shuffled = np.random.default_rng(0).permutation(400)
    assert compute_metrics(labels, p_crack) == pytest.approx(compute_metrics(labels[shuffled], p_crack[shuffled]))


def test_resamples_are_the_metrics_of_the_drawn_photos() -> None:
    labels, p_crack = sample(300, 0.3, 40, seed=2)
    codes, count = group_codes(np.random.default_rng(3).integers(25, size=300))
    draws = draw_groups(count, 20, seed=4)
    assert (draws.sum(axis=1) == count).all()
    fast = resampled_metrics(labels, p_crack, codes, draws, 0.4)

    for index, draw in enumerate(draws):
        rows = np.repeat(np.arange(300), draw[codes])
        slow = by_sklearn(labels[rows], p_crack[rows], 0.4)
        slow["ece"] = ece_by_hand(labels[rows], p_crack[rows], 15)
        for name, value in slow.items():
            assert fast[name][index] == pytest.approx(value, abs=1e-9), name


def test_calling_nothing_a_crack_leaves_precision_undefined_but_f1_zero() -> None:
    values = compute_metrics(np.array([0, 1]), np.array([0.1, 0.2]))
    assert math.isnan(values["precision"])
    assert math.isnan(values["mcc"])
    assert values["f1"] == values["recall"] == 0


@pytest.mark.parametrize(("labels", "p_crack"), [([0, 2], [0.1, 0.2]), ([0, 1], [0.1, 1.2]), ([0, 1], [0.1, np.nan])])
def test_nonsense_is_refused(labels: list[int], p_crack: list[float]) -> None:
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        compute_metrics(np.array(labels), np.array(p_crack))


@pytest.mark.parametrize(
    ("counts", "accuracy", "no_crack", "crack"),
    [
        ([[3594, 6], [10, 3590]], 0.9978, (0.9972, 0.9983, 0.9978, 3600), (0.9983, 0.9972, 0.9978, 3600)),
        ([[3291, 309], [719, 2881]], 0.8572, (0.8207, 0.9142, 0.8649, 3600), (0.9031, 0.8003, 0.8486, 3600)),
    ],
)
def test_the_papers_confusion_matrices_give_its_tables(counts, accuracy, no_crack, crack) -> None:
    (tn, fp), (fn, tp) = counts
    labels = np.repeat([0, 0, 1, 1], [tn, fp, fn, tp])
    p_crack = np.repeat([0.1, 0.9, 0.1, 0.9], [tn, fp, fn, tp])
    matrix = confusion_matrix(labels, p_crack)
    assert matrix.tolist() == counts
    report = classification_report(matrix)
    assert list(report["no_crack"].values()) == pytest.approx(no_crack, abs=5e-5)
    assert list(report["crack"].values()) == pytest.approx(crack, abs=5e-5)

    ours = compute_metrics(labels, p_crack)
    assert ours["accuracy"] == pytest.approx(accuracy, abs=5e-5)
    assert [ours["precision"], ours["recall"], ours["f1"]] == pytest.approx(crack[:3], abs=5e-5)

    macro = sklearn_metrics.classification_report(labels, p_crack >= 0.5, output_dict=True)["macro avg"]
    for name, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert report["macro"][name] == pytest.approx(macro[theirs])
