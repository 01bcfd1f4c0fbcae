"""Commands that run on this machine, and the schema of their parameters."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.options import (
    LOCAL_PARAMS,
    Debug,
    Override,
    Params,
    Workdir,
    local_settings,
    locked_workdir,
    reporting_errors,
)

commands = typer.Typer()


@commands.command()
def run_local(
    params: Params = LOCAL_PARAMS,
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled tiles: folder, archive, table, s3://, https:// or synthetic://; commas separate several."
        ),
    ] = None,
    workdir: Workdir = Path("workdir"),
    override: Override = None,
    debug: Debug = False,
) -> None:
    """Run the whole pipeline on this machine, with its own S3 server and MLflow store.

    Exit status: 0 = the run ended, with a registered model or a refusal by the gates; 1 = something failed; 2 = an
    input was wrong; 130 = interrupted.
    """
    with reporting_errors(debug), locked_workdir(workdir):
        from components.ingest.sources.open_sources import check_local_sources
        from components.ingest.sources.uri import absolute_sources, parse_sources
        from pipelines.config.network_checks import check_networks
        from pipelines.config.parameter_file import Setting, load_run_config
        from pipelines.local.results import show_results
        from pipelines.local.run import TRAINING_GRAPH, run_locally

        options = local_settings(workdir)
        if data is not None:
            reserved = "--data gives the data already; remove one of the two"
            options.append(Setting(("data_uri",), data, f'--data "{data}"', reserved))
        config = load_run_config(params, override or [], options)
        config = config.model_copy(update={"data_uri": absolute_sources(config.data_uri)})
        check_local_sources(parse_sources(config.data_uri), config.ingest)
        check_networks(config)

        console = Console()
        run = run_locally(workdir, config.experiment, config.model_dump_json(), TRAINING_GRAPH, console)
        show_results(run.summary, workdir, console)


@commands.command()
def mlflow_ui(
    workdir: Workdir = Path("workdir"),
    port: Annotated[int, typer.Option(help="Port on the loopback interface.", min=1, max=65535)] = 5000,
    debug: Debug = False,
) -> None:
    """Show the local runs and models in MLflow, until Ctrl-C."""
    with reporting_errors(debug):
        from pipelines.local.run import serve_mlflow_ui

        serve_mlflow_ui(workdir, port, Console())


@commands.command()
def schema() -> None:
    """Print the JSON schema of the parameter file: every parameter, its range and its default."""
    from pipelines.config.parameter_file import parameter_schema

    print(json.dumps(parameter_schema(), indent=2))
