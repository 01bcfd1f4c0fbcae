"""End the job's MLflow runs. If a step was killed, its MLflow run still has the status "running"."""

import os

from components.notify.config import NotifyConfig
from components.notify.ended_run import Ending
from components.shared.events import log

MLFLOW_STATUS = {
    Ending.SUCCEEDED: "FINISHED",
    Ending.REFUSED: "FINISHED",
    Ending.FAILED: "FAILED",
    Ending.STOPPED: "KILLED",
    Ending.UNKNOWN: "FAILED",
}


def close_runs(ending: Ending, job: str, config: NotifyConfig) -> None:
    """Give a final status to the job's MLflow runs whose status is still "running". If this fails, log a warning.

    Args:
        ending: How the job ended.
        job: The pipeline job's id.
        config: Gives the name of the MLflow experiment.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return
    from components.shared.services import mlflow_runs  # imported here, because the import takes seconds

    try:
        mlflow_runs.end_job(config.experiment, job, MLFLOW_STATUS[ending])
    except Exception as error:  # a problem with MLflow must not change the result of the run
        log.warning("the job's MLflow runs could not be ended: %s", error)
