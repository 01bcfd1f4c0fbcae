"""The KFP component of retrain."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def retrain(verdict: dsl.Input[dsl.Artifact], config: str, job: str) -> str:
    """Start the newest version of the pipeline crack-training, once for each period of drift.

    The run note of the training contains the reason from the drift check.

    Args:
        verdict: JSON file with the result of the drift check.
        config: RetrainConfig as JSON.
        job: The pipeline job's id.

    Returns:
        The id of the training run. Either this step or an earlier check in the same period of drift started this run.
    """
    from components.retrain.config import RetrainConfig
    from components.retrain.run import start_training
    from components.shared.step import step

    parsed = RetrainConfig.model_validate_json(config)
    with step("retrain", job, parsed.store):
        return start_training(verdict.path, parsed, job)
