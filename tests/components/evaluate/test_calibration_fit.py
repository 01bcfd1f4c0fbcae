"""Temperature and threshold, compared with a brute-force search."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, log_loss, precision_score, recall_score

from components.evaluate.calibration_fit import calibrate, choose_threshold, fit_temperature
from components.evaluate.config import ThresholdConfig
from components.shared.errors import InputError
from components.shared.results.calibration import Calibration, read_calibration, write_calibration


def overconfident(images: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from honest margins, and these margins times `factor`: above 1 the network is too sure."""
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
    losses = [log_loss(labels, 1 / (1 + np.exp(-margin / temperature))) for temperature in grid]
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=0.02)


def test_a_perfect_validation_split_does_not_ask_for_infinite_confidence() -> None:
    labels = np.tile([0, 1], 25)
    assert fit_temperature(labels, (2.0 * labels - 1) * 3) == pytest.approx(3 / np.log(26), rel=1e-3)  # Platt's target


@pytest.mark.parametrize("levels", [None, 8])
@pytest.mark.parametrize("floor", [0.5, 0.95, 1.0])
def test_recall_floor_takes_the_best_precision_that_keeps_the_recall(floor: float, levels: int | None) -> None:
    labels, margin = overconfident(300, 1.0, seed=3)
    p_crack = 1 / (1 + np.exp(-margin))
    p_crack = np.round(p_crack * levels) / levels if levels else p_crack
    threshold, rule = choose_threshold(labels, p_crack, ThresholdConfig(recall=floor))
    best = max(
        precision_score(labels, p_crack >= candidate)
        for candidate in p_crack
        if recall_score(labels, p_crack >= candidate) >= floor
    )
    assert recall_score(labels, p_crack >= threshold) >= floor
    assert precision_score(labels, p_crack >= threshold) == pytest.approx(best)
    assert f"recall >= {floor:g}" in rule


def test_best_f1_and_fixed() -> None:
    labels, margin = overconfident(300, 1.0, seed=4)
    p_crack = 1 / (1 + np.exp(-margin))
    threshold, _ = choose_threshold(labels, p_crack, ThresholdConfig(rule="best_f1"))
    best = max(f1_score(labels, p_crack >= candidate) for candidate in p_crack)
    assert f1_score(labels, p_crack >= threshold) == pytest.approx(best)
    assert choose_threshold(labels, p_crack, ThresholdConfig(rule="fixed", value=0.3)) == (0.3, "fixed at 0.3")


def test_calibration_survives_its_file_and_lowers_p_crack(tmp_path) -> None:
    calibration = Calibration(2.0, 0.4, "stated")
    write_calibration(calibration, tmp_path / "calibration.json")
    assert read_calibration(tmp_path / "calibration.json") == calibration
    assert calibration.p_crack(np.array([0.0, -900]), np.array([2.0, 900])) == pytest.approx([0.7310585786, 1])
    (tmp_path / "calibration.json").write_text('{"temperature": 1}{')
    with pytest.raises(InputError, match=r"is not a calibration\.json"):
        read_calibration(tmp_path / "calibration.json")


def test_validation_without_cracks_is_refused() -> None:
    val = pd.DataFrame({"label": [0, 0], "logit_0": 0.0, "logit_1": [0.1, 0.2]})
    with pytest.raises(InputError, match="2 tiles without and 0 with cracks"):
        calibrate(val, ThresholdConfig())
