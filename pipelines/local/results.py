"""Print the results of a finished run from its summary.json."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# Title of each column -> split and metric in the summary.
COLUMNS = {
    "test accuracy": ("test", "accuracy"),
    "test F1": ("test", "f1"),
    "test AUROC": ("test", "auroc"),
    "robustness accuracy": ("robustness", "accuracy"),
}


def show_results(summary: dict[str, Any], workdir: Path, console: Console) -> None:
    """Print the candidates, the outcome of the run, the times, and the path of the report.

    The outcome is the winner's model version, or the reasons why nothing was registered.
    """
    console.print(_candidates(summary))
    _print_text(console, _outcome(summary))

    console.print(_seconds(summary))
    _print_text(console, f"report: {workdir / 'report.html'}")
    _print_text(console, f"MLflow: crack-pipeline mlflow-ui --workdir {workdir}")


def show_drift_check(summary: dict[str, Any], params: Path, workdir: Path, console: Console) -> None:
    """Print the verdict of a drift check, and the path of its page.

    If the verdict is "retrain", also print the command that retrains.
    """
    _print_text(console, f"{summary['verdict']}: {summary['reason']}")
    version = f"{summary['model']} version {summary['version']}"
    _print_text(
        console,
        f"{summary['count']} images of {summary['images']} were compared with the training sample of {version}",
    )
    _print_text(console, f"report: {workdir / 'drift.html'}")

    if summary["verdict"] == "retrain":
        command = f"crack-pipeline run-local --params {params} --workdir {workdir} --data LABELLED_TILES"
        _print_text(console, f"to retrain, label some of these images and run: {command}")


def _print_text(console: Console, text: str) -> None:
    """Print text unchanged: without colours for brackets and numbers, and without breaks in long lines."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _candidates(summary: dict[str, Any]) -> Table:
    table = Table(title="Candidates", title_justify="left")
    table.add_column("candidate")
    for title in COLUMNS:
        table.add_column(title, justify="right")
    table.add_column("gate")

    for name, candidate in summary["candidates"].items():
        row = [name]
        for split, metric in COLUMNS.values():
            value = candidate.get(split, {}).get(metric)
            row.append("n/a" if value is None else f"{value:.4f}")
        row.append("passed" if candidate["passed"] else "refused")
        table.add_row(*row)
    return table


def _outcome(summary: dict[str, Any]) -> str:
    if summary["winner"]:
        model = summary["model"]
        registered = f"registered as {model['name']} version {model['version']} (challenger)"
        return f"winner: {summary['winner']}, {registered}\nwhy: {summary['reasoning']}"

    lines = [f"nothing was registered: {summary['reasoning']}"]
    for name, candidate in summary["candidates"].items():
        for limit in candidate["verdict"]:
            if not limit["passed"]:
                lines.append(f"  {name}: {limit['why']}")
    return "\n".join(lines)


def _seconds(summary: dict[str, Any]) -> Table:
    table = Table(title="Seconds per step", title_justify="left")
    table.add_column("step")
    table.add_column("own work", justify="right")
    table.add_column("imports and orchestration", justify="right")

    work = 0.0
    for name, spent in summary["seconds"].items():
        table.add_row(name, f"{spent['work']:.1f}", f"{spent['overhead']:.1f}")
        work += spent["work"]

    table.add_section()
    table.add_row("all", f"{work:.1f}", f"{summary['seconds_total'] - work:.1f}")
    return table
