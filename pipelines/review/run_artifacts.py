"""Read the candidates' answers from the artifacts of a run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.shared.data.manifest import Manifest, read_manifest
from components.shared.errors import InputError
from components.shared.results.calibration import Calibration, read_calibration
from components.shared.results.dossier import CALIBRATION, read_verdict
from components.shared.results.predictions import Predictions, read_predictions

MANIFEST = "ingest/manifest"
RUN_AGAIN = "give the artifacts of a run that ended, or run the pipeline again"


@dataclass(frozen=True)
class Candidate:
    """A candidate's answers about the uncorrupted tiles, after fine-tuning.

    Attributes:
        name: The candidate's name in the parameter file.
        threshold: A tile is called a crack if its P(crack) is at least this number.
        tiles: Table (sample_id, group_id, split, label, p_crack), one row for each tile; p_crack is calibrated.
        embeddings: float32 (tiles, features), in the order of `tiles`.
    """

    name: str
    threshold: float
    tiles: pd.DataFrame
    embeddings: np.ndarray


@dataclass(frozen=True)
class RunArtifacts:
    """A run's data set version and the answers of its candidates."""

    manifest: Manifest
    candidates: list[Candidate]


def latest_run(workdir: Path) -> Path:
    """Return the folder with the artifacts of the latest run in a workdir.

    Raises:
        InputError: The workdir has no run that ended with a report.
    """
    report = workdir / "report.html"
    if not report.exists():
        raise InputError(f"workdir {workdir} has no report.html, so no run has ended here; {RUN_AGAIN}")
    return report.resolve().parent / "artifacts"


def read_run(folder: Path) -> RunArtifacts:
    """Read the artifacts of a run.

    Args:
        folder: A folder with the artifacts of one run, in one of three forms: STEP/…, JOB/STEP/… or
            artifacts/JOB/STEP/… (STEP is the name of a step, such as `ingest`).

    Raises:
        InputError: The folder has the artifacts of no run or of several runs, or the artifacts are incomplete.
    """
    found: list[Path] = []
    for pattern in (MANIFEST, f"*/{MANIFEST}", f"artifacts/*/{MANIFEST}"):
        found += folder.glob(pattern)
    if len(found) != 1:
        raise InputError(
            f"{folder} must have the artifacts of one run, but has those of {len(found)} runs (every run has a file "
            f"JOB/{MANIFEST}); {RUN_AGAIN}"
        )
    job = found[0].parents[1]

    candidates = []
    for predict in sorted(job.glob("predict*/predictions")):
        # KFP numbers the tasks of the candidates in the same order: predict, predict-2 and gate, gate-2.
        number = predict.parent.name.removeprefix("predict")
        candidates.append(_read_candidate(predict, job / f"gate{number}" / "dossier"))
    if not candidates:
        raise InputError(f"{job} has no predictions; {RUN_AGAIN}")
    return RunArtifacts(read_manifest(found[0]), candidates)


def _read_candidate(predictions_folder: Path, dossier: Path) -> Candidate:
    if not dossier.is_dir():
        raise InputError(f"{dossier} does not exist, so the candidate's threshold is unknown; {RUN_AGAIN}")
    name = read_verdict(dossier)["candidate"]
    predictions = read_predictions(predictions_folder)
    return as_candidate(name, predictions, read_calibration(dossier / CALIBRATION))


def as_candidate(name: str, predictions: Predictions, calibration: Calibration) -> Candidate:
    """Return a candidate with its calibrated answers about the uncorrupted tiles."""
    rows = predictions.embedded()
    p_crack = calibration.p_crack(rows["logit_0"].to_numpy(), rows["logit_1"].to_numpy())
    tiles = rows[["sample_id", "group_id", "split", "label"]].assign(p_crack=p_crack).reset_index(drop=True)
    return Candidate(name, calibration.threshold, tiles, predictions.embeddings)
