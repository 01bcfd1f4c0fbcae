"""Metrics against scikit-learn and against resampling by hand."""

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from components.shared.results.intervals import draw_groups, group_codes
from components.shared.results.measurements import FEW_PHOTOS
from components.shared.results.metrics import (
    METRICS,
    classification_report,
    compute_metrics,
    confusion_matrix,
    estimate_metrics,
    resampled_metrics,
)


def sample(images: int, share: float, levels: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels with both classes, and P(crack) that knows something of them; `levels` makes ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(images) < share).astype(int)
    labels[:2] = 0, 1
    p_crack = 1 / (1 + np.exp(-(rng.normal(size=images) + 2 * labels - 1)))
    return labels, np.round(p_crack * levels) / levels if levels else p_crack


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
    """Every image split in `bins` equal pieces, so that bins of equal mass hold whole pieces; ties averaged first."""
    _, inverse = np.unique(p_crack, return_inverse=True)
    mean = np.bincount(inverse, labels) / np.bincount(inverse)
    order = np.argsort(p_crack, kind="stable")
    truth, said = np.repeat(mean[inverse][order], bins), np.repeat(p_crack[order], bins)
    gaps = [
        abs(part_truth.mean() - part_said.mean())
        for part_truth, part_said in zip(np.split(truth, bins), np.split(said, bins), strict=True)
    ]
    return float(np.mean(gaps))


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
        rows = np.concatenate([np.repeat(np.flatnonzero(codes == g), times) for g, times in enumerate(draw)])
        slow = by_sklearn(labels[rows], p_crack[rows], 0.4) | {"ece": ece_by_hand(labels[rows], p_crack[rows], 15)}
        for name, value in slow.items():
            assert fast[name][index] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize(
    ("labels", "undefined"),
    [
        ([1, 1, 1], {"specificity", "balanced_accuracy", "mcc", "auroc"}),
        ([0, 0, 0], {"recall", "balanced_accuracy", "mcc", "auroc", "average_precision"}),
        ([], set(METRICS)),
    ],
)
def test_undefined_is_nan_with_its_reason(labels: list[int], undefined: set[str]) -> None:
    p_crack = np.array([0.9, 0.8, 0.2])[: len(labels)]
    estimates = estimate_metrics(np.array(labels, int), p_crack, np.arange(len(labels)), resamples=50)
    assert {name for name, estimate in estimates.items() if math.isnan(estimate.value)} == undefined
    assert all(estimates[name].note.startswith("undefined: ") for name in undefined)
    assert all(estimates[name].low is None for name in undefined)


def test_calling_nothing_a_crack_leaves_precision_undefined_but_f1_zero() -> None:
    values = compute_metrics(np.array([0, 1]), np.array([0.1, 0.2]))
    assert math.isnan(values["precision"])
    assert math.isnan(values["mcc"])
    assert values["f1"] == values["recall"] == 0


@pytest.mark.parametrize(("labels", "p_crack"), [([0, 2], [0.1, 0.2]), ([0, 1], [0.1, 1.2]), ([0, 1], [0.1, np.nan])])
def test_nonsense_is_refused(labels: list[int], p_crack: list[float]) -> None:
    with pytest.raises(ValueError, match="labels must be 0 or 1"):
        compute_metrics(np.array(labels), np.array(p_crack))


def test_one_photo_gives_no_interval() -> None:
    estimate = estimate_metrics(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.9]), np.zeros(3))["accuracy"]
    assert (estimate.low, estimate.high, estimate.note) == (None, None, "one group only: no interval")


def test_no_error_seen_still_has_a_lower_bound() -> None:
    labels = np.tile([0, 1], 20)
    estimate = estimate_metrics(labels, labels * 0.8 + 0.1, np.arange(40) // 2)["recall"]
    assert (estimate.value, estimate.high) == (1, 1)
    assert 0.5 < estimate.low < 1 - 3 / 20  # below the rule of three for 20 of 20, which takes tiles for independent


@pytest.mark.parametrize("name", ["accuracy", "recall", "f1", "auroc", "average_precision"])
def test_no_model_has_a_higher_low_end_than_a_faultless_one(name: str) -> None:
    labels, photos = np.tile([0, 1], 200), np.arange(400) // 2
    faultless = labels * 0.8 + 0.1 + np.linspace(0, 0.05, 400)
    nearly = faultless.copy()
    nearly[[1, 2]] = 0.4, 0.6
    one, two = (estimate_metrics(labels, p_crack, photos)[name] for p_crack in (faultless, nearly))
    assert two.value < one.value == 1
    assert two.low <= one.low < 1


def test_wrong_answers_that_do_not_fill_a_photo_are_told() -> None:
    labels, photos = np.tile([0, 1], 100), np.arange(200) // 10
    p_crack = labels * 0.8 + 0.1
    for wrong, told in ((0, True), (9, True), (10, False)):
        answers = p_crack.copy()
        answers[: 20 * wrong : 20] = 1 - answers[: 20 * wrong : 20]  # one tile each of some photos of ten
        found = estimate_metrics(labels, answers, photos)
        assert {estimate.note for estimate in found.values()} == {FEW_PHOTOS if told else ""}
        assert {estimate.note for estimate in estimate_metrics(labels, answers, photos, resamples=0).values()} == {""}


def test_photos_widen_the_interval_and_equal_seeds_repeat_it() -> None:
    rng = np.random.default_rng(0)
    labels, photo = np.tile([0, 1], 500), np.repeat(np.arange(50), 20)
    p_crack = np.clip(0.5 + 0.3 * (2 * labels - 1) + rng.normal(0, 0.4, 50)[photo], 0, 1)
    by_photo = estimate_metrics(labels, p_crack, photo)["accuracy"]
    by_image = estimate_metrics(labels, p_crack, np.arange(1000))["accuracy"]
    assert by_photo.high - by_photo.low > 2 * (by_image.high - by_image.low)
    seeded = [estimate_metrics(labels, p_crack, photo, seed=seed)["nll"] for seed in (0, 0, 1)]
    assert seeded[0] == seeded[1] != seeded[2]


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
    for name, numbers in {"no_crack": no_crack, "crack": crack}.items():
        assert tuple(round(value, 4) for value in report[name].values()) == numbers
    ours = compute_metrics(labels, p_crack)
    names = ("accuracy", "precision", "recall", "f1")
    assert tuple(round(ours[name], 4) for name in names) == (accuracy, *crack[:3])
    theirs = sklearn_metrics.classification_report(labels, p_crack >= 0.5, output_dict=True)
    macro = {name.replace("f1-score", "f1"): value for name, value in theirs["macro avg"].items() if name != "support"}
    assert {name: report["macro"][name] for name in macro} == pytest.approx(macro)
