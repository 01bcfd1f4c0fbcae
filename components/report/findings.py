"""What a run found, as the report and its summary show it."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.shared.results.dossier import measurements_of, read_verdict
from components.shared.results.measurements import Measurement, Measurements
from components.shared.results.slices import WHOLE


@dataclass(frozen=True)
class Run:
    """What was run on what.

    Attributes:
        job: The pipeline job's id.
        data_uri: The labelled tiles, as the run was told.
        seed: The run's seed.
        note: The person's own sentence.
        dataset_digest: sha256 of the data set version's content.
        images: Number of images in it.
    """

    job: str
    data_uri: str
    seed: int
    note: str
    dataset_digest: str
    images: int


@dataclass(frozen=True)
class Candidate:
    """A candidate's dossier.

    Attributes:
        name: As the parameter file names it.
        folder: The dossier's folder.
        verdict: What verdict.json holds.
        measurements: All measured numbers.
    """

    name: str
    folder: Path
    verdict: dict[str, Any]
    measurements: Measurements

    def measured(self, name: str, split: str) -> Measurement | None:
        """A number on a whole split after fine-tuning, None where it was not measured."""
        return self.measurements.find(name, split)


@dataclass(frozen=True)
class Findings:
    """Everything that the report tells of.

    Attributes:
        run: What was run on what.
        candidates: The winner first, the others in the parameter file's order.
        choice: What choice.json holds.
        registration: The record of register or refuse: registered, reasons; name, version and alias where registered.
    """

    run: Run
    candidates: tuple[Candidate, ...]
    choice: dict[str, Any]
    registration: dict[str, Any]


def read_findings(run: Run, dossiers: Sequence[str | Path], choice: str | Path, registration: str) -> Findings:
    """Read the candidates' dossiers, the choice and the registration's record (JSON)."""
    chosen = json.loads(Path(choice).read_text("utf-8"))
    candidates = sorted(
        (_read_candidate(Path(folder)) for folder in dossiers), key=lambda found: found.name != chosen["winner"]
    )
    return Findings(run, tuple(candidates), chosen, json.loads(registration))


def headline(findings: Findings) -> str:
    """The outcome in one sentence."""
    record, winner = findings.registration, findings.choice["winner"]
    if record["registered"]:
        return f"{winner} registered as {record['name']} version {record['version']}, {record['alias']}"
    if winner is None:
        return "No candidate passed; nothing was registered"
    return f"{winner} was selected but not registered"


def outcome(findings: Findings) -> str:
    """The outcome, the reason for it and the person's own sentence, Markdown."""
    return "\n\n".join(filter(None, (headline(findings), findings.choice["reasoning"], findings.run.note)))


def summarise(findings: Findings) -> dict[str, Any]:
    """The outcome for programs.

    Numbers after fine-tuning stand under candidates.<name>.<split>.<metric>, None where undefined; `model` is None
    where nothing was registered.
    """
    run, record = findings.run, findings.registration
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
        "model": {key: record.get(key) for key in ("name", "version", "alias")} if record["registered"] else None,
    }


def _read_candidate(folder: Path) -> Candidate:
    verdict = read_verdict(folder)
    return Candidate(verdict["candidate"], folder, verdict, measurements_of(folder))


def _numbers(candidate: Candidate) -> dict[str, Any]:
    numbers: dict[str, Any] = {"passed": candidate.verdict["passed"], "verdict": candidate.verdict["rows"]}
    for row in candidate.measurements.where(slice=WHOLE, condition="after"):
        numbers.setdefault(row.split, {})[row.name] = row.value if math.isfinite(row.value) else None
    return numbers
