"""The KFP component of train."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("gpu"), install_kfp_package=False)
def train(
    manifest: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Dataset],
    config: str,
    seed: int,
    job: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
):
    """Train one candidate network on the training split. Save the weights with the lowest validation loss.

    Args:
        manifest: The data set version's manifest.
        splits: Table (sample_id, split).
        config: TrainConfig as JSON.
        seed: Seed of the initial weights, the order of the tiles and the augmentation.
        job: The pipeline job's id.

    Returns:
        model: Saved-model folder: model.safetensors, model.json and model.sha256.
        metrics: The lowest validation loss in nats, the accuracy of the same validation, training tiles per second, and
            seconds of training.
        page: Page with the training curves.
    """
    from components.shared.step import step
    from components.train.config import TrainConfig
    from components.train.run import train_candidate

    parsed = TrainConfig.model_validate_json(config)
    with step(f"train {parsed.candidate}", job, parsed.store):
        for name, value in train_candidate(
            manifest.path, splits.path, parsed, seed, job, model.path, page.path
        ).items():
            metrics.log_metric(name, value)
