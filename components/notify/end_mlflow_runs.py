"""End the job's MLflow runs, which would otherwise stay "running" for ever where a step died."""

import os

from components.notify.config import NotifyConfig
from components.shared.events import log


def close_runs(state: str, job: str, config: NotifyConfig) -> None:
    """Give every MLflow run of the job that still runs its final status; a failure here is logged, not raised.

    Args:
        state: KFP's final state, such as SUCCEEDED, FAILED or CANCELLED.
        job: The pipeline job's id.
        config: The experiment's name.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return
    from components.shared.services import mlflow_runs  # late: importing mlflow takes longer than the rest of this step

    try:
        mlflow_runs.end_job(config.experiment, job, "FINISHED" if state == "SUCCEEDED" else "FAILED")
    except Exception as error:  # the message is out; the run's result does not depend on this
        log.warning("the job's MLflow runs could not be ended: %s", error)
