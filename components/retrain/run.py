"""Start a run of crack-training, once for each drift, as the service account that the step itself runs as."""

import datetime
import json
from pathlib import Path
from typing import Any

import kfp_server_api as api

from components.retrain.config import RetrainConfig
from components.shared.errors import InputError
from components.shared.events import log
from components.shared.services.kfp_api import KfpApi, KfpError
from components.shared.services.kfp_endpoint import VOLUME_TOKEN, Endpoint
from components.shared.services.store import Store

PIPELINE = "crack-training"


def start_training(verdict_path: str, config: RetrainConfig, job: str, token: Path = VOLUME_TOKEN) -> str:
    """Start the newest version of crack-training, unless one was started for the same drift; return the run's id.

    A drift is one champion's, from the check that first asks for a retraining until a check is steady again; one that
    outlasts `again_after_days` counts as another. The run bears its name, so that KFP itself remembers.

    Args:
        verdict_path: The drift check's verdict, JSON.
        config: Where KFP is, and after how many days a drift that lasts is trained for again.
        job: The pipeline job's id, under which notify finds what was done.
        token: File of the service account's token; without the file, none is sent.

    Raises:
        InputError: KFP does not answer or refuses, or has no version of crack-training.
    """
    verdict = json.loads(Path(verdict_path).read_text(encoding="utf-8"))
    try:
        run, said = _start(KfpApi(Endpoint.of_pod(config.endpoint, config.namespace, token)), config, verdict)
    except KfpError as error:
        raise InputError(
            f"the training could not be started: {error}; check retrain.endpoint, which stands for KFP_ENDPOINT here, "
            "and that the step's service account may create runs"
        ) from error
    log.info(said)
    Store(config.store).put_bytes(f"runs/{job}/training.json", json.dumps({"run": run, "said": said}).encode())
    return run


def _start(kfp: KfpApi, config: RetrainConfig, verdict: dict[str, Any]) -> tuple[str, str]:
    """The run's id, and a sentence that says whether it was started now."""
    version = kfp.newest_version(PIPELINE)
    if version is None:
        raise InputError(f"KFP at {config.endpoint} has no version of {PIPELINE}; submit one: crack-pipeline submit")
    experiment = kfp.experiment(config.experiment).experiment_id
    lasted = _time(verdict["checked"]) - _time(verdict["since"])
    times = lasted.days // config.again_after_days
    name = f"{PIPELINE} after drift of {verdict['model']} {verdict['version']} since {verdict['since']}"
    name += f", {times + 1}" if times else ""
    before = kfp.find_run(experiment, name)
    if before is not None:
        again = _time(verdict["since"]) + (times + 1) * datetime.timedelta(days=config.again_after_days)
        return before.run_id, (
            f"A training was started for this drift already: run {before.run_id}, {before.state or 'PENDING'}. "
            f"Another starts for a new champion, for a drift after a steady check, or from {again:%Y-%m-%d} on."
        )
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
    return started, f"Training started: run {started}."


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)
