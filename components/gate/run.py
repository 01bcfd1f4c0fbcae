"""Judge a candidate, and write its dossier: one folder with the verdict and all files that support the verdict."""

import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from components.gate.champion_comparison import NOT_ASKED, Comparison, Deployed, compare
from components.gate.config import GateConfig
from components.gate.limits import Row, judge
from components.gate.page import promotion_page
from components.gate.sound_concrete import certain_alarms, show_certain_alarms
from components.gate.wrong_answers import with_images
from components.shared.data.manifest import read_manifest
from components.shared.data.versions import read_images
from components.shared.markdown import markdown_table
from components.shared.results import dossier
from components.shared.results.calibration import Calibration, read_calibration
from components.shared.results.measurements import (
    Measurement,
    Measurements,
    read_measurements,
    with_interval,
    write_measurements,
)
from components.shared.results.predictions import read_predictions
from components.shared.results.slices import WHOLE
from components.shared.services.store import Store


class Measured(NamedTuple):
    """The measurement tables of the steps before gate."""

    evaluation: str
    explanation: str
    drift: str


class Pages(NamedTuple):
    """The HTML pages of the steps before gate."""

    training: str
    evaluation: str
    explanation: str
    drift: str


@dataclass(frozen=True)
class Evidence:
    """The paths of the files that a verdict is based on, and the champion's model version.

    Attributes:
        measured: Measurement tables.
        pages: HTML pages.
        calibration: The candidate's calibration.json.
        reference_profile: The drift profile of a sample of the training tiles.
        panels: Folder with the panels that the explain step drew.
        manifest: The data set version's manifest.
        predictions: The candidate's predictions folder.
        champion: The champion's predictions folder. Without a champion, the table in this folder has no rows.
        version: The champion's model version; "" if there is no champion.
    """

    measured: Measured
    pages: Pages
    calibration: str
    reference_profile: str
    panels: str
    manifest: str
    predictions: str
    champion: str
    version: str


def judge_candidate(
    evidence: Evidence, folder: str | Path, page: str | Path, summary: str | Path, config: GateConfig, job: str
) -> dict:
    """Judge a candidate, write its dossier, and store the dossier and the verdict in the candidate's MLflow run.

    Args:
        evidence: The files that the verdict is based on.
        folder: Folder for the dossier.
        page: File to write: a copy of the dossier's promotion page, for Kubeflow.
        summary: File to write: the verdict as Markdown, for Kubeflow.
        config: The limits, and the parameters for the comparison with the champion.
        job: The pipeline job's id.

    Returns:
        The content of verdict.json.
    """
    verdict = write_dossier(evidence, folder, config)
    shutil.copyfile(Path(folder) / dossier.PROMOTION, page)
    Path(summary).write_text(verdict_markdown(verdict), encoding="utf-8")
    _keep_in_mlflow(verdict, folder, job, config)
    return verdict


def write_dossier(evidence: Evidence, folder: str | Path, config: GateConfig) -> dict:
    """Judge the candidate and write its dossier.

    Args:
        evidence: The files that the verdict is based on.
        folder: Folder for verdict.json, measurements.parquet, test_answers.parquet, promotion.html, the pages of
            the steps, and more files. If there is a champion, and the comparison is not switched off,
            champion_pairs.parquet is written too.
        config: The limits, and the parameters for the comparison with the champion.

    Returns:
        The content of verdict.json.
    """
    candidate = Deployed(read_predictions(evidence.predictions), read_calibration(evidence.calibration))
    comparison = _compare(candidate, evidence, config)
    rows: list[Measurement] = []
    for path in evidence.measured:
        rows += read_measurements(path)
    measurements = Measurements([*rows, *comparison.measurements])
    judged = judge(measurements, config.limits + comparison.limits)
    verdict = _verdict(judged, comparison, evidence.version, config)

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(verdict, indent=2, allow_nan=False) + "\n"
    (folder / dossier.VERDICT).write_text(text, encoding="utf-8")
    write_measurements(measurements, folder / dossier.MEASUREMENTS)
    if comparison.pairs is not None:
        comparison.pairs.to_parquet(folder / dossier.PAIRS, index=False)
    _copy_files(evidence, folder)

    store = Store(config.store)
    manifest = read_manifest(evidence.manifest).table
    test_answers = with_images(candidate.answers(), manifest, store, config.wrong_tiles)
    test_answers.to_parquet(folder / dossier.TEST_ANSWERS, index=False)

    def read_tiles(sample_ids: list[str]) -> pd.DataFrame:
        rows = manifest.set_index("sample_id", drop=False).loc[sample_ids]
        return rows[["path"]].assign(data=read_images(store, rows))

    shown = config.champion.shown if config.champion else 0
    page = promotion_page(verdict, comparison, read_tiles, shown)
    show_certain_alarms(page, certain_alarms(candidate, manifest), read_tiles, config.wrong_tiles)
    page.write(folder / dossier.PROMOTION)
    return verdict


