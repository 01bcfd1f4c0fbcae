"""Test which candidate wins, and the reasoning that is written."""

import json
from pathlib import Path

import pytest

from components.select.config import SelectConfig
from components.select.run import choose
from components.shared.errors import InputError
from components.shared.results.measurements import Measurement, write_measurements
from components.shared.services.records import read_record
from components.shared.services.store import Store


def dossier(folder: Path, name: str, passed: bool, value: float, low: float | None, cost: float = 1.0) -> Path:
    """Write the files that select reads. `low` is the lower end of AUROC's interval, and `cost` is in gigaflops."""
    path = folder / name
    path.mkdir()
    (path / "verdict.json").write_text(json.dumps({"candidate": name, "passed": passed, "rows": []}))

    rows = [
        Measurement("auroc", 0.99, split="val", low=0.99, high=1),
        Measurement("auroc", value, low=low, high=1.0),
        Measurement("inference_gigaflops", cost),
    ]
    write_measurements(rows, path / "measurements.parquet")
    return path


@pytest.mark.parametrize(
    ("candidates", "options", "winner"),
    [
        ([("a", True, 0.97, 0.80), ("b", True, 0.95, 0.90)], {}, "b"),
        ([("a", True, 0.97, 0.80), ("b", True, 0.95, 0.90)], {"on": "value"}, "a"),
        ([("a", True, 0.90, 0.80), ("b", False, 0.99, 0.98)], {}, "a"),
        ([("a", True, 0.90, 0.85), ("b", True, 0.90, 0.85)], {}, "a"),
        ([("a", True, 0.90, 0.84), ("b", True, 0.90, 0.85)], {"tie": 0.02}, "a"),
        ([("a", True, 0.91, 0.85), ("b", True, 0.95, 0.84)], {"tie": 0.02}, "b"),
        ([("a", True, 0.95, 0.85, 33.7), ("b", True, 0.91, 0.84, 8.2)], {"tie": 0.02}, "b"),
        ([("a", True, 0.95, 0.85, 33.7), ("b", True, 0.91, 0.82, 8.2)], {"tie": 0.02}, "a"),
        ([("a", True, 0.95, 0.85, float("nan")), ("b", True, 0.91, 0.84, 8.2)], {"tie": 0.02}, "b"),
        ([("a", False, 0.9, 0.8), ("b", False, 0.9, 0.8)], {}, ""),
    ],
)
def test_winner(tmp_path: Path, s3: str, candidates: list, options: dict, winner: str) -> None:
    folders = [dossier(tmp_path, *candidate) for candidate in candidates]
    config = SelectConfig(store=s3, **options)
    assert choose(folders, tmp_path / "choice.json", config, "job") == winner

    choice = json.loads((tmp_path / "choice.json").read_text())
    assert choice["winner"] == (winner or None)
    assert choice["candidates"] == {name: passed for name, passed, *_ in candidates}
    assert (winner or "No candidate passed") in choice["reasoning"]
    for name, passed, *_ in candidates:
        assert passed or name in choice["reasoning"]
    assert read_record(Store(s3), "runs/job/choice.json", dict, "") == choice


def test_a_metric_that_was_not_measured_is_an_error(tmp_path: Path, s3: str) -> None:
    folder = dossier(tmp_path, "a", True, 0.9, None)
    with pytest.raises(InputError, match=r'"a" has no lower end of the 95 % interval of AUROC on test'):
        choose([folder], tmp_path / "choice.json", SelectConfig(store=s3), "job")


@pytest.mark.parametrize(("low", "tied"), [(0.84, True), (0.82, False)])
def test_the_reasoning_names_a_tie_that_the_cost_decides(tmp_path: Path, s3: str, low: float, tied: bool) -> None:
    folders = [dossier(tmp_path, "a", True, 0.95, 0.85, 33.7), dossier(tmp_path, "b", True, 0.91, low, 8.2)]
    choose(folders, tmp_path / "choice.json", SelectConfig(store=s3, tie=0.02), "job")
    reasoning = json.loads((tmp_path / "choice.json").read_text())["reasoning"]
    assert ("The difference is a tie (at most 0.02), so the cheaper network won." in reasoning) == tied
    assert "is 0.8500 (AUROC 0.9500, 33.7 gigaflops per tile)." in reasoning


@pytest.mark.parametrize(
    ("value", "decided"),
    [
        (0.97, "and no tied network is cheaper, so the higher AUROC won."),
        (0.91, "so the first candidate in the parameter file won."),
    ],
)
def test_the_reasoning_says_what_decides_a_tie_of_equally_cheap_networks(
    tmp_path: Path, s3: str, value: float, decided: str
) -> None:
    folders = [dossier(tmp_path, "a", True, value, 0.84), dossier(tmp_path, "b", True, 0.91, 0.85)]
    assert choose(folders, tmp_path / "choice.json", SelectConfig(store=s3, tie=0.02), "job") == "a"
    reasoning = json.loads((tmp_path / "choice.json").read_text())["reasoning"]
    assert reasoning.startswith("a was chosen by test AUROC. Candidates are compared by the lower end of the 95 %")
    assert "For a, this lower end is 0.84" in reasoning
    assert "For b, it is 0.8500" in reasoning
    assert "The difference is a tie (at most 0.02)" in reasoning
    assert decided in reasoning
