"""Commands of the cluster."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import LOCAL_PARAMS, Debug, Override, Params, reporting_errors

commands = typer.Typer()


@commands.command("compile")
def compile_for_cluster(
    output: Annotated[Path, typer.Option(help="YAML file to write.")],
    params: Params = LOCAL_PARAMS,
    override: Override = None,
    allow_tags: Annotated[
        bool, typer.Option("--allow-tags", help="Take images by tag or placeholder, for development.")
    ] = False,
    pipeline: Annotated[str, typer.Option(help="crack-training or crack-drift-check.")] = "crack-training",
    debug: Debug = False,
) -> None:
    """Compile a pipeline for a cluster; its images must be named by digest."""
    with reporting_errors(debug):
        from components.container_images import check_images
        from pipelines.compiled import compile_pipeline
        from pipelines.run_config import load_run_config

        check_images(allow_tags)
        config = load_run_config(params, override or [])
        output.parent.mkdir(parents=True, exist_ok=True)
        compile_pipeline(pipeline, config, output)


@commands.command()
def schema() -> None:
    """Print the JSON schema of the parameter file."""
    from pipelines.run_config import parameter_schema

    print(json.dumps(parameter_schema(), indent=2))
