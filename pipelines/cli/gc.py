"""The command that deletes stored data that no model or recent run needs."""

import contextlib
import math
from typing import Annotated

import typer
from rich.console import Console

from components.shared.errors import InputError
from pipelines.cli.options import LOCAL_PARAMS, Debug, Environment, File, Reached, chosen_file, reporting_errors

commands = typer.Typer()


@commands.command()
def gc(
    environment: Environment = None,
    days: Annotated[
        float, typer.Option(help="Keep data that was created or used in the last DAYS days.", min=0.0)
    ] = 30.0,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the listed data; default: only list it.")] = False,
    params: File = None,
    workdir: Reached = None,
    debug: Debug = False,
) -> None:
    """List data set versions, results and checkpoints that no registered model and no recent run needs.

    The parameter file names the store; by default, it is pipelines/params/local.yaml. With --workdir, it is the
    store of local runs, and old run folders are listed too.

    With --workdir, --delete fails if a run uses the workdir. It also ends the MLflow runs whose process has died.
    """
    with reporting_errors(debug):
        if not math.isfinite(days):
            raise InputError(f"--days is {days}; give a number of days, such as 30")

        from components.shared.services.store import Store
        from pipelines import store_cleanup
        from pipelines.config.parameter_file import load_run_config
        from pipelines.local.embedded_stack import locked
        from pipelines.registry.access import reached

        named = environment or params
        uri = load_run_config(chosen_file(environment, params) if named else LOCAL_PARAMS).store
        with contextlib.ExitStack() as stack:
            if delete and workdir is not None and workdir.is_dir():
                stack.enter_context(locked(workdir))
            client = stack.enter_context(reached(workdir, artifacts=True))
            if delete and workdir is not None:
                ended = store_cleanup.end_dead_runs(client)
                if ended:
                    print(f"ended {ended} MLflow runs whose process had died")

            store = Store(uri)
            leftovers = store_cleanup.find_leftovers(store, client, days)
            folders = store_cleanup.find_run_folders(workdir, days) if workdir else []
            if not leftovers and not folders:
                print(f"everything in {uri} is needed")
                return

            Console().print(store_cleanup.leftovers_table([*leftovers, *folders], days))
            if delete:
                store_cleanup.delete(store, leftovers)
                if workdir:
                    store_cleanup.delete_run_folders(workdir, folders)
                print("deleted")
            else:
                print("nothing was deleted; add --delete to delete the listed data")
