"""Create, change, pause and remove the recurring runs in KFP that the parameter file describes."""

import datetime
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import kfp_server_api as kfp
from rich.console import Console
from rich.table import Table

from components.shared.errors import InputError
from components.shared.services.kfp_api import KfpApi
from pipelines.cluster.follow import END_STATES
from pipelines.cluster.submit import check_target, publish
from pipelines.config.cron import cron_for_kfp, next_time
from pipelines.config.run_config import RunConfig
from pipelines.config.schedule_config import ScheduleConfig
from pipelines.graphs.compile import MODULES, CompiledPipeline, compile_version


def schedule_name(pipeline: str, environment: str) -> str:
    """Return the name of a pipeline's recurring run."""
    return f"{pipeline} {environment}"


def place_schedule(
    api: KfpApi,
    compiled: CompiledPipeline,
    config: RunConfig,
    schedule: ScheduleConfig,
    environment: str,
    console: Console,
) -> None:
    """Schedule a version of a pipeline, and replace the recurring run of the same name.

    KFP cannot change a recurring run (kubeflow/pipelines#6001). So we create a new recurring run, and then delete the
    old recurring run. If an error occurs after the creation, the next call deletes the old recurring run. If a person
    has paused the old recurring run, the new recurring run is paused too.

    Args:
        api: The API of KFP. Call `check_target` before.
        compiled: The version of the pipeline to run.
        config: The parameters of the version.
        schedule: The times and the run-time parameters.
        environment: Second part of the recurring run's name, such as "prod".
        console: Shows what was done.
    """
    arguments = compiled.arguments(schedule.parameters)
    published = publish(api, compiled, config, console)
    name = schedule_name(compiled.name, environment)

    before = list(_named(api, published.experiment_id, [name]))
    paused = bool(before) and all(_is_paused(run) for run in before)
    wanted = kfp.V2beta1RecurringRun(
        display_name=name,
        description=f"{compiled.version}; change this recurring run with `crack-pipeline schedule` only",
        experiment_id=published.experiment_id,
        pipeline_version_reference=published.version,
        runtime_config=kfp.V2beta1RuntimeConfig(parameters=arguments),
        service_account=config.cluster.service_account,
        trigger=kfp.V2beta1Trigger(cron_schedule=kfp.V2beta1CronSchedule(cron=cron_for_kfp(schedule.cron))),
        max_concurrency="1",
        no_catchup=True,
        mode=kfp.RecurringRunMode.DISABLE if paused else kfp.RecurringRunMode.ENABLE,
    )

    current = _first_like(before, wanted)
    superseded = [run for run in before if run is not current]
    for run in superseded:
        _require_ended(api, run)

    if current:
        done = "unchanged"
    else:
        done = "changed" if before else "created"
        current = api.create_recurring_run(
            wanted, find=lambda: _first_like(_named(api, published.experiment_id, [name]), wanted)
        )

    for run in superseded:
        api.delete_recurring_run(run.recurring_run_id)

    when = "paused; --resume starts it again" if paused else f"next at {_next(current)}"
    link = api.link(f"recurringrun/details/{current.recurring_run_id}")
    console.print(f'schedule "{name}": {done}, {when}, {link}', soft_wrap=True)


def place_all(
    api: KfpApi, config: RunConfig, environment: str, pipeline: str | None, revision: str, console: Console
) -> None:
    """Place every schedule of the parameter file, or only the schedule of one pipeline.

    All pipelines are compiled before anything is created.

    Raises:
        InputError: The parameter file has no schedule, or no schedule for this pipeline. The error is also raised if
            KFP or its namespace cannot be used, or if a run of the old schedule has not ended.
    """
    chosen: dict[str, ScheduleConfig] = {}
    for name, schedule in config.schedule.items():
        if pipeline in (None, name):
            chosen[name] = schedule
    if not chosen:
        example = pipeline or next(iter(MODULES))
        missing = pipeline or "any pipeline"
        raise InputError(
            f'the parameters "{environment}" have no schedule for {missing}; '
            f'add to the file: schedule: {{{example}: {{cron: "0 2 * * 1"}}}}'
        )

    with tempfile.TemporaryDirectory() as folder:
        versions = [compile_version(name, config, revision, Path(folder)) for name in chosen]
        for version in versions:
            version.arguments(chosen[version.name].parameters)  # raises an error if a parameter is wrong
        check_target(api, config)
        for version in versions:
            place_schedule(api, version, config, chosen[version.name], environment, console)

    unscheduled = [schedule_name(name, environment) for name in MODULES if name not in config.schedule]
    for run in _find(api, config, unscheduled):
        console.print(
            f'[yellow]warning:[/] "{run.display_name}" is scheduled, but the parameter file does not schedule it; '
            f"remove the schedule with --remove --pipeline {run.display_name.removesuffix(f' {environment}')}"
        )


