"""The candidate against the champion."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from components.gate.champion import compare, mcnemar
from components.gate.config import ChampionConfig
from components.gate.verdict import judge
from components.shared.predictions import Predictions, empty_predictions


def scored(skill: float, seed: int, images: int = 400, group: int = 4) -> Predictions:
    rng = np.random.default_rng(seed)
    label = np.arange(images) % 2
    margin = rng.normal(size=images) + skill * (label - 0.5)
    table = pd.DataFrame(
        {
            "sample_id": [str(i) for i in range(images)],
            "split": "test",
            "group_id": [str(i // group) for i in range(images)],
            "label": label,
            "condition": "after",
            "corruption": "clean",
            "p_crack": 1 / (1 + np.exp(-margin)),
        }
    )
    return Predictions(table, np.zeros((images, 1)))


@pytest.mark.parametrize(
    ("skill", "require", "verdict", "passed"),
    [
        (5.0, "better", "better", True),
        (3.0, "not_worse", "not worse", True),
        (3.0, "better", "not worse", False),
        (1.0, "not_worse", "worse", False),
    ],
)
def test_better_equal_and_worse(skill: float, require: str, verdict: str, passed: bool) -> None:
    champion, candidate = scored(3.0, seed=1), scored(skill, seed=1 if skill == 3 else 2)
    found = compare(candidate, champion, "3", ChampionConfig(margin=0.02, require=require))
    assert found.verdict == verdict
    difference = found.measurements[0]
    expected = [roc_auc_score(p.table.label, p.table.p_crack) for p in (candidate, champion)]
    assert difference.value == pytest.approx(expected[0] - expected[1])
    (row,) = judge(list(found.measurements), found.limits)
    assert row.passed is passed
    assert row.low == difference.low


def test_pairing_is_by_image_and_what_the_champion_knew_is_left_out() -> None:
    candidate, champion = scored(3.0, seed=1), scored(3.0, seed=1)
    shuffled = champion.table.sample(frac=1, random_state=0).head(300)
    found = compare(candidate, Predictions(shuffled, np.zeros((300, 1))), "3", ChampionConfig())
    assert found.left_out == 100
    assert "100 were left out" in found.text
    assert found.measurements[0].value == 0
    assert found.measurements[1].value == 1


def test_the_first_model_meets_absolute_limits_only_and_is_told_so() -> None:
    found = compare(scored(3.0, seed=1), empty_predictions(), "", ChampionConfig())
    assert (found.verdict, found.limits) == ("no champion", ())
    assert "only the absolute limits" in found.text


def test_too_few_common_images_refuse_with_a_reason() -> None:
    champion = scored(3.0, seed=1, images=10)
    found = compare(scored(3.0, seed=1), champion, "3", ChampionConfig())
    assert found.verdict == "not comparable"
    assert np.isnan(found.measurements[0].value)
    assert "only 10 of 400 test images are unknown to the champion" in found.text
    assert len(found.limits) == 1


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (3, 3), (1, 9), (30, 12)])
def test_mcnemar_is_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    labels = np.ones(only_first + only_second + 5, int)
    first, second = np.full(len(labels), 0.9), np.full(len(labels), 0.9)
    second[:only_first] = 0.1
    first[only_first : only_first + only_second] = 0.1
    disagree = only_first + only_second
    expected = binomtest(only_first, disagree).pvalue if disagree else 1.0
    assert mcnemar(labels, first, second) == pytest.approx(expected)
