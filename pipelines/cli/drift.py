"""Commands of the drift check."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.options import LOCAL_PARAMS, Debug, Override, Params, Workdir, reporting_errors

commands = typer.Typer()


@commands.command()
def drift_check(
    images: Annotated[
        str, typer.Option(help="Folder or s3://BUCKET/PREFIX; {date} and {yesterday} become dates, UTC.")
    ],
    params: Params = LOCAL_PARAMS,
    workdir: Workdir = Path("workdir"),
    override: Override = None,
    debug: Debug = False,
) -> None:
    """Hold production images against what the workdir's champion was trained on, and say whether to retrain.

    Exit status: 0 the check ended, whatever its verdict; 1 something broke down; 2 an input was wrong.
    """
    with reporting_errors(debug):
        from pipelines.config.parameter_file import load_run_config
        from pipelines.local.results import show_drift_check
        from pipelines.local.run import DRIFT_CHECK, DRIFT_CHECK_GRAPH, run_locally

        local_images = images if images.startswith("s3://") else str(Path(images).expanduser().resolve())
        # a training is started on a cluster only; here its command is printed
        fixed = {"images": local_images, "cache": str(workdir.resolve() / "cache"), "retrain.start": False}
        settings = [f"{name}={json.dumps(value)}" for name, value in fixed.items()]
        config = load_run_config(params, [*(override or []), *settings, "cluster.retries=0"])
        console = Console()
        given = (workdir, config.experiment, config.model_dump_json(), DRIFT_CHECK_GRAPH, console, DRIFT_CHECK)
        show_drift_check(run_locally(*given).summary, params, workdir, console)
