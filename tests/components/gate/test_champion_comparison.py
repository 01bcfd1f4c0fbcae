"""Test the comparison of candidate and champion: the differences, the verdicts, and their texts."""

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
    """Draw random answers. `skill` is the distance between the classes, and `group` the number of tiles in a photo."""
    rng = np.random.default_rng(seed)
    label = np.arange(images) % 2
    margin = rng.normal(size=images) + skill * (label - 0.5)

    table = pd.DataFrame(
        {
            "sample_id": np.arange(images).astype(str),
            "split": "test",
            "group_id": (np.arange(images) // group).astype(str),
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


def auroc_of(deployed: Deployed) -> float:
    table = deployed.predictions.table
    return roc_auc_score(table["label"], table["logit_1"])


@pytest.mark.parametrize(
    ("skill", "require", "verdict", "passed"),
    [
        (5.0, "better", "better", True),
        (3.0, "not_worse", "not worse", True),
        (3.0, "better", "not worse", False),
        (1.0, "not_worse", "worse", False),
    ],
)
def test_a_candidate_is_better_not_worse_or_worse(skill: float, require: str, verdict: str, passed: bool) -> None:
    champion, candidate = scored(3.0, seed=1), scored(skill, seed=1 if skill == 3 else 2)
    found = compare(candidate, champion, "3", ChampionConfig(margin=0.02, require=require))
    assert found.verdict == verdict

    difference = Measurements(found.measurements).find("auroc_minus_champion")
    expected = auroc_of(candidate) - auroc_of(champion)
    assert difference.value == pytest.approx(expected)

    (row,) = judge(Measurements(found.measurements), found.limits)
    assert row.passed is passed
    assert row.low == difference.low


def test_answers_are_compared_tile_by_tile_without_the_champions_training_tiles() -> None:
    candidate = scored(3.0, seed=1)
    champion = scored(3.0, seed=1)
    shuffled = champion.predictions.table.sample(frac=1, random_state=0).head(300)
    fewer = Deployed(Predictions(shuffled, np.zeros((300, 1))), Calibration())
    found = compare(candidate, fewer, "3", ChampionConfig())

    assert found.left_out == 100
    assert "The comparison excludes 100 tiles, because the champion was trained on them" in found.text
    assert {one.value for one in found.differences} == {0}
    assert found.measurements[-1].name == "mcnemar_p"
    assert found.measurements[-1].value == 1


@pytest.mark.parametrize("part", [WHOLE, Slice.of(surface="wall"), Slice.of(surface="deck")], ids=str)
def test_both_models_are_compared_as_deployed_in_every_metric_and_slice(part: Slice) -> None:
    candidate = scored(3.0, 1, temperature=2.0, threshold=0.3)
    champion = scored(2.0, 2, temperature=0.5, threshold=0.8)
    found = compare(candidate, champion, "3", ChampionConfig(resamples=200))
    difference = {one.metric: one for one in found.differences if one.slice == part}

    recalls, briers = [], []
    for deployed in (candidate, champion):
        table = deployed.predictions.table
        for column, value in part.pairs:
            table = table[table[column] == value]
        p_crack = expit(table["logit_1"] / deployed.calibration.temperature)
        recalls.append(recall_score(table["label"], p_crack >= deployed.calibration.threshold))
        briers.append(brier_score_loss(table["label"], p_crack))

    recall = difference["recall"]
    assert (recall.candidate, recall.champion) == pytest.approx(recalls)
    assert recall.low < recall.value < recall.high
    assert difference["brier"].value == pytest.approx(briers[0] - briers[1])


def test_the_pairs_contain_the_decisions_of_both_models() -> None:
    candidate = scored(3.0, 1, temperature=2.0, threshold=0.3)
    found = compare(candidate, scored(2.0, 2), "3", ChampionConfig(resamples=200))
    assert found.pairs is not None
    assert found.pairs["crack"].tolist() == (expit(candidate.predictions.table.logit_1 / 2) >= 0.3).tolist()


def test_a_metric_that_is_undefined_for_one_model_is_nan_and_its_limit_fails() -> None:
    silent = scored(3.0, seed=1, threshold=1.1)  # this model calls nothing a crack, so its precision is undefined
    found = compare(silent, scored(3.0, seed=1), "3", ChampionConfig(resamples=200, metric="f1"))
    precision = Measurements(found.measurements).find("precision_minus_champion")
    assert np.isnan(precision.value)
    assert precision.note == "undefined for one of the two models"
    assert found.verdict == "worse"


def test_without_a_champion_there_is_no_limit_on_a_difference() -> None:
    found = compare(scored(3.0, seed=1), Deployed(empty_predictions(), Calibration()), "", ChampionConfig())
    assert (found.verdict, found.limits) == ("no champion", ())
    assert "only the limits in the parameter file matter" in found.text


def test_the_text_tells_too_few_photos_from_a_worse_model() -> None:
    champion = scored(2.0, seed=1, images=40)
    better = compare(scored(3.0, 2, 40), champion, "3", ChampionConfig())
    assert better.verdict == "worse"
    assert "The test does not show that the candidate is at most 0.01 worse than the champion." in better.text
    assert "the candidate's AUROC minus the champion's AUROC is" in better.text
    assert re.search(r"About [\d,]+ photos of this kind would decide this; this test has 10\.", better.text)

    worse = compare(scored(0.0, 2, 40), champion, "3", ChampionConfig())
    assert worse.verdict == "worse"
    assert "the candidate's AUROC minus the champion's AUROC is -" in worse.text


def copied(deployed: Deployed, times: int) -> Deployed:
    """Return the same answers several times, each time with new tile ids and new photos."""
    table = deployed.predictions.table
    tables = []
    for copy in range(times):
        prefix = f"{copy}-"
        tables.append(table.assign(sample_id=prefix + table["sample_id"], group_id=prefix + table["group_id"]))
    return Deployed(Predictions(pd.concat(tables), np.zeros((times * len(table), 1))), deployed.calibration)


def test_the_number_of_photos_that_a_refusal_names_is_enough() -> None:
    candidate = scored(3.2, 2, 200)
    champion = scored(3.0, 1, 200)
    config = ChampionConfig(margin=0.01, resamples=1000)
    few = compare(candidate, champion, "3", config)
    assert few.verdict == "worse"

    times = int(re.search(r"About (\d+) photos of this kind would decide this; this test has 50", few.text)[1]) / 50
    fewer = int(times)
    more = int(np.ceil(1.2 * times))
    assert compare(copied(candidate, fewer), copied(champion, fewer), "3", config).verdict == "worse"
    assert compare(copied(candidate, more), copied(champion, more), "3", config).verdict == "not worse"


def test_the_text_says_that_an_interval_from_very_few_errors_may_be_too_narrow() -> None:
    good = scored(6.0, 1, group=20)
    warning = "The models make very few errors, so this interval may be too narrow."
    assert warning in compare(good, good, "3", ChampionConfig()).text

    usual = scored(3.0, 1, group=20)
    found = compare(usual, usual, "3", ChampionConfig())
    assert warning not in found.text
    assert "On 400 test tiles of 20 photos" in found.text


def test_too_few_tiles_with_answers_of_both_are_not_compared_and_the_limit_fails() -> None:
    champion = scored(3.0, seed=1, images=10)
    found = compare(scored(3.0, seed=1), champion, "3", ChampionConfig())
    assert found.verdict == "not comparable"
    assert np.isnan(found.measurements[0].value)
    assert "only 10 of 400 test tiles are new to the champion (5 cracks, 3 photos), and these are too few" in found.text
    assert len(found.limits) == 1

    same = scored(3.0, seed=1, images=40, group=10)
    four_photos = compare(same, same, "3", ChampionConfig())
    assert four_photos.verdict == "not comparable"


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (3, 3), (1, 9), (30, 12)])
def test_mcnemar_is_the_exact_binomial_test(only_first: int, only_second: int) -> None:
    labels = np.ones(only_first + only_second + 5, int)
    first, second = np.ones(len(labels), bool), np.ones(len(labels), bool)
    second[:only_first] = False
    first[only_first : only_first + only_second] = False
    disagree = only_first + only_second
    expected = binomtest(only_first, disagree).pvalue if disagree else 1.0
    assert mcnemar(labels, first, second) == pytest.approx(expected)
