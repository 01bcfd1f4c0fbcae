"""The registry as people read it in a terminal."""

from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities import Run
from rich.table import Table

from components.shared.results.dossier import PROMOTION
from components.shared.services.mlflow_runs import AGAINST, AGAINST_VERSION, CANDIDATE, CHALLENGER, CHAMPION, DATASET
from pipelines.registry.access import without_password
from pipelines.registry.promotions import Entry, Registry, verdict_on

METRICS = {"test\naccuracy": "test_accuracy", "test\nAUROC": "test_auroc", "robust\naccuracy": "robustness_accuracy"}
SHOWN = 15  # newest versions
LONGEST_WORD = 10  # characters; a longer verdict is told below the table


def versions_table(registry: Registry) -> Table:
    """Return the newest versions with their aliases, verdicts and headline metrics."""
    # narrow enough for the 80 columns of a log
    table = Table(title=registry.name, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("version", "alias", "candidate", *METRICS, "verdict", "data", "registered"):
        table.add_column(title, justify="right" if title in METRICS else "left")
    holders = {registry.alias(alias): alias for alias in (CHALLENGER, CHAMPION)}  # a promoted one is both
    for version in registry.versions()[:SHOWN]:
        run = registry.run(version)
        measured = run.data.metrics if run else {}
        verdict = verdict_on(version)
        table.add_row(
            str(version.version),
            holders.get(str(version.version)),
            version.tags.get(CANDIDATE),
            *(f"{measured[key]:.4f}" if key in measured else "n/a" for key in METRICS.values()),
            verdict if len(verdict) <= LONGEST_WORD else "failed",
            version.tags.get(DATASET, "")[:7],
            _day(version.creation_timestamp),
        )
    return table


def next_move(registry: Registry) -> str:
    """Return what the team may want to do next, in a sentence or two."""
    champion, challenger = registry.alias(CHAMPION), registry.alias(CHALLENGER)
    lines = [
        f"version {version.version} cannot be promoted: {verdict}"
        for version in registry.versions()[:SHOWN]
        if len(verdict := verdict_on(version)) > LONGEST_WORD
    ]
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
    run = registry.run(registry.version(challenger))
    tags = run.data.tags if run else {}
    compared, then = tags.get(AGAINST, "not compared"), tags.get(AGAINST_VERSION) or None
    if then == champion:
        against = f"against the champion, version {then}: {compared}" if then else "there is no champion yet"
    else:
        stale = f"; against version {then}, the champion then: {compared}" if then else ""
        against = f"not compared with the champion, version {champion}{stale}"
    lines.append(f"challenger: version {challenger}; {against}")
    lines.append(f"should it be promoted? {_page(registry, run)}")
    where = f" --workdir {workdir}" if (workdir := _workdir(registry)) else ""
    lines.append(f'to promote it: crack-pipeline promote {challenger} --by NAME --why "…"{where}')
    return "\n".join(lines)


def history_table(entries: list[Entry]) -> Table:
    """Return every act, oldest first."""
    table = Table(title="Promotions", title_justify="left")
    for title in ("when (UTC)", "what", "from", "to", "verdict", "by", "why"):
        table.add_column(title, no_wrap=title.startswith("when"))
    for entry in entries:
        what = f"{entry.action}, forced" if entry.forced else entry.action
        when = entry.at.replace("T", " ").removesuffix("Z")
        table.add_row(when, what, entry.source or "none", entry.target, entry.verdict, entry.by, entry.why)
    return table


def _page(registry: Registry, run: Run | None) -> str:
    """Where the page of a run's dossier can be looked at."""
    if run is None:
        return "its run, which held the page, is gone"
    page, uri, workdir = f"dossier/{PROMOTION}", registry.client.tracking_uri, _workdir(registry)
    if workdir:
        return str(workdir / "s3" / run.info.artifact_uri.removeprefix("s3://") / page)
    if uri.startswith("http"):
        place = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{page}"
        return f"{without_password(uri).rstrip('/')}/{place}"
    return f"{run.info.artifact_uri}/{page}"


def _workdir(registry: Registry) -> Path | None:
    """The folder of the local runs that a registry is of; None for a server's."""
    uri = registry.client.tracking_uri
    return Path(uri.removeprefix("sqlite:///")).parent if uri.endswith("/mlflow.db") else None


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")
