"""Acts: a run that registers a version, a refused, a failed and a stopped run, a schedule, a drift check."""

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from components.shared.services.kfp_api import KfpApi
from components.shared.services.kfp_endpoint import Endpoint
from pipelines.cluster.follow import END_STATES
from tests.cluster.proof import MODEL, Ended, FailedError, Proof

RUN_SECONDS = 1200
IMAGES = 10
EXPERIMENT = "crack-training"
INCOMING = "s3://crack/proof/incoming"


def register(proof: Proof) -> str:
    """A run registers version 1, and the command and MLflow report it as a success."""
    done = proof.crack("submit", "kind", "--allow-tags", "--wait", "--interval", "5", seconds=RUN_SECONDS)
    done.must(0, f"registered {MODEL} version 1")
    _must_notify(proof, "✅")
    states = _mlflow_states(proof)
    if set(states) != {"FINISHED"}:
        raise FailedError(f"MLflow's runs have the states {states}")
    return f"{MODEL} version 1; {len(states)} runs in MLflow are FINISHED; notified; status: {_status_size(proof)}"


def _must_notify(proof: Proof, mark: str) -> None:
    """Check how the message about the newest run begins. Without a webhook, the step notify prints the message."""
    proof.crack("runs", "logs", "kind", "latest", "notify").must(0, f"{mark} {EXPERIMENT}, job ")


def _status_size(proof: Proof) -> str:
    """Return the number of nodes and the size of the newest run's status, as Argo keeps it in Kubernetes.

    Raises:
        FailedError: The status is compressed, because it is larger than 1 MiB. KFP cannot read such a status.
    """
    newest = max(proof.objects("workflows"), key=lambda workflow: workflow["metadata"]["creationTimestamp"])
    nodes = newest["status"].get("nodes")
    if not nodes:
        raise FailedError("Argo has compressed the run's status, so KFP shows old states of the steps")
    mebibytes = len(json.dumps(nodes, separators=(",", ":"))) / 2**20
    return f"{len(nodes)} nodes, {mebibytes:.2f} MiB"


def _mlflow_states(proof: Proof) -> list[str]:
    """Return the states of all runs in MLflow. We ask in another process, because MLflow keeps its settings."""
    code = (
        "from mlflow.tracking import MlflowClient\nclient = MlflowClient()\n"
        "places = [one.experiment_id for one in client.search_experiments()]\n"
        "print(*[run.info.status for run in client.search_runs(places)])"
    )
    return proof.python(code).split()


def promote(proof: Proof) -> str:
    """Version 1 becomes champion."""
    proof.crack("promote", "1", "--by", "proof", "--why", "make test-cluster").must(0)
    proof.crack("status").must(0, "champion")
    return "version 1 is champion"


def refuse(proof: Proof) -> str:
    """A run whose candidates do not pass the gate ends with 1, and says why."""

    def stricter(parameters: dict) -> None:
        parameters["gate"]["limits"] = [{"name": "accuracy", "limit": 0.9999}]

    done = _submit(proof, proof.params("refused", stricter))
    done.must(1, "refused: no candidate passed the gate")
    _must_notify(proof, "🚫")
    return "exit status 1, with the reasons"


def fail(proof: Proof) -> str:
    """A run that cannot read its source ends with 1 and prints the step's own message."""
    place = "s3://crack/does-not-exist"
    _submit(proof, "kind", "-p", f"data_uri={place}").must(1, "ingest failed", place)
    _must_notify(proof, "❌")
    return "exit status 1, with the cause"


def stop(proof: Proof) -> str:
    """A run that a person stops is reported as stopped. Argo may end the step notify before it sends the message."""
    proof.crack("submit", "kind", "--allow-tags", "--again", "-p", "seed=3").must(0)
    time.sleep(20)
    proof.crack("runs", "stop", "kind", "latest").must(0)
    done = proof.crack("runs", "follow", "kind", "latest", "--interval", "5", "--timeout", "300", seconds=330)
    done.must(1, "stopped")
    log = proof.crack("runs", "logs", "kind", "latest", "notify").output
    notified = "notified" if f"⏹️ {EXPERIMENT}, job " in log else "not notified, because Argo ended the step notify"
    return f"exit status 1, stopped; {notified}"


def drift_check(proof: Proof) -> str:
    """A drift check of ten images ends with a verdict."""
    proof.python(_draw_images(proof.folder / "incoming"))
    options = ("--pipeline", "crack-drift-check", "-p", f"images={INCOMING}")
    _submit(proof, "kind", *options).must(0, "succeeded")
    return f"{IMAGES} images compared with the champion's training sample"


def _draw_images(folder: Path) -> str:
    """Draw grey images into a folder; return the code that uploads them."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(IMAGES):
        cv2.imwrite(str(folder / f"{number}.png"), rng.normal(128, 20, (64, 64)).clip(0, 255).astype(np.uint8))
    return (
        f"from components.shared.services.store import Store\nStore({INCOMING!r}).put_folder('photo', {str(folder)!r})"
    )


def recurring_run(proof: Proof) -> str:
    """A schedule for every minute starts a run without a command."""

    def every_minute(parameters: dict) -> None:
        schedule = {"cron": "* * * * *", "parameters": {"images": INCOMING}}
        parameters["schedule"] = {"crack-drift-check": schedule}

    file = proof.params("kind", every_minute)
    api = KfpApi(Endpoint.from_environment(proof.environment))
    api.check()
    experiment = api.experiment(EXPERIMENT)
    known = {run.run_id for run in api.runs(experiment.experiment_id)}
    proof.crack("schedule", "--params", file, "--allow-tags").must(0)

    def scheduled_run() -> Any:
        newer = (run for run in api.runs(experiment.experiment_id) if run.run_id not in known)
        return next((run for run in newer if run.recurring_run_id), None)

    try:
        run = proof.wait_for("a run that the schedule starts", 240, scheduled_run)
        proof.crack("schedule", "--params", file, "--remove").must(2, "has not ended")
        proof.crack("schedule", "--params", file, "--pause").must(0)
        api.stop_run(run.run_id)
        proof.wait_for("the end of the stopped run", 240, lambda: api.run(run.run_id).state in END_STATES)
    finally:
        removed = proof.crack("schedule", "--params", file, "--remove")
    removed.must(0)
    return f'it started "{run.display_name}", and was not removed before this run had ended'


def _submit(proof: Proof, parameters: str, *options: str) -> Ended:
    """Run kind.yaml, or a parameter file of this proof, to its end."""
    chosen = [parameters] if parameters == "kind" else ["--params", parameters]
    command = ["submit", *chosen, "--allow-tags", "--again", "--wait", "--interval", "5", *options]
    return proof.crack(*command, seconds=RUN_SECONDS)
