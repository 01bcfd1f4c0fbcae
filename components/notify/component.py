"""The notify step, the run's exit handler."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def notify(status: dsl.PipelineTaskFinalStatus, config: str, job: str):
    """Tell people how the run ended (state, failing step and cause, verdict, link), and MLflow too.

    Args:
        status: How the run ended; KFP fills it in.
        config: NotifyConfig as JSON.
        job: The pipeline job's id.
    """
    from components.notify.config import NotifyConfig
    from components.notify.end_mlflow_runs import close_runs
    from components.notify.message import compose
    from components.notify.webhook import deliver
    from components.shared.step import step

    parsed = NotifyConfig.model_validate_json(config)
    with step("notify", job, parsed.store):
        deliver(compose(status.state or "", job, parsed), parsed)
        close_runs(status.state or "", job, parsed)
