"""Upload a pipeline to KFP as an immutable version, and start a run of that version."""

import datetime
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import kfp_server_api
from rich.console import Console

from components.shared.errors import InputError
from components.shared.services.kfp_api import KfpApi
from pipelines.cluster.kubernetes_view import KFP_NAMESPACE, refuse_missing_account
from pipelines.config.run_config import RunConfig
from pipelines.graphs.compile import CompiledPipeline

# A second submission of the same run within this time is probably a mistake.
REPETITION_WINDOW = datetime.timedelta(hours=1)
UNSUCCESSFUL_STATES = ("FAILED", "CANCELING", "CANCELED", "SKIPPED")


@dataclass(frozen=True)
class Published:
    """A version of a pipeline in KFP, and the experiment of its runs."""

    version: kfp_server_api.V2beta1PipelineVersionReference
    experiment_id: str


def check_target(api: KfpApi, config: RunConfig) -> None:
    """Check that KFP can be used and that the pods' service account exists, before anything is created.

    Raises:
        InputError: KFP cannot be used, or the service account does not exist.
    """
    api.check()
    refuse_missing_account(api.namespace or KFP_NAMESPACE, config.cluster.service_account)


def publish(api: KfpApi, compiled: CompiledPipeline, config: RunConfig, console: Console) -> Published:
    """Upload a version of a pipeline if KFP does not have it yet. Create the pipeline and the experiment if needed.

    Args:
        api: The API of KFP. Call `check_target` before.
        compiled: The version of the pipeline.
        config: The parameters of the version. They name the experiment.
        console: Shows whether the version is new.
    """
    pipeline = api.pipeline(compiled.name, compiled.description)
    version, uploaded = api.version(pipeline.pipeline_id, compiled.version, compiled.file, compiled.description)

    link = api.link(f"pipelines/details/{pipeline.pipeline_id}/version/{version.pipeline_version_id}")
    done = "uploaded" if uploaded else "unchanged"
    console.print(f"{compiled.name} version {compiled.version}: {done}, {link}", soft_wrap=True)
    if "-dirty-" in compiled.version:
        console.print("[yellow]warning:[/] files differ from the commit, so the name of the version contains -dirty")

    reference = kfp_server_api.V2beta1PipelineVersionReference(
        pipeline_id=pipeline.pipeline_id, pipeline_version_id=version.pipeline_version_id
    )
    return Published(reference, api.experiment(config.experiment).experiment_id)


def submit(
    api: KfpApi,
    compiled: CompiledPipeline,
    config: RunConfig,
    given: Mapping[str, Any],
    console: Console,
    name: str = "",
    again: bool = False,
) -> str:
    """Start a run and return its id.

    Args:
        api: The API of KFP.
        compiled: The version of the pipeline to run.
        config: The parameters of the version. They name the experiment and the service account.
        given: Run-time parameters that differ from their defaults.
        console: Shows the links.
        name: First part of the run's name. The time and a random part follow, so that every name is unique.
        again: True allows a run even if the same version was submitted with the same run-time parameters within the
            last hour.

    Raises:
        InputError: KFP or its namespace cannot be used, a run-time parameter is wrong, or the same run was submitted
            within the last hour.
    """
    arguments = compiled.arguments(given)
    check_target(api, config)
    published = publish(api, compiled, config, console)
    if not again:
        _refuse_repetition(api, published, arguments)

    now = datetime.datetime.now(datetime.UTC)
    run = api.create_run(
        kfp_server_api.V2beta1Run(
            display_name=f"{name or compiled.name} {now:%Y-%m-%d %H:%M:%S} {secrets.token_hex(2)}",
            description=arguments.get("run_note") or None,
            experiment_id=published.experiment_id,
            pipeline_version_reference=published.version,
            runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=arguments),
            service_account=config.cluster.service_account,
        )
    )
    console.print(f'run "{run.display_name}": {api.link(f"runs/details/{run.run_id}")}', soft_wrap=True)
    return run.run_id


def _refuse_repetition(api: KfpApi, published: Published, arguments: dict[str, Any]) -> None:
    """Raise InputError if the same version was submitted with the same parameters within the last hour.

    A run that failed or was stopped does not count.
    """
    now = datetime.datetime.now(datetime.UTC)
    for run in api.runs(published.experiment_id):
        age = now - run.created_at
        if age > REPETITION_WINDOW:
            return  # the runs are listed in order, the newest first

        if run.state in UNSUCCESSFUL_STATES:
            continue
        reference = run.pipeline_version_reference
        same_version = reference and reference.pipeline_version_id == published.version.pipeline_version_id
        same_parameters = run.runtime_config and run.runtime_config.parameters == arguments
        if same_version and same_parameters:
            link = api.link(f"runs/details/{run.run_id}")
            raise InputError(
                "the same version with the same parameters was submitted "
                f'{age.seconds // 60} minutes ago: "{run.display_name}", {run.state.lower()}, {link}. '
                "To run it again, add --again (make: AGAIN=1)"
            )