def switch_all(
    api: KfpApi, config: RunConfig, environment: str, pipeline: str | None, action: str, console: Console
) -> None:
    """List, pause, resume or remove the schedules of an environment, or only the schedule of one pipeline.

    Raises:
        InputError: Nothing is scheduled, or KFP cannot be used. Or the action is "remove", and a run of a schedule has
            not ended.
    """
    names = sorted(schedule_name(name, environment) for name in MODULES if pipeline in (None, name))
    api.check()
    runs = _find(api, config, names)
    if action == "list":
        console.print(_table(runs))
        return

    if not runs:
        missing = " or ".join(names) or pipeline
        raise InputError(
            f'nothing is scheduled under {missing} in experiment "{config.experiment}"; --list shows what is scheduled'
        )
    if action == "remove":
        for run in runs:
            _require_ended(api, run)
    for run in runs:
        if action == "remove":
            api.delete_recurring_run(run.recurring_run_id)
        else:
            api.switch_recurring_run(run.recurring_run_id, on=action == "resume")
        console.print(f'schedule "{run.display_name}": {action.rstrip("e")}ed')


def _require_ended(api: KfpApi, recurring: Any) -> None:
    """Raise InputError if the newest run of a recurring run has not ended. A recurring run has at most one active run.

    KFP deletes the workflows of a recurring run together with the recurring run. A workflow that has not ended would
    lose its pods, and nobody would get a message.
    """
    for run in api.runs(recurring.experiment_id):
        if run.recurring_run_id == recurring.recurring_run_id:
            if run.state not in END_STATES:
                raise InputError(
                    f'the schedule "{recurring.display_name}" cannot be changed or removed now, because its run '
                    f'"{run.display_name}" has not ended, and KFP would delete this run too. Wait until the run ends, '
                    f"or stop it first: crack-pipeline runs stop ENV {run.run_id}"
                )
            return


def _find(api: KfpApi, config: RunConfig, names: Collection[str]) -> list[Any]:
    """Return the recurring runs with these names. Only runs in the experiment of `config` are returned."""
    experiment = api.find_experiment(config.experiment)
    if experiment is None:
        return []
    return list(_named(api, experiment.experiment_id, names))


def _named(api: KfpApi, experiment_id: str, names: Collection[str]) -> Iterator[Any]:
    for run in api.recurring_runs(experiment_id):
        if run.display_name in names:
            yield run


def _table(runs: list[Any]) -> Table:
    table = Table(title="Schedules", title_justify="left")
    for column in ("name", "cron (UTC)", "next", "version", "state"):
        table.add_column(column)

    for run in runs:
        version = (run.description or "").partition(";")[0]
        if _is_paused(run):
            table.add_row(run.display_name, _cron(run), "-", version, "paused")
        else:
            table.add_row(run.display_name, _cron(run), _next(run), version, "enabled")
    return table


def _first_like(runs: Iterable[Any], wanted: Any) -> Any | None:
    """Return the first recurring run with the same settings as `wanted`, or None if there is none."""
    for run in runs:
        if _essence(run) == _essence(wanted):
            return run
    return None


def _essence(run: Any) -> dict[str, Any]:
    """Return the settings that we compare to decide whether two recurring runs are equal. KFP may omit a setting."""
    reference = run.pipeline_version_reference
    cron = run.trigger and run.trigger.cron_schedule
    return {
        "version": reference and reference.pipeline_version_id,
        "parameters": run.runtime_config and run.runtime_config.parameters,
        "service account": run.service_account,
        "cron": cron and cron.cron,
        "max concurrency": run.max_concurrency,
        "no catch-up": run.no_catchup,
    }


def _is_paused(run: Any) -> bool:
    return run.mode == kfp.RecurringRunMode.DISABLE or run.status == kfp.V2beta1RecurringRunStatus.DISABLED


def _cron(run: Any) -> str:
    """Return the cron expression of a recurring run. It has five fields: KFP's field for seconds is left out."""
    return run.trigger.cron_schedule.cron.removeprefix("0 ")


def _next(run: Any) -> str:
    return f"{next_time(_cron(run), datetime.datetime.now(datetime.UTC)):%a %Y-%m-%d %H:%M} UTC"
