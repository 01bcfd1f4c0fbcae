"""Recurring runs in KFP, brought into the state that the parameter file describes."""

import datetime
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import kfp_server_api as kfp
from rich.console import Console
from rich.table import Table

from components.shared.errors import InputError
from components.shared.services.kfp_api import KfpApi
from pipelines.cluster.submit import check_target, publish
from pipelines.config.cron import cron_for_kfp, next_time
from pipelines.config.run_config import RunConfig
from pipelines.config.schedule_config import ScheduleConfig
from pipelines.graphs.compile import MODULES, CompiledPipeline, compile_version, git_revision


def schedule_name(pipeline: str, environment: str) -> str:
    """Return the name by which a pipeline's recurring run is found again."""
    return f"{pipeline} {environment}"


def place_schedule(
    api: KfpApi,
    compiled: CompiledPipeline,
    config: RunConfig,
    schedule: ScheduleConfig,
    environment: str,
    console: Console,
) -> None:
    """Let a version run on a schedule, in place of what was scheduled under its name.

    KFP cannot change a recurring run (kubeflow/pipelines#6001). A changed one is therefore created before the old one
    is deleted, so that whatever breaks in between, one is there; the next call removes what was left over. One that
    a person has paused stays paused.

    Args:
        api: KFP, checked.
        compiled: The version to pin.
        config: Its parameters.
        schedule: When, and with which run-time parameters.
        environment: Second part of the recurring run's name.
        console: Where it is said what was done.
    """
    arguments = compiled.arguments(schedule.parameters)
    published = publish(api, compiled, config, console)
    name = schedule_name(compiled.name, environment)
    wanted = kfp.V2beta1RecurringRun(
        display_name=name,
        description=f"{compiled.version}; changed by `crack-pipeline schedule` only",
        experiment_id=published.experiment_id,
        pipeline_version_reference=published.version,
        runtime_config=kfp.V2beta1RuntimeConfig(parameters=arguments),
        service_account=config.cluster.service_account,
        trigger=kfp.V2beta1Trigger(cron_schedule=kfp.V2beta1CronSchedule(cron=cron_for_kfp(schedule.cron))),
        max_concurrency="1",
        no_catchup=True,
    )

    def placed() -> list[Any]:
        return [run for run in api.recurring_runs(published.experiment_id) if run.display_name == name]

    before = placed()
    paused = bool(before) and all(_is_paused(run) for run in before)
    wanted.mode = kfp.RecurringRunMode.DISABLE if paused else kfp.RecurringRunMode.ENABLE
    current = next((run for run in before if _same(run, wanted)), None)
    done = "unchanged" if current else "changed" if before else "created"
    if not current:
        current = api.create_recurring_run(
            wanted, find=lambda: next((run for run in placed() if _same(run, wanted)), None)
        )
    for run in before:
        if run.recurring_run_id != current.recurring_run_id:
            api.delete_recurring_run(run.recurring_run_id)
    when = "paused: --resume lets it run" if paused else f"next at {_next(current)}"
    link = api.link(f"recurringrun/details/{current.recurring_run_id}")
    console.print(f'schedule "{name}": {done}, {when}, {link}', soft_wrap=True)


def place_all(
    api: KfpApi, config: RunConfig, environment: str, pipeline: str | None, revision: str, console: Console
) -> None:
    """Place every schedule of the parameter file, or one pipeline's; compile all before anything is created.

    Raises:
        InputError: The file schedules nothing, or not this pipeline; or KFP or its namespace cannot be used.
    """
    chosen: dict[str, ScheduleConfig] = {
        name: schedule for name, schedule in config.schedule.items() if pipeline in (None, name)
    }
    if not chosen:
        wanted = pipeline or next(iter(MODULES))
        raise InputError(
            f'the parameters "{environment}" schedule {"no pipeline" if pipeline is None else f"no {pipeline}"}; '
            f'add to the file: schedule: {{{wanted}: {{cron: "0 2 * * 1"}}}}'
        )
    with tempfile.TemporaryDirectory() as folder:
        revision = revision or git_revision()
        compiled = [compile_version(name, config, revision, Path(folder)) for name in chosen]
        for one in compiled:
            one.arguments(chosen[one.name].parameters)
        check_target(api, config)
        for one in compiled:
            place_schedule(api, one, config, chosen[one.name], environment, console)
    names = {schedule_name(name, environment) for name in set(MODULES) - set(config.schedule)}
    for left in _find(api, config, names):
        console.print(
            f'[yellow]warning:[/] "{left.display_name}" is scheduled, but not in the file; --remove --pipeline ends it'
        )


def switch_all(
    api: KfpApi, config: RunConfig, environment: str, pipeline: str | None, action: str, console: Console
) -> None:
    """List, pause, resume or remove what is scheduled for an environment, or one pipeline of it.

    Raises:
        InputError: Nothing is scheduled; or KFP cannot be used.
    """
    names = {schedule_name(name, environment) for name in MODULES if pipeline in (None, name)}
    api.check()
    runs = _find(api, config, names)
    if action == "list":
        console.print(_table(runs))
        return
    if not runs:
        raise InputError(
            f'nothing is scheduled under {" or ".join(sorted(names)) or pipeline} in experiment "{config.experiment}"'
        )
    for run in runs:
        if action == "remove":
            api.delete_recurring_run(run.recurring_run_id)
        else:
            api.switch_recurring_run(run.recurring_run_id, on=action == "resume")
        console.print(f'schedule "{run.display_name}": {action.rstrip("e")}ed')


def _find(api: KfpApi, config: RunConfig, names: Collection[str]) -> list[Any]:
    experiment = api.find_experiment(config.experiment)
    found = api.recurring_runs(experiment.experiment_id) if experiment else []
    return [run for run in found if run.display_name in names]


def _table(runs: list[Any]) -> Table:
    table = Table(title="Schedules", title_justify="left")
    for column in ("name", "cron (UTC)", "next", "version", "state"):
        table.add_column(column)
    for run in runs:
        paused = _is_paused(run)
        version = (run.description or "").partition(";")[0]
        cron = run.trigger.cron_schedule.cron.removeprefix("0 ")
        table.add_row(run.display_name, cron, "-" if paused else _next(run), version, "paused" if paused else "enabled")
    return table


def _same(run: Any, wanted: Any) -> bool:
    def essence(it: Any) -> tuple:
        reference, cron = it.pipeline_version_reference, it.trigger and it.trigger.cron_schedule
        return (
            reference and reference.pipeline_version_id,
            it.runtime_config and it.runtime_config.parameters,
            it.service_account,
            cron and cron.cron,
            it.max_concurrency,
            it.no_catchup,
        )

    return essence(run) == essence(wanted)


def _is_paused(run: Any) -> bool:
    return run.mode == kfp.RecurringRunMode.DISABLE or run.status == kfp.V2beta1RecurringRunStatus.DISABLED


def _next(run: Any) -> str:
    cron = run.trigger.cron_schedule.cron.removeprefix("0 ")
    return f"{next_time(cron, datetime.datetime.now(datetime.UTC)):%a %Y-%m-%d %H:%M} UTC"
