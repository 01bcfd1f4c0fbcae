"""The output of a finished run."""

import io
from pathlib import Path

from rich.console import Console

from pipelines.local.results import show_results


def shown(**changes) -> str:
    numbers = {"accuracy": 0.98765, "f1": 0.5, "auroc": None}
    row = {"why": "recall 0.81 is below 0.9", "passed": False}
    candidate = {"test": numbers, "robustness": {"accuracy": 0.75}, "passed": False, "verdict": [row]}
    summary = {
        "candidates": {"cnn": candidate},
        "winner": None,
        "model": None,
        "reasoning": "no candidate passed",
        "seconds": {"ingest": {"work": 2.0, "overhead": 1.5}, "train cnn": {"work": 30.0, "overhead": 6.0}},
        "seconds_total": 41.0,
    }
    text = io.StringIO()
    show_results(summary | changes, Path("here"), Console(file=text, width=120))
    return text.getvalue()


def test_a_refusal_tells_numbers_and_reasons() -> None:
    out = shown()
    for words in (
        "0.9877",
        "0.5000",
        "n/a",
        "0.7500",
        "refused",
        "no candidate passed",
        "cnn: recall 0.81 is below 0.9",
    ):
        assert words in out
    assert "here/report.html" in out
    assert "mlflow-ui --workdir here" in out


def test_overhead_in_all_is_what_is_not_own_work() -> None:
    last = [line for line in shown().splitlines() if line.startswith("│ all")]
    assert [cell.strip() for cell in last[0].strip("│").split("│")] == ["all", "32.0", "9.0"]


def test_a_winner_is_told_with_its_version_and_the_reason() -> None:
    model = {"name": "crack-classifier", "version": "3", "alias": "challenger"}
    out = shown(winner="cnn", model=model, reasoning="cnn was chosen: AUROC 0.97 against vit 0.95.")
    assert "winner: cnn, registered as crack-classifier version 3 (challenger)" in out
    assert "why: cnn was chosen: AUROC 0.97 against vit 0.95." in out
