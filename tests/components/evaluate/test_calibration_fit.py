"""Compare the fitted temperature and threshold with a brute-force search."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import f1_score, recall_score

from components.evaluate.calibration_fit import calibrate, choose_threshold, fit_temperature, operating_curve
from components.evaluate.config import ThresholdConfig
from components.shared.errors import InputError
from components.shared.results.calibration import Calibration, ReviewBand, read_calibration, write_calibration


def overconfident(images: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and margins. The labels are drawn with calibrated margins, which are then multiplied by `factor`.

    With a factor above 1, the network is too sure.
    """
    rng = np.random.default_rng(seed)
    margin = rng.normal(0, 2, images)
    labels = (rng.random(images) < 1 / (1 + np.exp(-margin))).astype(int)
    return labels, margin * factor


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_undoes_over_and_underconfidence(factor: float) -> None:
    labels, margin = overconfident(20_000, factor)
    found = fit_temperature(labels, margin)
    assert found == pytest.approx(factor, rel=0.06)
    grid = np.geomspace(0.1, 10, 400)
    signs = 2 * labels - 1
    losses = [np.logaddexp(0, -signs * margin / temperature).mean() for temperature in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)


def test_the_temperature_is_finite_on_a_validation_split_without_errors() -> None:
    labels = np.tile([0, 1], 25)
    assert fit_temperature(labels, (2.0 * labels - 1) * 3) == pytest.approx(3 / np.log(26), rel=1e-3)  # Platt's target


@pytest.mark.parametrize("levels", [None, 8])
@pytest.mark.parametrize("floor", [0.5, 0.95, 1.0])
@pytest.mark.parametrize("missed_crack_cost", [0.2, 1.0, 5.0])
def test_recall_floor_takes_the_lowest_cost_that_reaches_the_recall(
    floor: float, levels: int | None, missed_crack_cost: float
) -> None:
    labels, margin = overconfident(300, 1.0, seed=3)
    p_crack = 1 / (1 + np.exp(-margin))
    if levels:
        p_crack = np.round(p_crack * levels) / levels
    config = ThresholdConfig(recall=floor, missed_crack_cost=missed_crack_cost)
    threshold, rule = choose_threshold(labels, p_crack, config)

    lowest = np.inf
    for candidate in p_crack:
        recall = (p_crack[labels == 1] >= candidate).mean()
        if recall >= floor:
            lowest = min(lowest, cost_of(labels, p_crack, candidate, missed_crack_cost))
    assert recall_score(labels, p_crack >= threshold) >= floor
    assert cost_of(labels, p_crack, threshold, missed_crack_cost) == pytest.approx(lowest)
    assert f"a recall of at least {floor:g}." in rule
    assert f"as much as {missed_crack_cost:g} false alarms" in rule


def cost_of(labels: np.ndarray, p_crack: np.ndarray, threshold: float, missed_crack_cost: float) -> float:
    missed = ((labels == 1) & (p_crack < threshold)).sum()
    alarms = ((labels == 0) & (p_crack >= threshold)).sum()
    return missed_crack_cost * missed + alarms


def test_a_perfect_model_gets_the_middle_of_the_gap_and_recall_one() -> None:
    labels = np.tile([0, 1], 50)
    log_odds = np.where(labels == 1, 3.0, -5.0) + np.linspace(-1, 1, 100)
    threshold, _ = choose_threshold(labels, expit(log_odds), ThresholdConfig(recall=0.95))
    highest_other = log_odds[labels == 0].max()
    lowest_crack = log_odds[labels == 1].min()
    assert logit(threshold) == pytest.approx((highest_other + lowest_crack) / 2)


def test_a_good_model_does_not_lose_cracks_to_save_one_false_alarm() -> None:
    labels = np.repeat([0, 1], [1000, 1000])
    p_crack = np.concatenate([np.linspace(0.001, 0.01, 999), [0.998], np.linspace(0.9, 0.9999, 1000)])
    threshold, _ = choose_threshold(labels, p_crack, ThresholdConfig(recall=0.95))
    assert recall_score(labels, p_crack >= threshold) == 1
    assert (p_crack[labels == 0] >= threshold).sum() == 1
    assert 0.01 < threshold < 0.9


@pytest.mark.parametrize(("missed_crack_cost", "recall"), [(0.1, 0.95), (1.0, 0.95), (1000.0, 1.0)])
def test_a_poor_model_reaches_the_recall_floor_at_the_lowest_cost(missed_crack_cost: float, recall: float) -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], [800, 200])
    p_crack = expit(rng.normal(size=1000) + 0.5 * labels - 1.5)
    config = ThresholdConfig(recall=0.95, missed_crack_cost=missed_crack_cost)
    threshold, _ = choose_threshold(labels, p_crack, config)
    assert recall_score(labels, p_crack >= threshold) == pytest.approx(recall, abs=0.005)


@pytest.mark.parametrize("rule", ["recall_floor", "best_f1"])
def test_no_lower_threshold_finds_more_cracks_at_the_same_cost(rule: str) -> None:
    labels, margin = overconfident(400, 1.0, seed=6)
    p_crack = expit(margin)
    threshold, _ = choose_threshold(labels, p_crack, ThresholdConfig(rule=rule, recall=0.7))
    next_lower = p_crack[p_crack < threshold].max()
    assert labels[p_crack == next_lower][0] == 0


