"""The two KFP components of predict: `predict` runs a candidate, and `champion` runs the champion."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("gpu"), install_kfp_package=False)
def predict(
    model: dsl.Input[dsl.Model],
    manifest: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Dataset],
    config: str,
    seed: int,
    job: str,
    predictions: dsl.Output[dsl.Dataset],
):
    """Compute a candidate's answers before and after fine-tuning.

    The candidate classifies the tiles of the validation, test and robustness splits, and a sample of training tiles.

    Args:
        model: Saved-model folder.
        manifest: The data set version's manifest.
        splits: Table (sample_id, split).
        config: PredictConfig as JSON.
        seed: Seed of the sample of the training split.
        job: The pipeline job's id.

    Returns:
        predictions: Folder with predictions.parquet and embeddings.npy.
    """
    from components.predict.config import PredictConfig
    from components.predict.run import predict_splits
    from components.shared.step import step

    parsed = PredictConfig.model_validate_json(config)
    with step(f"predict {parsed.candidate}", job, parsed.store):
        predict_splits(model.path, manifest.path, splits.path, parsed, seed, predictions.path)


@dsl.component(base_image=container_image("gpu"), install_kfp_package=False)
def champion(
    manifest: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Dataset],
    config: str,
    job: str,
    predictions: dsl.Output[dsl.Dataset],
):
    """Compute the champion's answers to the current test split. Write an empty table if there is no champion.

    Args:
        manifest: The data set version's manifest.
        splits: Table (sample_id, split).
        config: PredictConfig as JSON.
        job: The pipeline job's id.

    Returns:
        predictions: Folder with predictions.parquet and embeddings.npy. The artifact's metadata holds the champion's
            version.
    """
    from components.predict.champion import predict_champion
    from components.predict.config import PredictConfig
    from components.shared.step import step

    parsed = PredictConfig.model_validate_json(config)
    with step("champion", job, parsed.store):
        predictions.metadata["version"] = predict_champion(manifest.path, splits.path, parsed, predictions.path)
