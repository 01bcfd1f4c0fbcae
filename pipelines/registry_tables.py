"""The registry as people read it in a terminal."""

from datetime import UTC, datetime
from pathlib import Path

from mlflow.exceptions import MlflowException
from rich.table import Table

from components.shared.dossier import PROMOTION
from components.shared.tracking import AGAINST, AGAINST_VERSION, CANDIDATE, CHALLENGER, CHAMPION, DATASET
from pipelines.registry import Entry, Registry, verdict_on

METRICS = {"test accuracy": "test_accuracy", "test AUROC": "test_auroc", "robust accuracy": "robustness_accuracy"}
SHOWN = 15  # newest versions


def versions_table(registry: Registry) -> Table:
    """Return the newest versions with their aliases, verdicts and headline metrics."""
    # narrow enough for the 80 columns of a log
    table = Table(title=registry.name, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("version", "candidate", *METRICS, "verdict", "data", "registered"):
        table.add_column(title, justify="right" if title in METRICS else "left")
    holders = {alias: registry.alias(alias) for alias in (CHAMPION, CHALLENGER)}
    for version in registry.versions()[:SHOWN]:
        number = str(version.version)
        aliases = ", ".join(alias for alias, holder in holders.items() if holder == number)
        measured = _metrics(registry, version.run_id)
        table.add_row(
            f"{number} {aliases}".strip(),
            version.tags.get(CANDIDATE, ""),
            *(f"{measured[key]:.4f}" if key in measured else "n/a" for key in METRICS.values()),
            verdict_on(version),
            version.tags.get(DATASET, "")[:7],
            _day(version.creation_timestamp),
        )
    return table


def next_move(registry: Registry) -> str:
    """Return what the team may want to do next, in a sentence or two."""
    champion, challenger = registry.alias(CHAMPION), registry.alias(CHALLENGER)
    lines = []
    if registry.moved_by_hand():
        lines.append(
            f"alias {CHAMPION} was moved by hand to version {champion}; `crack-pipeline history` does not know it"
        )
    if champion and "crack.drift" in (tags := registry.version(champion).tags):
        seen, checked = tags["crack.drift.images"], tags["crack.drift.checked"][:10]
        lines.append(f"last drift check of the champion ({checked}, {seen}): {tags['crack.drift']}")
    if challenger is None or challenger == champion:
        return "\n".join(
            [*lines, f"champion: version {champion}; no challenger waits" if champion else "no champion yet"]
        )
    run_id = registry.version(challenger).run_id
    tags = _tags(registry, run_id)
    compared, then = tags.get(AGAINST, "not compared"), tags.get(AGAINST_VERSION)
    stale = f", which is not champion now (version {champion} was not compared)" if then and then != champion else ""
    against = f"against the champion, version {then}{stale}: {compared}" if then else "compared with no champion"
    lines.append(f"challenger: version {challenger}; {against}")
    lines.append(f"should it be promoted? {_page(registry, run_id)}")
    lines.append(f'to promote it: crack-pipeline promote {challenger} --by NAME --why "…"{_where(registry)}')
    return "\n".join(lines)


def _where(registry: Registry) -> str:
    """Return the option that leads a command to a local run's registry; nothing for a server's."""
    uri = registry.client.tracking_uri
    return f" --workdir {Path(uri.removeprefix('sqlite:///')).parent}" if uri.endswith("/mlflow.db") else ""


def history_table(entries: list[Entry]) -> Table:
    """Return every act, oldest first."""
    table = Table(title="Promotions", title_justify="left")
    for title in ("when (UTC)", "what", "from", "to", "verdict", "by", "why"):
        table.add_column(title)
    for entry in entries:
        what = f"{entry.action}, forced" if entry.forced else entry.action
        when = entry.at.replace("T", " ").removesuffix("Z")
        table.add_row(when, what, entry.source or "none", entry.target, entry.verdict, entry.by, entry.why)
    return table


def _page(registry: Registry, run_id: str | None) -> str:
    """Where MLflow shows the page of the run's dossier."""
    try:
        experiment = registry.client.get_run(run_id or "").info.experiment_id
    except MlflowException:
        return "its run, which held the page, is gone"
    place = f"/#/experiments/{experiment}/runs/{run_id}/artifacts/dossier/{PROMOTION}"
    uri = registry.client.tracking_uri
    if uri.startswith("http"):
        return uri.rstrip("/") + place
    return f"http://127.0.0.1:5000{place} while `make mlflow-ui` runs"


def _metrics(registry: Registry, run_id: str | None) -> dict[str, float]:
    try:
        return registry.client.get_run(run_id or "").data.metrics
    except MlflowException:  # the run was deleted, or the version came from another registry
        return {}


def _tags(registry: Registry, run_id: str | None) -> dict[str, str]:
    try:
        return registry.client.get_run(run_id or "").data.tags
    except MlflowException:
        return {}


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")
