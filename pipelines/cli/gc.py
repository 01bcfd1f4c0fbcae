"""The command that deletes stored data that no model or recent run needs."""

import contextlib
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
    """List data set versions, results, checkpoints and models that no registered model and no recent run needs.

    The parameter file names the store. With --workdir, it is the store of local runs, and old run folders are listed,
    too. --delete also ends the MLflow runs whose process died, and refuses while a run uses the workdir.
    """
    with reporting_errors(debug):
        if not math.isfinite(days):
            raise InputError(f"--days is {days}; give a number of days, such as 30")

        from components.shared.services.store import Store
        from pipelines import model_cleanup, store_cleanup
        from pipelines.config.parameter_file import load_run_config
        from pipelines.local.embedded_stack import locked
        from pipelines.registry.access import reached

        uri = load_run_config(params).store
        with contextlib.ExitStack() as stack:
            if delete and workdir is not None and workdir.is_dir():
                stack.enter_context(locked(workdir))
            client = stack.enter_context(reached(workdir, artifacts=True))
            if delete:
                ended = store_cleanup.end_dead_runs(client, all_are_dead=workdir is not None)
                if ended:
                    print(f"ended {ended} MLflow runs whose process had died")

            store = Store(uri)
            leftovers = store_cleanup.find_leftovers(store, client, days)
            models = model_cleanup.find_models(client, store_cleanup.kept_since(client, days))
            folders = store_cleanup.find_run_folders(workdir, days) if workdir else []
            if not leftovers and not models and not folders:
                print(f"everything in {uri} is needed")
                return

            Console().print(store_cleanup.leftovers_table([*leftovers, *models, *folders], days))
            if delete:
                store_cleanup.delete(store, leftovers)
                model_cleanup.delete_models(client, models)
                if workdir:
                    store_cleanup.delete_run_folders(workdir, folders)
                print("deleted")
            else:
                print("nothing was deleted; add --delete to delete the listed data")
