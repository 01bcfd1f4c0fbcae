"""Commands that run a pipeline on a cluster: once, or on a schedule."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from components.shared.errors import InputError
from pipelines.cli.options import (
    MOST_SECONDS,
    AllowTags,
    Debug,
    Environment,
    File,
    Override,
    Pipeline,
    Revision,
    chosen_file,
    code_revision,
    known_pipeline,
    reporting_errors,
    require_number,
)

commands = typer.Typer()

RunTimeParameter = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        "-p",
        metavar="KEY=VALUE",
        help="Set a run-time parameter, such as seed=2; the option can be repeated.",
    ),
]


@commands.command()
def submit(
    environment: Environment = None,
    params: File = None,
    parameter: RunTimeParameter = None,
    override: Override = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run ends, and show its progress.")] = False,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds to wait with --wait; default: cluster.run_deadline.")
    ] = None,
    interval: Annotated[float, typer.Option(help="Seconds between two requests for the state.")] = 15.0,
    allow_refusal: Annotated[
        bool, typer.Option("--allow-refusal", help="Exit with 0 even if the gate refuses every candidate.")
    ] = False,
    stop_with_me: Annotated[
        bool,
        typer.Option("--stop-with-me", help="With --wait: stop the run if this command is interrupted; made for CI."),
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Submit even if the same run was submitted within the last hour.")
    ] = False,
    name: Annotated[str, typer.Option(help="Beginning of the run's name.")] = "",
    pipeline: Pipeline = "crack-training",
    revision: Revision = "",
    allow_tags: AllowTags = False,
    debug: Debug = False,
) -> None:
    """Run a pipeline on the cluster that KFP_ENDPOINT names.

    Exit status: 0 = the run was submitted, or with --wait it succeeded; 1 = it failed, or the gate refused every
    candidate; 2 = it was not submitted; 3 = it did not end within --timeout, or its state could not be read; 130 = this
    command was interrupted. An interrupted command stops the run only with --stop-with-me, or if you answer yes when it
    asks.
    """
    with reporting_errors(debug, crash=2), tempfile.TemporaryDirectory() as folder:
        from components.container_images import check_images
        from components.shared.services.kfp_api import KfpApi
        from components.shared.services.kfp_endpoint import Endpoint
        from pipelines.cluster.follow import Follower, stopping_with_us
        from pipelines.cluster.submit import submit as submit_run
        from pipelines.config.network_checks import check_networks_for_cluster
        from pipelines.config.parameter_file import load_run_config
        from pipelines.graphs.compile import compile_version

        require_number("--timeout", timeout, 0, MOST_SECONDS)
        require_number("--interval", interval, 0.01, MOST_SECONDS)
        arguments = _pairs(parameter or [])
        config = load_run_config(chosen_file(environment, params), override or [])
        endpoint = Endpoint.from_environment()
        check_networks_for_cluster(config)
        check_images(allow_tags)

        api = KfpApi(endpoint)
        console = Console()
        compiled = compile_version(pipeline, config, code_revision(revision), Path(folder))
        run_id = submit_run(api, compiled, config, arguments, console, name, again)

    if wait:
        with reporting_errors(debug, crash=3), stopping_with_us(api, run_id, console, stop_with_me):
            seconds = config.cluster.run_deadline if timeout is None else timeout
            exit_status = Follower(api, compiled, run_id, console, interval).wait(seconds, allow_refusal)
        raise typer.Exit(exit_status)


@commands.command()
def schedule(
    environment: Environment = None,
    params: File = None,
    override: Override = None,
    show: Annotated[bool, typer.Option("--list", help="Show the schedules.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Do not start runs until --resume.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Start runs again after --pause.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the schedules.")] = False,
    pipeline: Annotated[
        str | None, typer.Option(help="Only this pipeline; default: all.", callback=known_pipeline)
    ] = None,
    revision: Revision = "",
    allow_tags: AllowTags = False,
    debug: Debug = False,
) -> None:
    """Set up the schedules of the parameter file, or show, pause, resume or remove them.

    A second call with the same parameters changes nothing. A changed schedule replaces the old schedule without a gap.
    """
    with reporting_errors(debug):
        from components.container_images import check_images
        from components.shared.services.kfp_api import KfpApi
        from components.shared.services.kfp_endpoint import Endpoint
        from pipelines.cluster.schedule import place_all, switch_all
        from pipelines.config.network_checks import check_networks_for_cluster
        from pipelines.config.parameter_file import load_run_config

        options = {"list": show, "pause": pause, "resume": resume, "remove": remove}
        actions = [name for name, given in options.items() if given]
        if len(actions) > 1:
            raise InputError(f"--{' and --'.join(actions)} cannot be used together; give one of them")

        file = chosen_file(environment, params)
        config = load_run_config(file, override or [])
        api = KfpApi(Endpoint.from_environment())
        console = Console()
        if actions:
            switch_all(api, config, file.stem, pipeline, actions[0], console)
        else:
            check_networks_for_cluster(config)
            check_images(allow_tags)
            place_all(api, config, file.stem, pipeline, code_revision(revision), console)


def _pairs(parameters: list[str]) -> dict[str, str]:
    pairs = {}
    for text in parameters:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InputError(f'--parameter is "{text}"; write it as key=value, such as seed=2')
        pairs[key] = value
    return pairs
