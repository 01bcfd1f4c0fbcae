"""What a served model adds to its answers, and what it counts and logs about them."""

import base64
import hashlib
import json
import random

import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from components.shared.data.novelty import STRANGE
from components.shared.network import served_answers
from components.shared.network.served_answers import Metrics, NamedModel, ObservedModel, require_answer

ANSWERS = {"p_crack": [0.2, 0.9], "label": ["no_crack", "crack"], "threshold": 0.5, "novelty": 0.3}


class LoadedModel:
    """A model as MLflow loads it. Its answers are given."""

    metadata = "what MLflow knows about the model"

    def __init__(self, answers: dict):
        self.answers = answers

    def predict(self, data: pd.DataFrame, params: dict | None = None) -> pd.DataFrame:
        return pd.DataFrame(self.answers)


@pytest.mark.parametrize(("band", "expected"), [({"needs_review": [True, False]}, [True, False]), ({}, [None, None])])
def test_every_answer_names_the_model_and_a_version_without_a_review_band_answers_null(band, expected):
    named = NamedModel(LoadedModel(ANSWERS | band), "crack-classifier", "3")
    found = named.predict(pd.DataFrame({"image": ["", ""]}), params=None)
    assert found["needs_review"].tolist() == expected
    assert list(found) == ["p_crack", "label", "threshold", "novelty", "needs_review", "model", "version"]
    assert found[["model", "version"]].to_numpy().tolist() == [["crack-classifier", "3"]] * 2
    assert named.metadata == LoadedModel.metadata


def test_a_model_that_cannot_answer_is_not_served():
    class Broken(LoadedModel):
        def predict(self, data: pd.DataFrame, params: dict | None = None) -> pd.DataFrame:
            raise ValueError("no weights")

    require_answer(NamedModel(LoadedModel(ANSWERS), "crack-classifier", "3"))
    with pytest.raises(SystemExit, match="cannot classify a test image: ValueError: no weights; serve another version"):
        require_answer(NamedModel(Broken(ANSWERS), "crack-classifier", "3"))


def test_a_model_whose_answers_are_incomplete_is_not_served():
    without_novelty = {name: value for name, value in ANSWERS.items() if name != "novelty"}
    with pytest.raises(SystemExit, match=r"the model's answers have no novelty, .*serve another version"):
        require_answer(NamedModel(LoadedModel(without_novelty), "crack-classifier", "1"))


def observed(answers: dict, metrics: Metrics, images: list[str]) -> pd.DataFrame:
    named = NamedModel(LoadedModel(answers), "crack-classifier", "3")
    return ObservedModel(named, metrics).predict(pd.DataFrame({"image": images}))


def values(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """The samples by their name and the values of their labels, as Prometheus reads them."""
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            found[(sample.name, *sample.labels.values())] = sample.value
    return found


def test_the_metrics_are_those_of_the_answers_and_requests():
    metrics = Metrics("crack-classifier", "3")
    chance = random.Random(1)
    rows = []
    for _ in range(40):
        p_crack, novelty, review = chance.random(), 2 * chance.random(), chance.random() < 0.3
        rows.append((p_crack, novelty, review))
    rows += [(1.0, STRANGE, False), (0.0, STRANGE + 1e-9, True)]  # at the edges

    p_crack, novelty, review = map(list, zip(*rows, strict=True))
    answers = {"p_crack": p_crack, "label": "crack", "threshold": 0.5, "novelty": novelty, "needs_review": review}
    observed(answers, metrics, ["AAAA"] * len(rows))
    for status, seconds in ((200, 0.2), (200, 3.0), (503, 0.001)):
        metrics.count_request(status, seconds)

    found = values(metrics)
    assert found["crack_model_info", "crack-classifier", "3"] == 1
    assert found["crack_requests_total", "200"] == 2
    assert found["crack_requests_total", "503"] == 1
    assert found["crack_request_seconds_count",] == 3
    assert found["crack_request_seconds_sum",] == pytest.approx(3.201)
    assert found["crack_request_seconds_bucket", "0.25"] == 2
    assert found["crack_p_crack_count",] == len(rows)
    assert found["crack_p_crack_sum",] == pytest.approx(sum(p_crack))
    for bound in ("0.001", "0.5", "0.9", "1.0"):
        assert found["crack_p_crack_bucket", bound] == sum(one <= float(bound) for one in p_crack)
    assert found["crack_images_out_of_distribution_total",] == sum(one > STRANGE for one in novelty)
    assert found["crack_images_needing_review_total",] == sum(review)


def test_a_version_without_a_review_band_counts_no_image_as_needing_review():
    metrics = Metrics("crack-classifier", "3")
    observed(ANSWERS, metrics, ["AAAA", "BBBB"])
    assert values(metrics)["crack_images_needing_review_total",] == 0


def test_the_log_has_the_hash_of_each_image_file_and_its_scores_but_not_the_image(capsys):
    files = [random.Random(seed).randbytes(3000) for seed in (1, 2)]
    images = [base64.b64encode(file).decode() for file in files]
    observed(ANSWERS, Metrics("crack-classifier", "3"), images)
    text = capsys.readouterr().out
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["sha256"] for line in lines] == [hashlib.sha256(file).hexdigest() for file in files]
    assert [(line["p_crack"], line["label"], line["needs_review"]) for line in lines] == [
        (0.2, "no_crack", None), (0.9, "crack", None),
    ]  # fmt: skip
    assert {(line["model"], line["version"], line["novelty"]) for line in lines} == {("crack-classifier", "3", 0.3)}
    assert len(text) < 600  # there is no room for an image


def test_an_image_is_strange_above_the_same_novelty_as_elsewhere():
    assert served_answers.STRANGE == STRANGE
