"""End the job's MLflow runs. The runs of a step that died would otherwise stay "running" and never end."""

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
    """Give every MLflow run of the job that is still running its final status. A failure here is only logged.

    Args:
        ending: The ending of the job.
        job: The pipeline job's id.
        config: The experiment's name.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return
    from components.shared.services import mlflow_runs  # late, because mlflow is slow to import

    try:
        mlflow_runs.end_job(config.experiment, job, MLFLOW_STATUS[ending])
    except Exception as error:  # the message is sent, and the run's result does not depend on this
        log.warning("the job's MLflow runs could not be ended: %s", error)
