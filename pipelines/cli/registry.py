"""Commands of the model registry: promote and sign a model version, roll back, show the history, export, import."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.cli.options import (
    HIGHEST_VERSION,
    MODEL,
    Debug,
    Name,
    RegistryWorkdir,
    RequireSignature,
    reporting_errors,
)

commands = typer.Typer()
backup = typer.Typer(no_args_is_help=True)
commands.add_typer(backup, name="registry", help="Back up a registered model to a file, and restore it.")
By = Annotated[str, typer.Option(help="Name of the person who decides; it is kept in the history.")]
Why = Annotated[str, typer.Option(help="The reason; it is kept in the history.")]


@commands.command()
def promote(
    version: Annotated[
        int, typer.Argument(help="The model version that becomes champion.", min=1, max=HIGHEST_VERSION)
    ],
    by: By,
    why: Why,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Promote even if the model version did not pass the gate; the history records this."
        ),
    ] = False,
    require_signature: RequireSignature = None,
    workdir: RegistryWorkdir = None,
    name: Name = MODEL,
    debug: Debug = False,
) -> None:
    """Make a model version the champion, if its files are still the registered files."""
    with reporting_errors(debug):
        from pipelines.registry.access import reached
        from pipelines.registry.promotions import Registry

        with reached(workdir, artifacts=True) as client:
            entry = Registry(client, name).promote(str(version), by, why, force, require_signature)

        if entry is None:
            _say(f"{name} version {version} is already champion; nothing was changed")
        else:
            _say(entry.sentence(name))


@commands.command()
def rollback(
    by: By,
    why: Why,
    require_signature: RequireSignature = None,
    workdir: RegistryWorkdir = None,
    name: Name = MODEL,
    debug: Debug = False,
) -> None:
    """Make the previous champion the champion again. A second rollback goes one champion further back."""
    with reporting_errors(debug):
        from pipelines.registry.access import reached
        from pipelines.registry.promotions import Registry

        with reached(workdir, artifacts=True) as client:
            _say(Registry(client, name).rollback(by, why, require_signature).sentence(name))


@commands.command()
def sign(
    version: Annotated[int, typer.Argument(help="The model version to sign.", min=1, max=HIGHEST_VERSION)],
    key: Annotated[Path, typer.Option(help="PEM file of an Ed25519 private key.")],
    workdir: RegistryWorkdir = None,
    name: Name = MODEL,
    debug: Debug = False,
) -> None:
    """Sign all files of a model version. Commands with --require-signature can then verify the signature."""
    with reporting_errors(debug):
        from pipelines.registry.access import reached
        from pipelines.registry.promotions import Registry

        with reached(workdir, artifacts=True) as client:
            Registry(client, name).sign(str(version), key)
        _say(f"{name} version {version} is signed with {key}")


@commands.command()
def history(workdir: RegistryWorkdir = None, name: Name = MODEL, debug: Debug = False) -> None:
    """Show every promotion and rollback, oldest first."""
    with reporting_errors(debug):
        from pipelines.registry.access import reached
        from pipelines.registry.promotions import Registry
        from pipelines.registry.tables import history_table

        with reached(workdir) as client:
            entries = Registry(client, name).history()
        _say(history_table(entries) if entries else f"{name}: no version has been promoted yet")


@commands.command()
def status(workdir: RegistryWorkdir = None, name: Name = MODEL, debug: Debug = False) -> None:
    """Show the model versions, and compare the challenger with the champion."""
    with reporting_errors(debug):
        from pipelines.registry.access import reached
        from pipelines.registry.promotions import Registry
        from pipelines.registry.tables import next_move, versions_table

        with reached(workdir) as client:
            registry = Registry(client, name)
            registry.settle()
            table, advice = versions_table(registry), next_move(registry)
        _say(table)
        _say(advice)


@backup.command("export")
def export_to_file(
    file: Annotated[Path, typer.Argument(help="File to write, such as registry.tar.")],
    workdir: RegistryWorkdir = None,
    name: Name = MODEL,
    debug: Debug = False,
) -> None:
    """Write all model versions with their files and runs, the aliases and the history to one file."""
    with reporting_errors(debug):
        from pipelines.registry.access import reached
        from pipelines.registry.backup import export_registry
        from pipelines.registry.promotions import Registry

        with reached(workdir, artifacts=True) as client:
            count = export_registry(Registry(client, name), file, _say)
        _say(f"{file}: {name}, {count} versions")


@backup.command("import")
def import_from_file(
    file: Annotated[Path, typer.Argument(help="File that `registry export` wrote.")],
    workdir: RegistryWorkdir = None,
    debug: Debug = False,
) -> None:
    """Restore a registered model to a registry or a new workdir that has no model of this name."""
    with reporting_errors(debug):
        from components.shared.config import StepConfig
        from pipelines.local.embedded_stack import locked, prepare_mlflow
        from pipelines.registry.access import reached
        from pipelines.registry.backup import import_registry

        experiment = StepConfig.model_fields["experiment"].default
        with contextlib.ExitStack() as stack:
            if workdir is not None:
                stack.enter_context(locked(workdir))
                prepare_mlflow(workdir, experiment)
            stack.enter_context(reached(workdir, artifacts=True))
            name = import_registry(file, experiment, _say)
        _say(f"{name} is restored; `crack-pipeline status` shows it")


def _say(what: str | Table) -> None:
    # markup=False, because names and reasons in the history may contain brackets
    Console(markup=False, highlight=False).print(what, soft_wrap=isinstance(what, str))
