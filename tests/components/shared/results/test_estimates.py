"""Intervals of metrics: when they are wide, when there is no interval, and what the note says."""

import math

import numpy as np
import pytest

from components.shared.results.estimates import estimate_metrics
from components.shared.results.measurements import FEW_ERRORS
from components.shared.results.metrics import METRICS


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
    for name, estimate in estimates.items():
        assert math.isnan(estimate.value) is (name in undefined)
    for name in undefined:
        assert estimates[name].note.startswith("undefined: ")
        assert estimates[name].low is None


def test_one_photo_gives_no_interval() -> None:
    estimate = estimate_metrics(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.9]), np.zeros(3))["accuracy"]
    assert (estimate.low, estimate.high, estimate.note) == (None, None, "no interval, because there is only one group")


def test_no_error_seen_still_has_a_lower_bound() -> None:
    labels = np.tile([0, 1], 20)
    estimate = estimate_metrics(labels, labels * 0.8 + 0.1, np.arange(40) // 2)["recall"]
    assert (estimate.value, estimate.high) == (1, 1)
    assert 0.5 < estimate.low < 1 - 3 / 20  # below the rule of three for 20 of 20, which takes tiles for independent


@pytest.mark.parametrize("name", ["accuracy", "recall", "f1", "auroc", "average_precision"])
def test_no_model_has_a_higher_low_end_than_a_faultless_one(name: str) -> None:
    labels = np.tile([0, 1], 200)
    photos = np.arange(400) // 2
    faultless = labels * 0.8 + 0.1 + np.linspace(0, 0.05, 400)
    nearly = faultless.copy()
    nearly[[1, 2]] = 0.4, 0.6

    best = estimate_metrics(labels, faultless, photos)[name]
    other = estimate_metrics(labels, nearly, photos)[name]
    assert other.value < best.value == 1
    assert other.low <= best.low < 1


@pytest.mark.parametrize(("errors", "note"), [(0, FEW_ERRORS), (9, FEW_ERRORS), (10, "")])
def test_fewer_errors_than_tiles_in_a_photo_are_noted(errors: int, note: str) -> None:
    labels = np.tile([0, 1], 100)
    photos = np.arange(200) // 10
    p_crack = labels * 0.8 + 0.1
    wrong = slice(0, 20 * errors, 20)  # one tile of every second photo
    p_crack[wrong] = 1 - p_crack[wrong]

    for estimate in estimate_metrics(labels, p_crack, photos).values():
        assert estimate.note == note
    for estimate in estimate_metrics(labels, p_crack, photos, resamples=0).values():
        assert estimate.note == ""


def test_photos_widen_the_interval_and_equal_seeds_repeat_it() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 500)
    photo = np.repeat(np.arange(50), 20)
    p_crack = np.clip(0.5 + 0.3 * (2 * labels - 1) + rng.normal(0, 0.4, 50)[photo], 0, 1)
    by_photo = estimate_metrics(labels, p_crack, photo)["accuracy"]
    by_image = estimate_metrics(labels, p_crack, np.arange(1000))["accuracy"]
    assert by_photo.high - by_photo.low > 2 * (by_image.high - by_image.low)

    again = estimate_metrics(labels, p_crack, photo)["accuracy"]
    other_seed = estimate_metrics(labels, p_crack, photo, seed=1)["accuracy"]
    assert by_photo == again != other_seed
