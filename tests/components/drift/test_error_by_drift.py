import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from components.drift.error_by_drift import drift_distance, error_by_distance, error_measurement


def test_distance_is_one_for_the_reference_itself_and_grows_with_the_shift():
    rng = np.random.default_rng(0)
    reference = pd.DataFrame({"a": rng.normal(5, 2, 5000), "b": rng.normal(0, 9, 5000), "still": 1.0})
    assert np.sqrt((drift_distance(reference, reference) ** 2).mean()) == pytest.approx(1)
    far = pd.DataFrame({"a": [5 + 3 * 2.0], "b": [4 * 9.0], "still": [7.0]})
    assert drift_distance(reference, far) == pytest.approx([np.sqrt((9 + 16) / 2)], rel=0.05)


def test_errors_are_counted_in_the_bin_of_their_distance():
    distance = np.random.default_rng(0).permutation(200).astype(float)
    bins = error_by_distance(distance, distance >= 190)
    assert [part.images for part in bins] == [20] * 10
    assert [part.error for part in bins] == [0] * 9 + [0.5]
    assert (bins[0].low, bins[-1].high) == (0, 199)


def test_few_images_make_few_bins():
    assert [part.images for part in error_by_distance(np.arange(35.0), np.zeros(35, bool))] == [12, 12, 11]


def test_the_measurement_is_the_auroc_of_the_distance():
    rng = np.random.default_rng(0)
    distance, wrong = np.round(rng.exponential(size=100), 1), rng.random(100) < 0.3
    assert error_measurement(distance, wrong).value == pytest.approx(roc_auc_score(wrong, distance))


def test_the_measurement_is_undefined_if_all_answers_are_right():
    row = error_measurement(np.arange(40.0), np.zeros(40, bool))
    assert np.isnan(row.value)
    assert row.note == "all 40 answers are right"
