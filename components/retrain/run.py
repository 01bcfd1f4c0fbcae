"""Start a run of crack-training, once for each drift, with the step's own service account."""

import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api as api

from components.retrain.config import RetrainConfig
from components.shared.errors import InputError
from components.shared.events import log
from components.shared.services.kfp_api import KfpApi, KfpError
from components.shared.services.kfp_endpoint import VOLUME_TOKEN, Endpoint
from components.shared.services.records import write_record
from components.shared.services.store import Store

PIPELINE = "crack-training"


def start_training(verdict_path: str, config: RetrainConfig, job: str, token: Path = VOLUME_TOKEN) -> str:
    """Start the newest version of the pipeline crack-training, unless the same drift has started a run.

    Return the id of the run.

    A drift belongs to one champion. It lasts from the first check with the verdict to retrain until a check is
    steady again. A drift that lasts longer than `again_after_days` counts as another drift. The run's name contains the
    drift, so that KFP shows whether it has started a training.

    Args:
        verdict_path: The drift check's verdict, JSON.
        config: The address of KFP, and the days after which a lasting drift starts another training.
        job: The pipeline job's id. The step notify finds the result under this id.
        token: File of the service account's token. If it does not exist, no token is sent.

    Raises:
        InputError: KFP does not answer or refuses, or has no version of crack-training.
    """
    verdict = json.loads(Path(verdict_path).read_text(encoding="utf-8"))
    kfp = KfpApi(Endpoint.of_pod(config.endpoint, config.namespace, token))
    try:
        kfp.check()
        training = _find_or_start(kfp, config, verdict)
    except KfpError as error:
        raise InputError(
            f"the training could not be started: {error}. Check retrain.endpoint, which this step uses instead of "
            "KFP_ENDPOINT, and check that the step's service account may create runs"
        ) from error

    log.info(training.sentence)
    record = {"run": training.run, "said": training.sentence}
    write_record(Store(config.store), f"runs/{job}/training.json", record)
    return training.run


@dataclass(frozen=True)
class _Training:
    """The id of a training run, and a sentence that says whether the run was started now."""

    run: str
    sentence: str


def _find_or_start(kfp: KfpApi, config: RetrainConfig, verdict: dict[str, Any]) -> _Training:
    """Return the training of this drift; start it if there is none."""
    version = kfp.newest_version(PIPELINE)
    if version is None:
        raise InputError(
            f"KFP at {config.endpoint} has no version of the pipeline {PIPELINE}; upload one with crack-pipeline submit"
        )

    experiment = kfp.experiment(config.experiment).experiment_id
    since = _time(verdict["since"])
    repetitions = (_time(verdict["checked"]) - since).days // config.again_after_days
    name = f"{PIPELINE} after drift of {verdict['model']} {verdict['version']} since {verdict['since']}"
    if repetitions:
        name += f", {repetitions + 1}"

    before = kfp.find_run(experiment, name)
    if before is not None:
        next_start = since + (repetitions + 1) * datetime.timedelta(days=config.again_after_days)
        sentence = (
            f"This drift has started a training already: run {before.run_id}, {before.state or 'PENDING'}. A new "
            f"champion or a drift after a steady check starts another training. If this drift lasts, it starts another "
            f"training from {next_start:%Y-%m-%d} on."
        )
        return _Training(before.run_id, sentence)

    body = api.V2beta1Run(
        display_name=name,
        experiment_id=experiment,
        pipeline_version_reference=api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
        ),
        runtime_config=api.V2beta1RuntimeConfig(parameters={"run_note": verdict["reason"]}),
        service_account=config.service_account,
    )
    started = kfp.create_run(body).run_id
    return _Training(started, f"Training started: run {started}.")


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)
