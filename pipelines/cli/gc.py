"""The command that deletes stored data that no model or recent run needs."""

import math
from typing import Annotated

import typer
from rich.console import Console

from components.shared.errors import InputError
from pipelines.cli.options import LOCAL_PARAMS, Debug, Params, Reached, reporting_errors

commands = typer.Typer()


@commands.command()
def gc(
    days: Annotated[
        float, typer.Option(help="Keep data that was created or used in the last DAYS days.", min=0.0)
    ] = 30.0,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the listed data; default: only list it.")] = False,
    params: Params = LOCAL_PARAMS,
    workdir: Reached = None,
    debug: Debug = False,
) -> None:
    """List data set versions, results and checkpoints that no registered model and no recent run needs.

    The parameter file names the store. With --workdir, the command reads the store of the local runs.
    """
    with reporting_errors(debug):
        if not math.isfinite(days):
            raise InputError(f"--days is {days}; give a number of days, such as 30")

        from components.shared.services.store import Store
        from pipelines.config.parameter_file import load_run_config
        from pipelines.registry.access import reached
        from pipelines.store_cleanup import delete as delete_all
        from pipelines.store_cleanup import find_leftovers, leftovers_table

        uri = load_run_config(params).store
        with reached(workdir, artifacts=True) as client:
            store = Store(uri)
            leftovers = find_leftovers(store, client, days)
            if not leftovers:
                print(f"everything in {uri} is needed")
                return

            Console().print(leftovers_table(leftovers, days))
            if delete:
                delete_all(store, leftovers)
                print("deleted")
            else:
                print("nothing was deleted; add --delete to delete the listed data")
