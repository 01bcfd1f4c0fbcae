"""The KFP component of notify, which is the run's exit handler."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def notify(status: dsl.PipelineTaskFinalStatus, config: str, job: str):
    """Send people a message about how the run ended, and end the job's MLflow runs.

    The message contains the state, the failed steps with their errors, the results and a link.

    Args:
        status: The run's final state, which KFP fills in.
        config: NotifyConfig as JSON.
        job: The pipeline job's id.
    """
    from components.notify.config import NotifyConfig
    from components.notify.end_mlflow_runs import close_runs
    from components.notify.ended_run import inspect_run
    from components.notify.message import compose
    from components.notify.webhook import deliver
    from components.shared.step import step

    parsed = NotifyConfig.model_validate_json(config)
    with step("notify", job, parsed.store):
        run = inspect_run(status.state or "", job, parsed.store)
        deliver(compose(run, parsed), parsed)
        close_runs(run.ending, job, parsed)
