"""Show a registered model in a terminal: its model versions, its promotions, and the next action."""

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities import Run
from rich.table import Table

from components.shared.results.dossier import PROMOTION
from components.shared.services.mlflow_failures import without_password
from components.shared.services.mlflow_runs import AGAINST, AGAINST_VERSION, CANDIDATE, CHALLENGER, CHAMPION, DATASET
from pipelines.registry.promotions import SITE_PREFIX, Entry, Registry, verdict_on

METRICS = {"test\naccuracy": "test_accuracy", "test\nAUROC": "test_auroc", "robust\naccuracy": "robustness_accuracy"}
MAX_VERSIONS = 15
MAX_VERDICT_CHARACTERS = 10  # a longer verdict is shown below the table
DRIFT_TAG = "crack.drift"  # components/drift writes the verdict of the last drift check into this tag of a version


def versions_table(registry: Registry) -> Table:
    """Return a table of the newest model versions with their aliases, verdicts and main metrics."""
    # The table must fit into a log with 80 columns, so it has almost no padding.
    table = Table(title=registry.name, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("version", "alias", "candidate", *METRICS, "verdict", "data", "registered"):
        table.add_column(title, justify="right" if title in METRICS else "left")

    alias_of = {}
    for alias in (CHALLENGER, CHAMPION):  # if a version has both aliases, only champion is shown
        alias_of[registry.alias(alias)] = alias

    for version in registry.versions()[:MAX_VERSIONS]:
        run = registry.run(version)
        measured = run.data.metrics if run else {}
        metrics = [f"{measured[key]:.4f}" if key in measured else "n/a" for key in METRICS.values()]
        verdict = verdict_on(version)
        table.add_row(
            str(version.version),
            alias_of.get(str(version.version)),
            version.tags.get(CANDIDATE),
            *metrics,
            verdict if len(verdict) <= MAX_VERDICT_CHARACTERS else "failed",
            version.tags.get(DATASET, "")[:7],
            _day(version.creation_timestamp),
        )
    return table


def next_move(registry: Registry) -> str:
    """Return the state of champion and challenger and the possible next actions, as lines of text."""
    champion = registry.alias(CHAMPION)
    challenger = registry.alias(CHALLENGER)
    lines = []

    for version in registry.versions()[:MAX_VERSIONS]:
        verdict = verdict_on(version)
        if len(verdict) > MAX_VERDICT_CHARACTERS:
            lines.append(f"version {version.version} cannot be promoted without --force: {verdict}")

    if registry.moved_by_hand():
        lines.append(
            f"the alias {CHAMPION} was moved by hand to version {champion}; `crack-pipeline history` does not "
            "show this move"
        )

    if champion:
        tags = registry.version(champion).tags
        if DRIFT_TAG in tags:
            images = tags[f"{DRIFT_TAG}.images"]
            day = tags[f"{DRIFT_TAG}.checked"][:10]
            lines.append(f"last drift check of the champion ({day}, {images}): {tags[DRIFT_TAG]}")
        lines += _at_sites(tags)

    if challenger and challenger != champion:
        lines += _about_challenger(registry, challenger, champion)
    elif champion:
        lines.append(f"champion: version {champion}; there is no challenger")
    else:
        lines.append("there is no champion yet")
    return "\n".join(lines)


def _at_sites(tags: dict[str, str]) -> list[str]:
    """Return a line for each site that has a verdict on a model version."""
    lines = []
    for key, value in sorted(tags.items()):
        if key.startswith(SITE_PREFIX):
            verdict = json.loads(value)
            site = key.removeprefix(SITE_PREFIX)
            day = verdict["at"][:10]
            lines.append(f"at the site {site}: {verdict['decision']} ({day}, {verdict['labelled']} labelled tiles)")
    return lines


def _about_challenger(registry: Registry, challenger: str, champion: str | None) -> list[str]:
    """Return lines about the challenger: its comparison with the champion, its page, and how to promote it."""
    run = registry.run(registry.version(challenger))
    tags = run.data.tags if run else {}
    comparison = tags.get(AGAINST, "not compared")
    compared_with = tags.get(AGAINST_VERSION) or None

    if compared_with != champion:
        result = f"not compared with the champion, version {champion}"
        if compared_with:
            result += f". Compared with version {compared_with}, the champion at that time: {comparison}"
    elif champion:
        result = f"compared with the champion, version {champion}: {comparison}"
    else:
        result = "there is no champion yet"

    command = f'crack-pipeline promote {challenger} --by NAME --why "…"'
    workdir = _workdir(registry)
    if workdir:
        command += f" --workdir {shlex.quote(str(workdir))}"
    return [
        f"challenger: version {challenger}; {result}",
        f"page for the decision: {_page(registry, run)}",
        f"to promote it: {command}",
    ]


def history_table(entries: list[Entry]) -> Table:
    """Return a table of all promotions and rollbacks, the oldest first."""
    table = Table(title="Promotions", title_justify="left")
    for title in ("when (UTC)", "what", "from", "to", "verdict", "by", "why"):
        table.add_column(title, no_wrap=title.startswith("when"))

    for entry in entries:
        what = f"{entry.action}, forced" if entry.forced else entry.action
        when = entry.at.replace("T", " ").removesuffix("Z")
        table.add_row(when, what, entry.source or "none", entry.target, entry.verdict, entry.by, entry.why)
    return table


def _page(registry: Registry, run: Run | None) -> str:
    """Return the place of the promotion page in a run's dossier."""
    if run is None:
        return "the page was deleted with its run"

    page = f"dossier/{PROMOTION}"
    files = run.info.artifact_uri
    workdir = _workdir(registry)
    if workdir:
        return str(workdir / "s3" / files.removeprefix("s3://") / page)

    uri = registry.client.tracking_uri
    if uri.startswith("http"):
        server = without_password(uri).rstrip("/")
        return f"{server}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{page}"
    return f"{files}/{page}"


def _workdir(registry: Registry) -> Path | None:
    """Return the workdir that a registry belongs to. Return None if the registry is on a server."""
    uri = registry.client.tracking_uri
    if uri.endswith("/mlflow.db"):
        return Path(uri.removeprefix("sqlite:///")).parent
    return None


def _day(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d")
