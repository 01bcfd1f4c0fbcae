"""The KFP component of retrain."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def retrain(verdict: dsl.Input[dsl.Artifact], config: str, job: str) -> str:
    """Start the newest version of crack-training, once for each drift, with the check's reason as its run note.

    Args:
        verdict: The drift check's verdict, JSON.
        config: RetrainConfig as JSON.
        job: The pipeline job's id.

    Returns:
        The id of the training run, which was started now or by an earlier check of the same drift.
    """
    from components.retrain.config import RetrainConfig
    from components.retrain.run import start_training
    from components.shared.step import step

    parsed = RetrainConfig.model_validate_json(config)
    with step("retrain", job, parsed.store):
        return start_training(verdict.path, parsed, job)
