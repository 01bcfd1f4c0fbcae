"""What the HTTP server adds to the answers of a model."""

import pandas as pd
import pytest

from components.shared.network.served_http import NamedModel

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
