"""Start a run of crack-training through KFP's API, as the service account that the step itself runs as."""

import json
from pathlib import Path
from typing import Any

import kfp_server_api as api
import urllib3

from components.retrain.config import RetrainConfig
from components.shared.runtime import InputError, log

TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")  # where a pod finds its service account's token for KFP
PIPELINE = "crack-training"
TIMEOUT = (10.0, 60.0)  # seconds to connect, and to answer


def start_training(verdict_path: str, config: RetrainConfig, job: str, token: Path = TOKEN) -> str:
    """Start the newest version of crack-training; return the run's id. Called again for a job, it starts no second one.

    Args:
        verdict_path: The drift check's verdict, JSON.
        config: Where KFP is.
        job: The pipeline job's id, part of the run's name.
        token: File of the service account's token; without the file, none is sent.

    Raises:
        InputError: KFP does not answer or refuses, or has no version of crack-training.
    """
    note = json.loads(Path(verdict_path).read_text(encoding="utf-8"))["reason"]
    configuration = api.Configuration(host=config.endpoint)
    if token.is_file():
        configuration.api_key = {"authorization": token.read_text(encoding="utf-8").strip()}
        configuration.api_key_prefix = {"authorization": "Bearer"}
    try:
        run = _start(api.ApiClient(configuration), config, f"{PIPELINE} after drift {job}", note)
    except (api.ApiException, urllib3.exceptions.HTTPError) as error:
        cause = getattr(error, "reason", None) or error
        raise InputError(
            f"the training could not be started: KFP at {config.endpoint} says: {cause}; check retrain.endpoint, and "
            "that the step's service account may create runs"
        ) from error
    log.info("started %s, run %s", PIPELINE, run.run_id)
    return str(run.run_id)


def _start(client: api.ApiClient, config: RetrainConfig, name: str, note: str) -> Any:
    options: dict[str, Any] = {"_request_timeout": TIMEOUT}
    pipelines, runs = api.PipelineServiceApi(client), api.RunServiceApi(client)
    here = {"namespace": config.namespace, "filter": _named(PIPELINE)}
    found = pipelines.pipeline_service_list_pipelines(**here, **options).pipelines
    versions = None
    if found:
        newest = {"sort_by": "created_at desc", "page_size": 1}
        versions = pipelines.pipeline_service_list_pipeline_versions(found[0].pipeline_id, **newest, **options)
    if not versions or not versions.pipeline_versions:
        raise InputError(f"KFP at {config.endpoint} has no version of {PIPELINE}; submit one: crack-pipeline submit")
    version = versions.pipeline_versions[0]
    experiment = _experiment(client, config, options)
    query = {"experiment_id": experiment, "filter": _named(name)}
    before = runs.run_service_list_runs(**query, **options).runs
    if before:  # by an attempt whose answer was lost
        return before[0]
    body = api.V2beta1Run(
        display_name=name,
        experiment_id=experiment,
        pipeline_version_reference=api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
        ),
        runtime_config=api.V2beta1RuntimeConfig(parameters={"run_note": note}),
        service_account=config.service_account,
    )
    return runs.run_service_create_run(body, **options)


def _experiment(client: api.ApiClient, config: RetrainConfig, options: dict[str, Any]) -> str:
    service = api.ExperimentServiceApi(client)
    here = {"namespace": config.namespace, "filter": _named(config.experiment)}
    found = service.experiment_service_list_experiments(**here, **options).experiments
    if found:
        return found[0].experiment_id
    body = api.V2beta1Experiment(display_name=config.experiment, namespace=config.namespace or None)
    return service.experiment_service_create_experiment(body, **options).experiment_id


def _named(name: str) -> str:
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    return json.dumps({"predicates": [predicate]})
