"""Commands of the model registry: who is champion, who was, and why."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.commands.options import Debug, reporting_errors

commands = typer.Typer()
Name = Annotated[str, typer.Option("--name", help="The registered model.")]
Reached = Annotated[
    Path | None, typer.Option("--workdir", help="Workdir of local runs; without it, MLFLOW_TRACKING_URI's registry.")
]
By = Annotated[str, typer.Option(help="Who decides; kept in the history.")]
Why = Annotated[str, typer.Option(help="The reason; kept in the history.")]

MODEL = "crack-classifier"


@commands.command()
def promote(
    version: Annotated[int, typer.Argument(help="Version that becomes champion.", min=1)],
    by: By,
    why: Why,
    force: Annotated[bool, typer.Option("--force", help="Although its verdict is not passed; recorded.")] = False,
    workdir: Reached = None,
    name: Name = MODEL,
    debug: Debug = False,
) -> None:
    """Make a version champion."""
    with reporting_errors(debug):
        from pipelines.registry import Registry, reached

        with reached(workdir) as client:
            entry = Registry(client, name).promote(str(version), by, why, force)
        text = f"{name} version {version} is champion already; nothing to do" if entry is None else entry.sentence(name)
        _say(text)


@commands.command()
def rollback(by: By, why: Why, workdir: Reached = None, name: Name = MODEL, debug: Debug = False) -> None:
    """Make the previous champion champion again; once more, the one before it."""
    with reporting_errors(debug):
        from pipelines.registry import Registry, reached

        with reached(workdir) as client:
            _say(Registry(client, name).rollback(by, why).sentence(name))


@commands.command()
def history(workdir: Reached = None, name: Name = MODEL, debug: Debug = False) -> None:
    """Show every promotion and rollback, oldest first."""
    with reporting_errors(debug):
        from pipelines.registry import Registry, reached
        from pipelines.registry_tables import history_table

        with reached(workdir) as client:
            entries = Registry(client, name).history()
        Console().print(history_table(entries)) if entries else _say(f"{name}: nobody was promoted yet")


@commands.command()
def status(workdir: Reached = None, name: Name = MODEL, debug: Debug = False) -> None:
    """Show the versions, who is champion and challenger, and how the challenger compares."""
    with reporting_errors(debug):
        from pipelines.registry import Registry, reached
        from pipelines.registry_tables import next_move, versions_table

        with reached(workdir) as client:
            registry = Registry(client, name)
            registry.settle()
            table, advice = versions_table(registry), next_move(registry)
        Console().print(table)
        _say(advice)


def _say(text: str) -> None:
    Console().print(text, highlight=False, markup=False, soft_wrap=True)
