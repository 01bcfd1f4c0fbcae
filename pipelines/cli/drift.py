"""The command that checks production images for drift."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from components.shared.errors import InputError
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
def drift_check(
    images: Annotated[
        str, typer.Option(help="Folder or s3://BUCKET/PREFIX; {date} and {yesterday} become dates in UTC.")
    ],
    params: Params = LOCAL_PARAMS,
    workdir: Workdir = Path("workdir"),
    override: Override = None,
    debug: Debug = False,
) -> None:
    """Compare production images with the training sample of the workdir's champion; report whether to retrain.

    Exit status: 0 = the check ended, with or without drift; 1 = something failed; 2 = an input was wrong; 130 =
    interrupted.
    """
    with reporting_errors(debug), locked_workdir(workdir, has_runs=True):
        from components.collect.production_images import check_local_images
        from pipelines.config.parameter_file import Setting, load_run_config
        from pipelines.local.results import show_drift_check
        from pipelines.local.run import DRIFT_CHECK, DRIFT_CHECK_GRAPH, run_locally

        place = images
        if not images.startswith("s3://"):
            folder = Path(images).expanduser()
            if "{" not in images and not folder.is_dir():
                raise InputError(f"--images {images} is not a folder; give a folder or s3://BUCKET/PREFIX")
            place = str(folder.resolve())
        options = [
            *local_settings(workdir),
            Setting(
                ("images",),
                place,
                f'--images "{images}"',
                reserved="--images gives the images already; remove this setting",
            ),
            Setting(
                ("retrain", "start"),
                False,
                "",
                reserved="this command only prints how to start a training; remove this setting",
            ),
        ]
        config = load_run_config(params, override or [], options)
        check_local_images(place)

        console = Console()
        parameters = config.model_dump_json()
        run = run_locally(workdir, config.experiment, parameters, DRIFT_CHECK_GRAPH, console, DRIFT_CHECK)
        show_drift_check(run.summary, params, workdir, console)