def _compare(candidate: Deployed, evidence: Evidence, config: GateConfig) -> Comparison:
    if config.champion is None:
        return NOT_ASKED
    calibration = Calibration()
    if evidence.version:
        calibration = read_calibration(Path(evidence.champion) / dossier.CALIBRATION)
    champion = Deployed(read_predictions(evidence.champion), calibration)
    return compare(candidate, champion, evidence.version, config.champion)


def _verdict(judged: list[Row], comparison: Comparison, version: str, config: GateConfig) -> dict:
    return {
        "candidate": config.candidate,
        "passed": all(row.passed for row in judged),
        "rows": [asdict(row) for row in judged],
        "champion": {
            "version": version,
            "verdict": comparison.verdict,
            "text": comparison.text,
            "left_out": comparison.left_out,
        },
    }


def _copy_files(evidence: Evidence, folder: Path) -> None:
    files = {
        dossier.TRAINING: evidence.pages.training,
        dossier.EVALUATION: evidence.pages.evaluation,
        dossier.EXPLANATION: evidence.pages.explanation,
        dossier.DRIFT: evidence.pages.drift,
        dossier.CALIBRATION: evidence.calibration,
        dossier.PROFILE: evidence.reference_profile,
        dossier.PANELS: evidence.panels,
    }
    for name, path in files.items():
        if Path(path).is_dir():
            shutil.copytree(path, folder / name)
        else:
            shutil.copyfile(path, folder / name)


def verdict_markdown(verdict: dict) -> str:
    """Return the verdict as Markdown: the outcome, the comparison with the champion, and a table of the limits."""
    rows = []
    for row in verdict["rows"]:
        mark = "✓" if row["passed"] else "✗"
        value = with_interval(row["value"], row["low"], row["high"])
        limit = f"{row['op']} {row['limit']:g}"
        rows.append([mark, row["name"], row["split"], row["slice"], value, limit, row["why"]])

    outcome = "passed" if verdict["passed"] else "refused"
    table = markdown_table(["", "measurement", "split", "slice", "value", "limit", "why"], rows)
    return f"**{verdict['candidate']}: {outcome}.** {verdict['champion']['text']}\n\n{table}\n"


def headline(folder: str | Path) -> dict[str, float]:
    """Return the numbers for MLflow as a dict: `<split>_<name>` -> value.

    The dict contains every finite value that was measured on a whole split after fine-tuning.
    """
    numbers = {}
    for row in dossier.measurements_of(folder).where(slice=WHOLE, condition="after"):
        if math.isfinite(row.value):
            numbers[f"{row.split}_{row.name}"] = row.value
    return numbers


def _keep_in_mlflow(verdict: dict, folder: str | Path, job: str, config: GateConfig) -> None:
    from components.shared.services import mlflow_runs

    failed = [row["why"] for row in verdict["rows"] if not row["passed"]]
    reasons = " ".join(failed) or "the candidate reaches every limit"
    tags = {
        "gate": "passed" if verdict["passed"] else "refused",
        "gate.reasons": reasons[: mlflow_runs.LONGEST],
        mlflow_runs.AGAINST: verdict["champion"]["verdict"],
        mlflow_runs.AGAINST_VERSION: verdict["champion"]["version"],
        mlflow_runs.NOTE: verdict_markdown(verdict)[: mlflow_runs.LONGEST],
    }
    mlflow_runs.log_dossier(config.experiment, job, config.candidate, Path(folder), headline(folder), tags)
