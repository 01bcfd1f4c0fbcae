"""Commands that list, follow and stop runs on a cluster, print their logs, and show how many resources they used."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipelines.cli.options import MOST_SECONDS, Debug, Pipeline, chosen_file, reporting_errors, require_number

if TYPE_CHECKING:
    from components.shared.services.kfp_api import KfpApi
    from pipelines.config.run_config import RunConfig

MOST_RUNS = 1000
commands = typer.Typer()
runs = typer.Typer(
    help="List, follow and stop runs on the cluster, print their logs, and show how many resources they used.",
    no_args_is_help=True,
)
commands.add_typer(runs, name="runs")

RequiredEnvironment = Annotated[
    str, typer.Argument(metavar="ENV", help="Name of a parameter file: pipelines/params/ENV.yaml.")
]
Run = Annotated[str, typer.Argument(metavar="RUN", help='The start of the run\'s id, or "latest".')]


@runs.command("list")
def list_runs(
    environment: RequiredEnvironment,
    limit: Annotated[
        int, typer.Option(help="Number of runs to list, beginning with the newest.", min=1, max=MOST_RUNS)
    ] = 15,
    debug: Debug = False,
) -> None:
    """List the newest runs of the experiment that the parameter file names."""
    with reporting_errors(debug):
        from pipelines.cluster.runs import runs_table

        api, config = _connect(environment)
        Console(highlight=False).print(runs_table(api, config, limit))


@runs.command()
def follow(
    environment: RequiredEnvironment,
    run: Run = "latest",
    pipeline: Pipeline = "crack-training",
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait; default: cluster.run_deadline.")] = None,
    interval: Annotated[float, typer.Option(help="Seconds between two requests.")] = 15.0,
    debug: Debug = False,
) -> None:
    """Follow a run to its end, as `submit --wait` does.

    Exit status: 0 = the run succeeded; 1 = it failed, was stopped, or the gate refused every candidate; 2 = an input
    was wrong; 3 = the run did not end within --timeout, or its state could not be read; 130 = this command was
    interrupted (the run continues).
    """
    with reporting_errors(debug, crash=3):
        require_number("--timeout", timeout, 0, MOST_SECONDS)
        require_number("--interval", interval, 0.01, MOST_SECONDS)

        from pipelines.cluster.follow import Follower
        from pipelines.cluster.runs import find_run
        from pipelines.graphs.compile import compile_version

        api, config = _connect(environment)
        found = find_run(api, config, run)
        with tempfile.TemporaryDirectory() as folder:
            compiled = compile_version(pipeline, config, "unknown", Path(folder))
        follower = Follower(api, compiled, found.run_id, Console(), interval)
        outcome = follower.wait(config.cluster.run_deadline if timeout is None else timeout)
    raise typer.Exit(outcome)


@runs.command()
def stop(environment: RequiredEnvironment, run: Run, debug: Debug = False) -> None:
    """Stop a run. Its pods receive SIGTERM, and a training first writes a checkpoint."""
    with reporting_errors(debug):
        from pipelines.cluster.runs import find_run

        api, config = _connect(environment)
        found = find_run(api, config, run)
        api.stop_run(found.run_id)
        link = api.link(f"runs/details/{found.run_id}")
        Console(markup=False).print(f'run "{found.display_name}" is being stopped: {link}', soft_wrap=True)


@runs.command()
def logs(
    environment: RequiredEnvironment,
    run: Run,
    step: Annotated[str, typer.Argument(help='Name of the step, such as "train vit".')],
    pipeline: Pipeline = "crack-training",
    debug: Debug = False,
) -> None:
    """Print the log of a run's step."""
    with reporting_errors(debug):
        from pipelines.cluster.runs import find_run, step_log
        from pipelines.graphs.compile import compile_version

        api, config = _connect(environment)
        found = find_run(api, config, run)
        with tempfile.TemporaryDirectory() as folder:
            compiled = compile_version(pipeline, config, "unknown", Path(folder))
        print(step_log(api, compiled, found, step))


@runs.command()
def cost(
    environment: RequiredEnvironment, run: Run = "latest", pipeline: Pipeline = "crack-training", debug: Debug = False
) -> None:
    """Show how many resources the pods of each step of a run have used so far, as Argo counts them.

    Pod hours count from the creation of a pod, so waiting for a node is included. The other columns multiply the
    requested resources by the hours that the containers ran. Argo reports these resources only when a pod ends. No
    column shows how busy a pod was.
    """
    with reporting_errors(debug):
        import datetime

        from pipelines.cluster.run_cost import cost_table, costs_by_step
        from pipelines.cluster.run_details import step_names
        from pipelines.cluster.runs import find_run
        from pipelines.cluster.workflow_nodes import read_pods
        from pipelines.graphs.compile import compile_version

        api, config = _connect(environment)
        found = find_run(api, config, run)
        with tempfile.TemporaryDirectory() as folder:
            names = step_names(compile_version(pipeline, config, "unknown", Path(folder)))
        now = datetime.datetime.now(datetime.UTC)
        costs = costs_by_step(read_pods(api, found.run_id), names, now)
        Console(highlight=False).print(cost_table(f"Used by {found.display_name}", costs))


def _connect(environment: str) -> "tuple[KfpApi, RunConfig]":
    """Check that KFP can be used, and return its API and the parameters of the environment."""
    from components.shared.services.kfp_api import KfpApi
    from components.shared.services.kfp_endpoint import Endpoint
    from pipelines.config.parameter_file import load_run_config

    config = load_run_config(chosen_file(environment, None))
    api = KfpApi(Endpoint.from_environment())
    api.check()
    return api, config
