"""Read the results of a run, for the report and its summary."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from components.shared.results.calibration import Calibration, read_calibration
from components.shared.results.dossier import CALIBRATION, measurements_of, read_test_answers, read_verdict
from components.shared.results.measurements import Measurement, Measurements
from components.shared.results.slices import WHOLE


@dataclass(frozen=True)
class Run:
    """A run of the pipeline, and its data.

    Attributes:
        job: The pipeline job's id.
        data_uri: The location of the labelled tiles, as the user wrote it.
        seed: The run's seed.
        note: The user's note for the run; may be empty.
        dataset_digest: sha256 of the data set version's content.
        images: Number of tiles in the data set version.
    """

    job: str
    data_uri: str
    seed: int
    note: str
    dataset_digest: str
    images: int


@dataclass(frozen=True)
class WrongAnswers:
    """A candidate's wrong answers to test tiles. All these tiles have the same label, "crack" or "no crack".

    Attributes:
        asked: Number of test tiles with this label.
        wrong: Number of these tiles that the candidate answers wrongly.
        shown: The wrong answers whose tile the report shows, the most certain first. The columns are those of
            `read_test_answers`.
    """

    asked: int
    wrong: int
    shown: pd.DataFrame


@dataclass(frozen=True)
class Candidate:
    """A candidate and its dossier.

    Attributes:
        name: The candidate's name in the parameter file.
        folder: The dossier's folder.
        verdict: The content of verdict.json.
        measurements: All measured numbers.
        test_answers: The answers to all test tiles, as `read_test_answers` returns them.
        calibration: The candidate's calibration and threshold. The candidate calls a tile a crack if the calibrated
            P(crack) is at least the threshold.
    """

    name: str
    folder: Path
    verdict: dict[str, Any]
    measurements: Measurements
    test_answers: pd.DataFrame
    calibration: Calibration

    def measured(self, name: str, split: str) -> Measurement | None:
        """Return the measurement `name` on all tiles of `split`, after fine-tuning; None if it was not measured."""
        return self.measurements.find(name, split)

    @cached_property
    def missed_cracks(self) -> WrongAnswers:
        """Return the missed cracks: the label is "crack", but the candidate answers "no crack"."""
        return self._wrong_answers(label=1)

    @cached_property
    def false_alarms(self) -> WrongAnswers:
        """Return the false alarms: the label is "no crack", but the candidate answers "crack"."""
        return self._wrong_answers(label=0)

    def reasons_for_refusal(self) -> list[str]:
        """Return the reasons why the gate refused the candidate: one sentence for each limit that was not met."""
        return [row["why"] for row in self.verdict["rows"] if not row["passed"]]

    def _wrong_answers(self, label: int) -> WrongAnswers:
        asked = self.test_answers[self.test_answers["label"] == label]
        wrong = asked[asked["crack"] != asked["label"]]

        certainty = (wrong["p_crack"] - label).abs()
        by_certainty = wrong.loc[certainty.sort_values(ascending=False, kind="stable").index]
        return WrongAnswers(len(asked), len(wrong), by_certainty[by_certainty["image"].notna()])


@dataclass(frozen=True)
class Findings:
    """Everything that the report shows.

    Attributes:
        run: The run and its data.
        candidates: The winner first, then the other candidates in the order of the parameter file.
        choice: The content of choice.json.
        registration: The result of the register step or of the refuse step, with the keys `registered` and `reasons`.
            If the model was registered, there are also the keys `name`, `version` and `alias`.
    """

    run: Run
    candidates: tuple[Candidate, ...]
    choice: dict[str, Any]
    registration: dict[str, Any]

    @property
    def best(self) -> Candidate:
        """Return the winner. If there is no winner, return the candidate with the highest AUROC on test."""
        if self.choice["winner"] is not None:
            return self.candidates[0]
        return max(self.candidates, key=_test_auroc)


def _test_auroc(candidate: Candidate) -> float:
    """Return the AUROC on the test split. Return -1 if it is undefined or was not measured."""
    measured = candidate.measured("auroc", "test")
    if measured is None or math.isnan(measured.value):
        return -1.0
    return measured.value


def read_findings(run: Run, dossiers: Sequence[str | Path], choice: str | Path, registration: str) -> Findings:
    """Read the findings of a run.

    Args:
        run: The run and its data.
        dossiers: The folders that the gate step wrote, one for each candidate.
        choice: Path of choice.json, which the select step wrote.
        registration: The result of the register step or of the refuse step, as JSON.
    """
    chosen = json.loads(Path(choice).read_text("utf-8"))
    candidates = sorted(map(_read_candidate, dossiers), key=lambda candidate: candidate.name != chosen["winner"])
    return Findings(run, tuple(candidates), chosen, json.loads(registration))


def _read_candidate(folder: str | Path) -> Candidate:
    folder = Path(folder)
    verdict = read_verdict(folder)
    return Candidate(
        name=verdict["candidate"],
        folder=folder,
        verdict=verdict,
        measurements=measurements_of(folder),
        test_answers=read_test_answers(folder),
        calibration=read_calibration(folder / CALIBRATION),
    )


def headline(findings: Findings) -> str:
    """Return the outcome in one sentence."""
    record = findings.registration
    winner = findings.choice["winner"]
    if record["registered"]:
        version = f"{record['name']} version {record['version']} ({record['alias']})"
        return f"The network {winner} was registered as {version}"
    if winner is None:
        return "No candidate passed; nothing was registered"
    return f"{winner} was selected but not registered"


def outcome(findings: Findings) -> str:
    """Return the outcome, the reason for the outcome and the user's note, as Markdown."""
    paragraphs = (headline(findings), findings.choice["reasoning"], findings.run.note)
    return "\n\n".join(filter(None, paragraphs))


def summarise(findings: Findings) -> dict[str, Any]:
    """Return the outcome as a dict that programs can read from JSON.

    The numbers after fine-tuning are under the keys candidates.<name>.<split>.<metric>. A number is None if it is
    undefined. `model` is None if no model was registered.
    """
    run = findings.run
    record = findings.registration
    model = {key: record.get(key) for key in ("name", "version", "alias")}
    return {
        "job": run.job,
        "data_uri": run.data_uri,
        "dataset_digest": run.dataset_digest,
        "images": run.images,
        "seed": run.seed,
        "run_note": run.note,
        "outcome": headline(findings),
        "candidates": {candidate.name: _numbers(candidate) for candidate in findings.candidates},
        "winner": findings.choice["winner"],
        "rule": findings.choice["rule"],
        "reasoning": findings.choice["reasoning"],
        "model": model if record["registered"] else None,
    }


def _numbers(candidate: Candidate) -> dict[str, Any]:
    numbers: dict[str, Any] = {"passed": candidate.verdict["passed"], "verdict": candidate.verdict["rows"]}
    for row in candidate.measurements.where(slice=WHOLE, condition="after"):
        of_split = numbers.setdefault(row.split, {})
        of_split[row.name] = row.value if math.isfinite(row.value) else None
    return numbers
