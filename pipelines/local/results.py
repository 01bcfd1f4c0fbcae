"""What a finished run tells its user, from its summary.json."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = {
    "test accuracy": ("test", "accuracy"),
    "test F1": ("test", "f1"),
    "test AUROC": ("test", "auroc"),
    "robustness accuracy": ("robustness", "accuracy"),
}


def show_results(summary: dict[str, Any], workdir: Path, console: Console) -> None:
    """Print the candidates, the winner's registered version or why there is none, the times, and where to look."""
    console.print(_candidates(summary))
    console.print(_outcome(summary), highlight=False, markup=False, soft_wrap=True)
    for warning in summary["warnings"]:
        console.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)
    console.print(_seconds(summary))
    console.print(f"report: {workdir / 'report.html'}", highlight=False, markup=False, soft_wrap=True)
    ui = f"MLflow: crack-pipeline mlflow-ui --workdir {workdir}"
    console.print(ui, highlight=False, markup=False, soft_wrap=True)


def show_drift_check(summary: dict[str, Any], params: Path, workdir: Path, console: Console) -> None:
    """Print a drift check's verdict, where its page is, and the command that retrains where that is asked for."""
    lines = [
        f"{summary['verdict']}: {summary['reason']}",
        f"{summary['count']} images of {summary['images']} against the training sample of {summary['model']} "
        f"version {summary['version']}",
        *(f"warning: {warning}" for warning in summary["warnings"]),
        f"report: {workdir / 'drift.html'}",
    ]
    if summary["verdict"] == "retrain":
        command = f"crack-pipeline run-local --params {params} --workdir {workdir} --data LABELLED_TILES"
        lines.append(f"to retrain, label some of these images and run: {command}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _candidates(summary: dict[str, Any]) -> Table:
    table = Table(title="Candidates", title_justify="left")
    table.add_column("candidate")
    for title in COLUMNS:
        table.add_column(title, justify="right")
    table.add_column("gate")
    for name, candidate in summary["candidates"].items():
        values = [candidate.get(split, {}).get(metric) for split, metric in COLUMNS.values()]
        verdict = "passed" if candidate["passed"] else "refused"
        table.add_row(name, *("n/a" if value is None else f"{value:.4f}" for value in values), verdict)
    return table


def _outcome(summary: dict[str, Any]) -> str:
    if summary["winner"]:
        model = summary["model"]
        registered = f"registered as {model['name']} version {model['version']} (challenger)"
        return f"winner: {summary['winner']}, {registered}\nwhy: {summary['reasoning']}"
    reasons = [
        f"  {name}: {row['why']}"
        for name, candidate in summary["candidates"].items()
        for row in candidate["verdict"]
        if not row["passed"]
    ]
    return "\n".join([f"nothing was registered: {summary['reasoning']}", *reasons])


def _seconds(summary: dict[str, Any]) -> Table:
    table = Table(title="Seconds per step", title_justify="left")
    for title in ("step", "own work", "imports and orchestration"):
        table.add_column(title, justify="left" if title == "step" else "right")
    for name, spent in summary["seconds"].items():
        table.add_row(name, f"{spent['work']:.1f}", f"{spent['overhead']:.1f}")
    work = sum(spent["work"] for spent in summary["seconds"].values())
    table.add_section()
    table.add_row("all", f"{work:.1f}", f"{summary['seconds_total'] - work:.1f}")
    return table
