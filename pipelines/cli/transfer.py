"""The command that leaves out one source or surface at a time, and measures the network that is trained without it."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

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
def transfer(
    params: Params = LOCAL_PARAMS,
    data: Annotated[str | None, typer.Option(help="Labelled tiles, as for run-local.")] = None,
    workdir: Workdir = Path("workdir"),
    override: Override = None,
    debug: Debug = False,
) -> None:
    """Leave out one source or surface at a time. Train a network without it, and measure the network on it.

    The section `transfer` of the parameter file says whether sources or surfaces are left out, which candidate is
    trained, and which limits must be reached. No model version is registered. Finished work is reused.

    Exit status: 0 = the limits are reached, or there are none; 1 = a limit is missed, or something failed; 2 = an input
    was wrong; 130 = interrupted.
    """
    with reporting_errors(debug), locked_workdir(workdir):
        from components.ingest.sources.open_sources import check_local_sources
        from components.ingest.sources.uri import absolute_sources, parse_sources
        from components.shared.results.measurements import spoken
        from components.shared.services.mlflow_failures import environment
        from pipelines.config.network_checks import check_networks
        from pipelines.config.parameter_file import Setting, load_run_config
        from pipelines.local.embedded_stack import embedded_stack, prepare_mlflow
        from pipelines.transfer.matrix import SHOWN, check_limits
        from pipelines.transfer.page import write_page
        from pipelines.transfer.run import chosen_candidate, transfer

        options = local_settings(workdir)
        if data is not None:
            reserved = "--data gives the data already; remove one of the two"
            options.append(Setting(("data_uri",), data, f'--data "{data}"', reserved))
        config = load_run_config(params, override or [], options)
        experiment = f"{config.experiment}-transfer"
        sources = absolute_sources(config.data_uri)
        config = config.model_copy(update={"data_uri": sources, "experiment": experiment})
        candidate = chosen_candidate(config)
        check_local_sources(parse_sources(sources), config.ingest)
        check_networks(config)

        console = Console()
        folder = workdir / "transfer"
        with embedded_stack(workdir) as settings, environment(settings):
            prepare_mlflow(workdir, experiment)
            folder.mkdir(exist_ok=True)
            matrix = transfer(config, folder, console.print)

        results = check_limits(matrix, config.transfer.limits)
        write_page(matrix, results, candidate, folder / "transfer.html")
        kind = matrix.domain_kind
        table = Table(title=f"{candidate} on {kind}s that it was not trained on", title_justify="left")
        for title in (kind, "tiles", *map(spoken, SHOWN)):
            table.add_column(title)
        for cell in matrix.cells:
            if cell.unseen:
                table.add_row(cell.domain, str(cell.tiles), *(f"{cell.numbers[name].value:.3f}" for name in SHOWN))
        console.print(table)
        for domain, reason in matrix.failed.items():
            console.print(f"without {domain}: {reason}", markup=False)
        console.print(f"page: {folder / 'transfer.html'}")

        missed = [result for result in results if not result.passed]
        for result in missed:
            limit = result.limit
            console.print(
                f"missed: {limit.over} {limit.name} is {result.value:.3f}, and must be at least {limit.limit:g}"
            )
    if missed:
        sys.exit(1)
