"""Send a pipeline to KFP: an immutable version of it, and a run of that version."""

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

REPEAT = datetime.timedelta(hours=1)  # within which the same again is more likely a slip than a wish


@dataclass(frozen=True)
class Published:
    """A version that KFP holds, and the experiment that its runs belong to."""

    version: kfp_server_api.V2beta1PipelineVersionReference
    experiment_id: str


def check_target(api: KfpApi, config: RunConfig) -> None:
    """See, before anything is created, that KFP will do and that its namespace has the pods' service account.

    Raises:
        InputError: It will not do, or the account is not there.
    """
    api.check()
    refuse_missing_account(api.namespace or KFP_NAMESPACE, config.cluster.service_account)


def publish(api: KfpApi, compiled: CompiledPipeline, config: RunConfig, console: Console) -> Published:
    """Bring a version into KFP where it is not there yet, with its pipeline and its experiment.

    Args:
        api: KFP, checked.
        compiled: The version.
        config: Its parameters; `experiment` names the experiment.
        console: Where it is said whether the version is new.
    """
    pipeline = api.pipeline(compiled.name, compiled.description)
    version, uploaded = api.version(pipeline.pipeline_id, compiled.version, compiled.file, compiled.description)
    link = api.link(f"pipelines/details/{pipeline.pipeline_id}/version/{version.pipeline_version_id}")
    done = "uploaded" if uploaded else "unchanged"
    console.print(f"{compiled.name} version {compiled.version}: {done}, {link}", soft_wrap=True)
    if "-dirty-" in compiled.version:
        console.print("[yellow]warning:[/] files differ from the commit; the version's name says so: -dirty")
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
    """Start a run; return its id.

    Args:
        api: KFP.
        compiled: The version to run.
        config: Its parameters, which name the experiment and the service account.
        given: Run-time parameters other than their defaults.
        console: Where the links are printed.
        name: First part of the run's name; the time and a random part follow, so that names are never used twice.
        again: Allow the same version and run-time parameters as in a run of the last hour.

    Raises:
        InputError: KFP or its namespace cannot be used, a run-time parameter is wrong, or the same was submitted within
            the hour.
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
    now = datetime.datetime.now(datetime.UTC)
    for run in api.runs(published.experiment_id):
        age = now - run.created_at
        if age > REPEAT:
            return  # the newest come first
        reference = run.pipeline_version_reference
        same_version = reference and reference.pipeline_version_id == published.version.pipeline_version_id
        if same_version and run.runtime_config and run.runtime_config.parameters == arguments:
            raise InputError(
                f'the same version with the same parameters was submitted {age.seconds // 60} minutes ago: "'
                f'{run.display_name}", {run.state.lower()}, {api.link(f"runs/details/{run.run_id}")}. '
                "If that is meant, add --again (make: AGAIN=1)"
            )
