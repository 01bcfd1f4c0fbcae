"""A candidate's dossier: the verdict and everything it rests on, in one folder."""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from components.gate.champion import Comparison, compare
from components.gate.config import GateConfig
from components.gate.verdict import judge
from components.shared.measurements import read_measurements, write_measurements
from components.shared.predictions import read_predictions

TAG_LENGTH = 5000  # of MLflow
OFF = Comparison("not asked", "A comparison with the champion was not asked for.")


def write_dossier(
    measurements: list[str | Path],
    kept: Mapping[str, str | Path],
    pages: Mapping[str, str | Path],
    predictions: tuple[str | Path, str | Path],
    version: str,
    folder: str | Path,
    config: GateConfig,
) -> dict:
    """Judge the candidate and write its dossier.

    Args:
        measurements: The tables of evaluate, explain and drift.
        kept: name in the dossier -> file kept as it is: calibration and drift profile.
        pages: name -> HTML page, kept as `<name>.html`.
        predictions: The candidate's and the champion's predictions folders; the champion's may be empty.
        version: The champion's version, "" where there is none.
        folder: Written: verdict.json, measurements.parquet, the files kept and the pages.
        config: Limits and comparison.

    Returns:
        What verdict.json holds.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    comparison = OFF
    if config.champion:
        candidate, champion = (read_predictions(path) for path in predictions)
        comparison = compare(candidate, champion, version, config.champion)
    rows = [row for path in measurements for row in read_measurements(path)] + list(comparison.measurements)
    judged = judge(rows, config.limits + comparison.limits)
    verdict = {
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
    (folder / "verdict.json").write_text(json.dumps(verdict, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    write_measurements(rows, folder / "measurements.parquet")
    for name, file in {**kept, **{f"{name}.html": page for name, page in pages.items()}}.items():
        shutil.copyfile(file, folder / name)
    return verdict


def verdict_markdown(verdict: dict) -> str:
    """The verdict as a Markdown table."""
    passed = "passed" if verdict["passed"] else "refused"
    lines = [f"**{verdict['candidate'] or 'The candidate'}: {passed}.** {verdict['champion']['text']}", ""]
    lines += ["| | measurement | split | slice | value | limit | why |", "|---|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(cells)} |" for cells in map(_cells, verdict["rows"])]
    return "\n".join(lines) + "\n"


def headline(folder: str | Path) -> dict[str, float]:
    """`<split>_<name>` -> value, after fine-tuning, of every finite measurement on a whole split; for MLflow."""
    return {
        f"{row.split}_{row.name}": row.value
        for row in read_measurements(Path(folder) / "measurements.parquet")
        if row.slice == "all" and row.condition == "after" and math.isfinite(row.value)
    }


def _cells(row: dict) -> list[str]:
    value = "-" if row["value"] is None else f"{row['value']:.4f}"
    if row["low"] is not None and row["high"] is not None:
        value += f" [{row['low']:.4f}, {row['high']:.4f}]"
    mark = "✓" if row["passed"] else "✗"
    why = row["why"].replace("|", "\\|")
    return [mark, row["name"], row["split"], row["slice"], value, f"{row['op']} {row['limit']:g}", why]


def keep_dossier(verdict: dict, folder: str | Path, summary_path: str | Path, job: str, config: GateConfig) -> None:
    """Write the verdict table for people, then keep dossier, numbers and verdict with the candidate's MLflow run."""
    from components.shared.tracking import log_dossier

    Path(summary_path).write_text(verdict_markdown(verdict), encoding="utf-8")
    failed = [row["why"] for row in verdict["rows"] if not row["passed"]]
    tags = {
        "gate": "passed" if verdict["passed"] else "refused",
        "gate.reasons": (" ".join(failed) or "every limit holds")[:TAG_LENGTH],
        "gate.champion": verdict["champion"]["verdict"],
    }
    log_dossier(config.experiment, job, config.candidate, Path(folder), headline(folder), tags)
