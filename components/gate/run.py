"""A candidate's dossier: the verdict and everything it rests on, in one folder."""

import json
import math
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from components.gate.champion_comparison import Comparison, Deployed, compare
from components.gate.config import GateConfig
from components.gate.limits import judge
from components.gate.page import promotion_page
from components.gate.wrong_answers import with_images
from components.shared.data.manifest import read_manifest
from components.shared.data.versions import read_images
from components.shared.results import dossier
from components.shared.results.calibration import Calibration, read_calibration
from components.shared.results.measurements import Measurements, read_measurements, with_interval, write_measurements
from components.shared.results.predictions import read_predictions
from components.shared.results.slices import WHOLE
from components.shared.services.store import Store

PAGES = (dossier.TRAINING, dossier.EVALUATION, dossier.EXPLANATION, dossier.DRIFT)
KEPT = (dossier.CALIBRATION, dossier.PROFILE, dossier.PANELS)  # of evaluate, drift and explain
OFF = Comparison("not asked", "A comparison with the champion was not asked for.")


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Attributes:
        measurements: Tables of evaluate, explain and drift.
        pages: HTML pages, as PAGES names them.
        kept: Further files, as KEPT names them.
        manifest: The data set version's manifest.
        predictions: The candidate's predictions folder.
        champion: The champion's; empty tables where there is none.
        version: The champion's version, "" where there is none.
    """

    measurements: list[str]
    pages: list[str]
    kept: list[str]
    manifest: str
    predictions: str
    champion: str
    version: str


def write_dossier(evidence: Evidence, folder: str | Path, config: GateConfig) -> dict:
    """Judge the candidate and write its dossier.

    Args:
        evidence: What was found out about it.
        folder: Written: verdict.json, measurements.parquet, test_answers.parquet, promotion.html, the pages and further
            files and, where there is a champion, champion_pairs.parquet.
        config: Limits and comparison.

    Returns:
        What verdict.json holds.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    comparison = _comparison(evidence, config)
    rows = [row for path in evidence.measurements for row in read_measurements(path)] + list(comparison.measurements)
    judged = judge(Measurements(rows), config.limits + comparison.limits)
    verdict = {
        "candidate": config.candidate,
        "passed": all(row.passed for row in judged),
        "rows": [asdict(row) for row in judged],
        "champion": {
            "version": evidence.version,
            "verdict": comparison.verdict,
            "text": comparison.text,
            "left_out": comparison.left_out,
        },
    }
    (folder / dossier.VERDICT).write_text(json.dumps(verdict, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    write_measurements(rows, folder / dossier.MEASUREMENTS)
    if comparison.pairs is not None:
        comparison.pairs.to_parquet(folder / dossier.PAIRS, index=False)
    _test_answers(evidence, config).to_parquet(folder / dossier.TEST_ANSWERS, index=False)
    shown = config.champion.shown if config.champion else 0
    page = promotion_page(verdict, comparison, partial(_tiles, evidence.manifest, config.store), shown)
    page.write(folder / dossier.PROMOTION)
    for name, file in zip((*PAGES, *KEPT), (*evidence.pages, *evidence.kept), strict=True):
        (shutil.copytree if Path(file).is_dir() else shutil.copyfile)(file, folder / name)
    return verdict


def _comparison(evidence: Evidence, config: GateConfig) -> Comparison:
    if config.champion is None:
        return OFF
    theirs = read_calibration(Path(evidence.champion) / dossier.CALIBRATION) if evidence.version else Calibration()
    return compare(
        _candidate(evidence), Deployed(read_predictions(evidence.champion), theirs), evidence.version, config.champion
    )


def _candidate(evidence: Evidence) -> Deployed:
    return Deployed(read_predictions(evidence.predictions), read_calibration(evidence.kept[0]))


def _test_answers(evidence: Evidence, config: GateConfig) -> pd.DataFrame:
    manifest = read_manifest(evidence.manifest).table
    return with_images(_candidate(evidence).answers(), manifest, Store(config.store), config.wrong_tiles)


def _tiles(manifest: str, store: str, sample_ids: list[str]) -> pd.DataFrame:
    """Path and image file of a few tiles, by sample_id; read one by one, since a whole version would take longer."""
    rows = read_manifest(manifest).table.set_index("sample_id").loc[sample_ids]
    return rows[["path"]].assign(data=read_images(Store(store), rows))


def verdict_markdown(verdict: dict) -> str:
    """The verdict as a Markdown table."""
    passed = "passed" if verdict["passed"] else "refused"
    lines = [f"**{verdict['candidate']}: {passed}.** {verdict['champion']['text']}", ""]
    lines += ["| | measurement | split | slice | value | limit | why |", "|---|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(cells)} |" for cells in map(_cells, verdict["rows"])]
    return "\n".join(lines) + "\n"


def headline(folder: str | Path) -> dict[str, float]:
    """`<split>_<name>` -> value, after fine-tuning, of every finite measurement on a whole split; for MLflow."""
    return {
        f"{row.split}_{row.name}": row.value
        for row in dossier.measurements_of(folder).where(slice=WHOLE, condition="after")
        if math.isfinite(row.value)
    }


def _cells(row: dict) -> list[str]:
    value = with_interval(row["value"], row["low"], row["high"])
    mark = "✓" if row["passed"] else "✗"
    why = row["why"].replace("|", "\\|")
    return [mark, row["name"], row["split"], row["slice"], value, f"{row['op']} {row['limit']:g}", why]


def show_verdict(verdict: dict, folder: str | Path, page: str | Path, summary: str | Path) -> None:
    """Put the dossier's promotion page and the verdict table, Markdown, where the platform shows them."""
    shutil.copyfile(Path(folder) / dossier.PROMOTION, page)
    Path(summary).write_text(verdict_markdown(verdict), encoding="utf-8")


def keep_dossier(verdict: dict, folder: str | Path, job: str, config: GateConfig) -> None:
    """Keep dossier, headline numbers and verdict with the candidate's MLflow run."""
    from components.shared.services import mlflow_runs

    failed = [row["why"] for row in verdict["rows"] if not row["passed"]]
    tags = {
        "gate": "passed" if verdict["passed"] else "refused",
        "gate.reasons": (" ".join(failed) or "every limit holds")[: mlflow_runs.LONGEST],
        mlflow_runs.AGAINST: verdict["champion"]["verdict"],
        mlflow_runs.AGAINST_VERSION: verdict["champion"]["version"],
        mlflow_runs.NOTE: verdict_markdown(verdict)[: mlflow_runs.LONGEST],
    }
    mlflow_runs.log_dossier(config.experiment, job, config.candidate, Path(folder), headline(folder), tags)
