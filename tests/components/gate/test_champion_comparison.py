"""The candidate against the champion."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, recall_score, roc_auc_score

from components.gate.champion_comparison import Deployed, compare, mcnemar
from components.gate.config import ChampionConfig
from components.gate.limits import judge
from components.shared.results.calibration import Calibration
from components.shared.results.measurements import Measurements
from components.shared.results.predictions import Predictions, empty_predictions
from components.shared.results.slices import WHOLE, Slice


def scored(skill: float, seed: int, images: int = 400, group: int = 4, **calibration: float) -> Deployed:
    rng = np.random.default_rng(seed)
    label = np.arange(images) % 2
    margin = rng.normal(size=images) + skill * (label - 0.5)
    table = pd.DataFrame(
        {
            "sample_id": [str(i) for i in range(images)],
            "split": "test",
            "group_id": [str(i // group) for i in range(images)],
            "source": "drawn",
            "surface": np.where(np.arange(images) // group % 4 == 0, "wall", "deck"),
            "label": label,
            "condition": "after",
            "corruption": "clean",
            "logit_0": 0.0,
            "logit_1": margin,
        }
    )
    return Deployed(Predictions(table, np.zeros((images, 1))), Calibration(**calibration))


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
    difference = Measurements(found.measurements).find("auroc_minus_champion")
    expected = [roc_auc_score(t.label, t.logit_1) for t in (candidate.predictions.table, champion.predictions.table)]
    assert difference.value == pytest.approx(expected[0] - expected[1])
    (row,) = judge(Measurements(found.measurements), found.limits)
    assert row.passed is passed
    assert row.low == difference.low


def test_pairing_is_by_image_and_what_the_champion_knew_is_left_out() -> None:
    candidate, champion = scored(3.0, seed=1), scored(3.0, seed=1)
    shuffled = champion.predictions.table.sample(frac=1, random_state=0).head(300)
    fewer = Deployed(Predictions(shuffled, np.zeros((300, 1))), Calibration())
    found = compare(candidate, fewer, "3", ChampionConfig())
    assert found.left_out == 100
    assert "100 were left out" in found.text
    assert {one.value for one in found.differences} == {0}
    assert found.measurements[-1].name == "mcnemar_p"
    assert found.measurements[-1].value == 1


def test_both_are_compared_as_they_are_deployed_on_every_metric_and_surface() -> None:
    candidate, champion = scored(3.0, 1, temperature=2.0, threshold=0.3), scored(2.0, 2, temperature=0.5, threshold=0.8)
    found = compare(candidate, champion, "3", ChampionConfig(resamples=200))
    for part in (WHOLE, Slice.of(surface="wall"), Slice.of(surface="deck")):
        tables = [one.predictions.table for one in (candidate, champion)]
        for column, value in part.pairs:
            tables = [table[table[column] == value] for table in tables]
        labels = [table.label for table in tables]
        p_crack = [expit(table.logit_1 / heat) for table, heat in zip(tables, (2.0, 0.5), strict=True)]
        recalls = [recall_score(y, p >= cut) for y, p, cut in zip(labels, p_crack, (0.3, 0.8), strict=True)]
        briers = [brier_score_loss(y, p) for y, p in zip(labels, p_crack, strict=True)]
        one = {d.metric: d for d in found.differences if d.slice == part}
        assert (one["recall"].candidate, one["recall"].champion) == pytest.approx(recalls)
        assert one["brier"].value == pytest.approx(briers[0] - briers[1])
        assert one["recall"].low < one["recall"].value < one["recall"].high
    assert found.pairs is not None
    assert found.pairs["crack"].tolist() == (expit(candidate.predictions.table.logit_1 / 2) >= 0.3).tolist()


def test_a_metric_that_one_of_them_lacks_is_no_number_and_a_limit_on_it_fails() -> None:
    silent = scored(3.0, seed=1, threshold=1.1)  # calls nothing a crack, so it has no precision
    found = compare(silent, scored(3.0, seed=1), "3", ChampionConfig(resamples=200, metric="f1"))
    precision = next(row for row in found.measurements if row.name == "precision_minus_champion")
    assert np.isnan(precision.value)
    assert precision.note == "undefined for one of the two"
    assert found.verdict == "worse"


def test_the_first_model_meets_absolute_limits_only_and_is_told_so() -> None:
    found = compare(scored(3.0, seed=1), Deployed(empty_predictions(), Calibration()), "", ChampionConfig())
    assert (found.verdict, found.limits) == ("no champion", ())
    assert "only the absolute limits" in found.text


def test_a_refusal_for_want_of_photos_is_told_from_one_for_a_worse_model() -> None:
    champion = scored(2.0, seed=1, images=40)
    better, worse = (compare(scored(skill, 2, 40), champion, "3", ChampionConfig()) for skill in (3.0, 0.0))
    assert better.verdict == worse.verdict == "worse"
    assert re.search(r"is not shown to be within 0.01 of the champion; about [\d,]+ photos like these 10", better.text)
    assert "is worse than the champion: AUROC differs" in worse.text


def copied(deployed: Deployed, times: int) -> Deployed:
    tables = [
        deployed.predictions.table.assign(**{
            name: f"{copy}-" + deployed.predictions.table[name] for name in ("sample_id", "group_id")
        })
        for copy in range(times)
    ]  # fmt: skip
    return Deployed(Predictions(pd.concat(tables), np.zeros((times * len(tables[0]), 1))), deployed.calibration)


def test_as_many_photos_as_it_names_do_tell() -> None:
    pair = scored(3.2, 2, 200), scored(3.0, 1, 200)
    config = ChampionConfig(margin=0.01, resamples=1000)
    few = compare(*pair, "3", config)
    assert few.verdict == "worse"
    needed = int(re.search(r"about (\d+) photos like these 50 would tell", few.text)[1])
    times = needed / 50
    assert compare(*(copied(one, int(times)) for one in pair), "3", config).verdict == "worse"
    assert compare(*(copied(one, int(np.ceil(1.2 * times))) for one in pair), "3", config).verdict == "not worse"


def test_a_comparison_that_few_photos_bear_says_so() -> None:
    good, usual = (scored(skill, 1, group=20) for skill in (6.0, 3.0))
    assert "Few photos bear this" in compare(good, good, "3", ChampionConfig()).text
    found = compare(usual, usual, "3", ChampionConfig())
    assert "Few photos" not in found.text
    assert "on 400 test images of 20 photos" in found.text


def test_too_few_common_images_refuse_with_a_reason() -> None:
    champion = scored(3.0, seed=1, images=10)
    found = compare(scored(3.0, seed=1), champion, "3", ChampionConfig())
    assert found.verdict == "not comparable"
    assert np.isnan(found.measurements[0].value)
    same = scored(3.0, seed=1, images=40, group=10)
    few = compare(same, same, "3", ChampionConfig())
    assert few.verdict == "not comparable"  # of 4 photos
    assert "only 10 of 400 test images are unknown to the champion" in found.text
    assert len(found.limits) == 1


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (3, 3), (1, 9), (30, 12)])
def test_mcnemar_is_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    labels = np.ones(only_first + only_second + 5, int)
    first, second = np.ones(len(labels), bool), np.ones(len(labels), bool)
    second[:only_first] = False
    first[only_first : only_first + only_second] = False
    disagree = only_first + only_second
    expected = binomtest(only_first, disagree).pvalue if disagree else 1.0
    assert mcnemar(labels, first, second) == pytest.approx(expected)
