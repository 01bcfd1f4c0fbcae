"""Commands that write a pipeline to a file. They do not send it to a cluster."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.cli.options import (
    AllowTags,
    Debug,
    Environment,
    File,
    Override,
    Pipeline,
    Revision,
    chosen_file,
    code_revision,
    reporting_errors,
)

commands = typer.Typer()
Output = Annotated[Path, typer.Option(help="YAML file to write.")]


@commands.command("compile")
def compile_for_cluster(
    output: Output,
    environment: Environment = None,
    params: File = None,
    override: Override = None,
    pipeline: Pipeline = "crack-training",
    allow_tags: AllowTags = False,
    debug: Debug = False,
) -> None:
    """Compile a pipeline for a cluster. Fail if a container image has no digest, except with --allow-tags."""
    with reporting_errors(debug):
        from components.container_images import check_images
        from pipelines.config.network_checks import check_networks_for_cluster
        from pipelines.config.parameter_file import load_run_config
        from pipelines.graphs.compile import compile_pipeline
        from pipelines.output_files import require_outputs

        file = chosen_file(environment, params)
        require_outputs({"--output": output}, [file])
        config = load_run_config(file, override or [])
        check_networks_for_cluster(config)
        check_images(allow_tags)
        compile_pipeline(pipeline, config, output)


@commands.command()
def manifest(
    output: Output,
    environment: Environment = None,
    params: File = None,
    override: Override = None,
    namespace: Annotated[
        str, typer.Option(help="Namespace of the resources; default: the namespace that they are applied to.")
    ] = "",
    pipeline: Pipeline = "crack-training",
    revision: Revision = "",
    allow_tags: AllowTags = False,
    debug: Debug = False,
) -> None:
    """Write the pipeline and its version as Kubernetes resources, for GitOps."""
    with reporting_errors(debug):
        from components.container_images import check_images
        from pipelines.cluster.gitops import write_manifest
        from pipelines.config.network_checks import check_networks_for_cluster
        from pipelines.config.parameter_file import load_run_config
        from pipelines.output_files import require_outputs

        file = chosen_file(environment, params)
        require_outputs({"--output": output}, [file])
        config = load_run_config(file, override or [])
        check_networks_for_cluster(config)
        check_images(allow_tags)
        version = write_manifest(pipeline, config, code_revision(revision), namespace, output)
        Console().print(f"{output}: {pipeline} version {version}", soft_wrap=True)
