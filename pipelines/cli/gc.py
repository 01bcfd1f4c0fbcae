"""The command that deletes stored data that no model or recent run needs."""

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from components.shared.errors import InputError
from pipelines.cli.options import (
    LOCAL_PARAMS,
    Debug,
    Environment,
    File,
    RegistryWorkdir,
    chosen_file,
    reporting_errors,
    require_number,
)

if TYPE_CHECKING:
    from components.shared.services.store import Store

commands = typer.Typer()
MOST_DAYS = 36_500


@commands.command()
def gc(
    environment: Environment = None,
    days: Annotated[float, typer.Option(help="Keep data that was created or used in the last DAYS days.")] = 30.0,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the listed data; default: only list it.")] = False,
    versions: Annotated[
        bool, typer.Option("--versions", help="Remove the old versions of deleted objects, if the bucket keeps them.")
    ] = False,
    params: File = None,
    workdir: RegistryWorkdir = None,
    debug: Debug = False,
) -> None:
    """List data set versions, results, checkpoints and models that no registered model and no recent run needs.

    The parameter file names the store; the default file is pipelines/params/local.yaml. With --workdir, the store of
    local runs is used, and old run folders are listed too. With --workdir, --delete fails if a run uses the workdir.
    Without --workdir, a run may use the store at the same time. So --delete fails if DAYS is shorter than
    cluster.run_deadline.

    --delete also ends the MLflow runs whose process has died.
    """
    with reporting_errors(debug):
        require_number("--days", days, 0, MOST_DAYS)

        from components.shared.services.store import Store
        from pipelines import model_cleanup, store_cleanup
        from pipelines.config.parameter_file import load_run_config
        from pipelines.local.embedded_stack import locked
        from pipelines.registry.access import reached

        is_file_given = environment or params
        config = load_run_config(chosen_file(environment, params) if is_file_given else LOCAL_PARAMS)
        uri = config.store
        if delete and workdir is None:
            store_cleanup.require_longer_than_a_run(days, config.cluster.run_deadline)

        with contextlib.ExitStack() as stack:
            if delete and workdir is not None and workdir.is_dir():
                stack.enter_context(locked(workdir))
            client = stack.enter_context(reached(workdir, artifacts=True))
            if delete:
                ended = store_cleanup.end_dead_runs(client, all_are_dead=workdir is not None)
                if ended:
                    print(f"ended {ended} MLflow runs whose process had died")

            store = Store(uri)
            removes_versions = _removes_versions(store, versions)
            leftovers = store_cleanup.find_leftovers(store, client, days)
            models = model_cleanup.find_models(client, store_cleanup.kept_since(client, days))
            folders = store_cleanup.find_run_folders(workdir, days) if workdir else []
            if not leftovers and not models and not folders and not removes_versions:
                print(f"everything in {uri} is needed")
                return

            Console().print(store_cleanup.leftovers_table([*leftovers, *models, *folders], days))
            if delete:
                store_cleanup.delete(store, leftovers)
                model_cleanup.delete_models(client, models)
                if workdir:
                    store_cleanup.delete_run_folders(workdir, folders)
                if removes_versions:
                    freed = store_cleanup.remove_versions(store, leftovers, days)
                    print(f"removed the versions of deleted objects: {freed}")
                print("deleted")
            else:
                print("nothing was deleted; add --delete to delete the listed data")


def _removes_versions(store: "Store", versions: bool) -> bool:
    """Return whether to remove the old versions of deleted objects.

    If the old versions stay, or may stay, print a notice that a deletion alone frees no space.

    Raises:
        InputError: --versions is given, and the server does not say whether the bucket keeps versions.
    """
    from components.shared.services.bucket_versions import keeps_versions

    try:
        keeps = keeps_versions(store)
    except InputError as error:
        if versions:
            raise
        print(f"{error}. If the bucket keeps versions, a deletion alone frees no space")
        return False

    if keeps and not versions:
        print(
            f"the bucket of {store.uri} keeps versions of deleted objects, so a deletion alone frees no space; add "
            "--versions to remove these versions too"
        )
    return keeps and versions
