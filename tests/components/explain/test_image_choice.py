import numpy as np
import pandas as pd
import pytest

from components.explain.image_choice import NEAR, RIGHT, WRONG, choose_measured, choose_shown, decide
from components.shared.results.calibration import Calibration


def predictions(logits: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    count = len(logits)
    surfaces = ["deck" if index % 3 else "wall" for index in range(count)]
    names = [f"{index:064x}" for index in range(count)]
    return pd.DataFrame({"sample_id": names, "surface": surfaces, "label": labels, "logit_0": 0.0, "logit_1": logits})


@pytest.fixture
def decided() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    return decide(predictions(rng.normal(2.5 * (2 * labels - 1), 2.5), labels), Calibration())


def test_the_decision_uses_temperature_and_threshold():
    """The threshold 0.5 for the uncalibrated P(crack) would give other answers."""
    table = decide(predictions(np.array([1.0, 3.0]), np.array([0, 1])), Calibration(temperature=2.0, threshold=0.7))
    assert table["score"].tolist() == pytest.approx([1 / (1 + np.exp(-0.5)), 1 / (1 + np.exp(-1.5))])
    assert table["decision"].tolist() == [0, 1]
    assert table["right"].all()


def test_the_gallery_contains_images_for_each_reason_in_its_captions(decided):
    shown = choose_shown(decided, 24)
    assert len(shown) == 24
    assert shown["sample_id"].is_unique
    assert set(shown["reason"]) == {WRONG, NEAR, RIGHT}
    assert not shown.loc[shown["reason"] == WRONG, "right"].any()
    assert shown.loc[shown["reason"] == RIGHT, "right"].all()
    near = shown.loc[shown["reason"] == NEAR, "margin"].max()
    assert near < shown.loc[shown["reason"] != NEAR, "margin"].min()
    assert set(shown.loc[shown["reason"] == RIGHT, "surface"]) == {"deck", "wall"}
    assert set(shown.loc[shown["reason"] == RIGHT, "label"]) == {0, 1}


def test_if_no_answer_is_wrong_more_right_answers_are_shown(decided):
    shown = choose_shown(decided[decided["right"]], 24)
    assert len(shown) == 24
    assert WRONG not in set(shown["reason"])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_all_images_of_a_small_split_are_shown(decided, count):
    assert len(choose_shown(decided.head(count), 24)) == count


def test_measured_images_are_cracks_drawn_at_random(decided):
    chosen = choose_measured(decided, 40, seed=1)
    assert len(chosen) == 40
    assert (chosen["label"] == 1).all()
    assert chosen["sample_id"].is_unique
    assert chosen.equals(choose_measured(decided, 40, seed=1))
    assert set(chosen["sample_id"]) != set(choose_measured(decided, 40, seed=2)["sample_id"])
    everything = choose_measured(decided, 10_000, seed=1)
    assert len(everything) == (decided["label"] == 1).sum()
