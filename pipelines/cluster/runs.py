"""List the runs of an experiment in KFP, find a run, and read the log of one of its steps."""

import datetime
from collections.abc import Iterator
from itertools import islice
from typing import Any

from rich.table import Table

from components.shared.errors import InputError
from components.shared.services.kfp_api import KfpApi
from pipelines.cluster.run_details import step_names
from pipelines.cluster.workflow_nodes import newest_pods, read_pods
from pipelines.config.run_config import RunConfig
from pipelines.graphs.compile import CompiledPipeline

LATEST = "latest"


def runs_table(api: KfpApi, config: RunConfig, limit: int) -> Table:
    """Return a table of the newest runs of the experiment that the parameters name."""
    table = Table(title=f"Runs of {config.experiment}", title_justify="left", box=None, pad_edge=False)
    for title in ("id", "state", "started (UTC)", "minutes", "name"):
        table.add_column(title, justify="right" if title == "minutes" else "left", overflow="fold")

    for run in islice(_runs(api, config), limit):
        started = f"{run.created_at:%Y-%m-%d %H:%M}"
        table.add_row(run.run_id, run.state.lower(), started, f"{_minutes(run):.0f}", run.display_name)
    return table


def find_run(api: KfpApi, config: RunConfig, wanted: str) -> Any:
    """Find a run in an experiment, and return the run with its details.

    Args:
        api: The API of KFP.
        config: The parameters. They name the experiment.
        wanted: The start of the run's id, or "latest".

    Raises:
        InputError: No run matches, or several runs match.
    """
    matching = []
    for run in _runs(api, config):
        if wanted == LATEST:
            return api.run(run.run_id)
        if run.run_id.startswith(wanted):
            matching.append(run.run_id)

    if len(matching) != 1:
        problem = "several runs" if matching else "no run"
        raise InputError(
            f'experiment "{config.experiment}" has {problem} with an id that starts with "{wanted}"; `crack-pipeline '
            'runs list` shows the ids, and "latest" means the newest run'
        )
    return api.run(matching[0])


def step_log(api: KfpApi, compiled: CompiledPipeline, run: Any, step: str) -> str:
    """Return everything that a step has logged until now.

    Args:
        api: The API of KFP.
        compiled: The pipeline of the run. It contains the names of the steps.
        run: The run with its details.
        step: Display name of the step, such as "train vit".

    Raises:
        InputError: The pipeline has no such step, or KFP shows no pod of the step.
    """
    names = step_names(compiled)
    if step not in names.values():
        known = ", ".join(f'"{name}"' for name in dict.fromkeys(names.values()))
        raise InputError(f'the pipeline {compiled.name} has no step "{step}"; it has {known}')

    for task, pod in newest_pods(read_pods(api, run.run_id)).items():
        if names.get(task) == step:
            return api.log(run.run_id, pod)
    raise InputError(
        f'KFP shows no pod of step "{step}" in run {run.run_id}. The step has probably not started; see '
        f"{api.link(f'runs/details/{run.run_id}')}"
    )


def _runs(api: KfpApi, config: RunConfig) -> Iterator[Any]:
    """Yield the experiment's runs, the newest first."""
    experiment = api.find_experiment(config.experiment)
    if experiment is not None:
        yield from api.runs(experiment.experiment_id)


def _minutes(run: Any) -> float:
    """Return the duration of a run in minutes."""
    now = datetime.datetime.now(datetime.UTC)
    ended = run.finished_at if run.finished_at and run.finished_at > run.created_at else now
    return (ended - run.created_at) / datetime.timedelta(minutes=1)