def test_if_all_tiles_have_the_same_p_crack_all_are_called_a_crack() -> None:
    labels = np.array([0, 1, 0])
    threshold, _ = choose_threshold(labels, np.full(3, 0.5), ThresholdConfig())
    assert 0 < threshold <= 0.5


def test_a_tile_with_weight_two_counts_like_two_tiles() -> None:
    labels, margin = overconfident(200, 1.0, seed=7)
    p_crack = expit(margin)
    weights = np.random.default_rng(0).integers(1, 4, size=200)
    copies = np.repeat(np.arange(200), weights)
    config = ThresholdConfig()
    assert choose_threshold(labels, p_crack, config, weights) == choose_threshold(
        labels[copies], p_crack[copies], config
    )


def test_the_operating_curve_has_recall_false_alarms_and_cost_with_bands_over_photos() -> None:
    labels, margin = overconfident(400, 1.0, seed=8)
    p_crack = expit(margin)
    photos = np.arange(400) // 10
    config = ThresholdConfig(missed_crack_cost=5.0)
    curve = operating_curve(labels, p_crack, photos, config, resamples=200, seed=0)

    middle = int(np.argmin(np.abs(curve.thresholds - 0.5)))
    threshold = curve.thresholds[middle]
    assert curve.recall.value[middle] == pytest.approx(recall_score(labels, p_crack >= threshold))
    assert curve.false_alarms.value[middle] == pytest.approx((p_crack[labels == 0] >= threshold).mean())
    assert curve.cost.value[middle] == pytest.approx(cost_of(labels, p_crack, threshold, 5.0) / 4)
    for band in (curve.recall, curve.false_alarms, curve.cost):
        assert band.low[middle] < band.value[middle] < band.high[middle]

    chosen, _ = choose_threshold(labels, p_crack, config)
    assert curve.chosen_low <= chosen <= curve.chosen_high
    assert curve.chosen_low < curve.chosen_high


def test_one_photo_gives_a_curve_without_bands() -> None:
    labels, margin = overconfident(50, 1.0, seed=9)
    curve = operating_curve(labels, expit(margin), np.zeros(50), ThresholdConfig(), resamples=200, seed=0)
    assert np.isnan(curve.chosen_low)
    assert np.array_equal(curve.recall.low, curve.recall.high)


def test_best_f1_and_fixed() -> None:
    labels, margin = overconfident(300, 1.0, seed=4)
    p_crack = 1 / (1 + np.exp(-margin))
    threshold, _ = choose_threshold(labels, p_crack, ThresholdConfig(rule="best_f1"))
    best = max(f1_score(labels, p_crack >= candidate) for candidate in p_crack)
    assert f1_score(labels, p_crack >= threshold) == pytest.approx(best)
    assert choose_threshold(labels, p_crack, ThresholdConfig(rule="fixed", value=0.3)) == (0.3, "fixed at 0.3")


def test_a_written_calibration_is_read_unchanged_and_lowers_p_crack(tmp_path) -> None:
    calibration = Calibration(2.0, 0.4, "stated", ReviewBand(0.1, 0.4, 0.02, 0.95, 300, 171, 5))
    write_calibration(calibration, tmp_path / "calibration.json")
    assert read_calibration(tmp_path / "calibration.json") == calibration
    assert calibration.needs_review(np.array([0.09, 0.1, 0.39, 0.4])).tolist() == [False, True, True, False]
    assert calibration.p_crack(np.array([0.0, -900]), np.array([2.0, 900])) == pytest.approx([0.7310585786, 1])
    (tmp_path / "calibration.json").write_text('{"temperature": 1}{')
    with pytest.raises(InputError, match=r"is not a calibration\.json"):
        read_calibration(tmp_path / "calibration.json")


def test_a_calibration_that_was_written_before_there_were_review_bands_has_none(tmp_path) -> None:
    (tmp_path / "calibration.json").write_text('{"temperature": 2.0, "threshold": 0.4, "rule": "stated"}')
    calibration = read_calibration(tmp_path / "calibration.json")
    assert calibration == Calibration(2.0, 0.4, "stated", band=None)
    assert calibration.needs_review(np.array([0.1, 0.9])).tolist() == [None, None]
    for broken in ('{"temperature": 2.0, "band": {"low": 0.1}}', '{"temperature": 2.0, "band": 3}', "[1]"):
        (tmp_path / "calibration.json").write_text(broken)
        with pytest.raises(InputError, match=r"is not a calibration\.json .* run the step evaluate again"):
            read_calibration(tmp_path / "calibration.json")


def test_validation_without_cracks_is_refused() -> None:
    val = pd.DataFrame({"label": [0, 0], "logit_0": 0.0, "logit_1": [0.1, 0.2]})
    with pytest.raises(InputError, match="2 tiles without cracks and 0 tiles with cracks"):
        calibrate(val, ThresholdConfig())
