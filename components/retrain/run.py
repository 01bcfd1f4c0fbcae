"""Start a run of crack-training, once for each period of drift, with the service account of the step."""

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
    """Start the newest version of the pipeline crack-training, once for each period of drift.

    A period of drift belongs to one champion. It begins with a check whose result is "retrain", and it ends with the
    next check whose result is "steady". If it lasts longer than `again_after_days`, another training is started. The
    name of a training run contains the start of the period. So we can ask KFP whether a training was started already.

    Args:
        verdict_path: JSON file with the result of the drift check.
        config: Contains the address of KFP and `again_after_days`.
        job: The pipeline job's id. The result is stored under this id for the notify step.
        token: File with the service account's token. If it does not exist, no token is sent.

    Returns:
        The id of the training run.

    Raises:
        InputError: KFP does not answer or refuses the request, or it has no version of crack-training.
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
    """The id of a training run, and a sentence that says whether this step or an earlier check started the run."""

    run: str
    sentence: str


def _find_or_start(kfp: KfpApi, config: RetrainConfig, verdict: dict[str, Any]) -> _Training:
    """Return the training run of this period of drift. If there is none, start it."""
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
            f"This drift has started a training already: run {before.run_id}, {before.state or 'PENDING'}. Drift after "
            "a steady check, or drift of a new champion, starts a new training. If this drift lasts, it starts another "
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
