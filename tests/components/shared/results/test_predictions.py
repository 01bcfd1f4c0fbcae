"""A predictions folder is read as it was written. Predictions that would mislead a later step are refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.shared.errors import InputError
from components.shared.results.predictions import empty_predictions, read_predictions, write_predictions


def rows(**changes: object) -> pd.DataFrame:
    table = {
        "sample_id": ["a", "b", "a", "b", "a"],
        "split": ["val", "test", "val", "test", "val"],
        "group_id": ["p", "q", "p", "q", "p"],
        "source": "ccic",
        "surface": "wall",
        "label": [0, 1, 0, 1, 0],
        "condition": ["before", "before", "after", "after", "after"],
        "corruption": ["clean", "clean", "clean", "clean", "fog"],
        "severity": [0, 0, 0, 0, 3],
        "logit_0": [0.0, 1.0, 2.0, -800.0, 0.0],
        "logit_1": [0.0, 3.0, 1.0, 800.0, 0.0],
    }
    return pd.DataFrame(table | changes)


def test_round_trip_with_p_crack_as_softmax(tmp_path: Path) -> None:
    embeddings = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_predictions(rows(), embeddings, tmp_path)
    back = read_predictions(tmp_path)
    assert back.table.drop(columns="p_crack").equals(rows())
    assert back.table["p_crack"].to_numpy() == pytest.approx([0.5, 0.8807970780, 0.2689414214, 1, 0.5])

    assert back.clean("test")["sample_id"].tolist() == ["b"]
    assert back.clean("val", "before")["logit_0"].tolist() == [0.0]
    assert back.embeddings_of("test").tolist() == [[3, 4, 5]]

    write_predictions(rows(), embeddings, tmp_path, gigaflops=8.2)
    assert read_predictions(tmp_path).gigaflops == 8.2


def test_the_empty_table_of_no_champion_is_valid(tmp_path: Path) -> None:
    nothing = empty_predictions()
    write_predictions(nothing.table, nothing.embeddings, tmp_path)
    back = read_predictions(tmp_path)
    assert back.table.empty
    assert back.clean("test").empty


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logit_1": [0.0, np.nan, 1.0, 1.0, 1.0]}, "1 of 5 rows have logits that are not finite.*image b"),
        ({"logit_0": [0.0, 0.0, np.inf, 1.0, 1.0]}, "logits that are not finite.*image a"),
        ({"condition": "after"}, "2 rows are duplicates; the first is .*'a'"),
        ({"label": [0, 1, 0, 2, 0]}, r"column label contains \[2\]; allowed values are \[0, 1\]; run predict again"),
        ({"split": "holdout"}, "column split contains"),
        ({"corruption": ["clean", "clean", "clean", "fog", "fog"]}, "there are 2 embeddings for 1 clean rows"),
    ],
)
def test_broken_predictions_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_predictions(rows(**changes), np.zeros((2, 3)), tmp_path)


def test_a_folder_without_predictions_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{tmp_path} is not a predictions folder"):
        read_predictions(tmp_path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write_predictions(rows(), np.zeros((2, 3)), tmp_path)
    rows().drop(columns="group_id").assign(p_crack=0.5).to_parquet(tmp_path / "predictions.parquet")
    with pytest.raises(InputError, match=r"lacks the columns \['group_id'\]"):
        read_predictions(tmp_path)
