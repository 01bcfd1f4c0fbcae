"""The two KFP components of drift: `drift` checks a robustness split, and `check` checks production images."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def drift(
    model: dsl.Input[dsl.Model],
    manifest: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Dataset],
    predictions: dsl.Input[dsl.Dataset],
    config: str,
    seed: int,
    job: str,
    measurements: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    evidently: dsl.Output[dsl.HTML],
    reference_profile: dsl.Output[dsl.Dataset],
):
    """Compare image features, embeddings and answers of the robustness split with those of the training split.

    Args:
        model: Saved-model folder.
        manifest: The data set version's manifest.
        splits: Table (sample_id, split).
        predictions: The candidate's predictions folder.
        config: DriftConfig as JSON.
        seed: Seed of the samples and permutations.
        job: The pipeline job's id.

    Returns:
        measurements: The effect that each test measured, and the share of the tests that found drift.
        page: Page with the result, the tests and the distributions of the features.
        evidently: Report of the library Evidently on the same features.
        reference_profile: Drift profile of the training sample. Later checks compare production images with it.
    """
    from components.drift.config import DriftConfig
    from components.drift.run import detect_drift
    from components.shared.step import step

    parsed = DriftConfig.model_validate_json(config)
    with step(f"drift {parsed.candidate}", job, parsed.store):
        out = {"measurements": measurements.path, "page": page.path, "evidently": evidently.path}
        out["reference_profile"] = reference_profile.path
        detect_drift(model.path, manifest.path, splits.path, predictions.path, parsed, seed, out)


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def check(
    reference: dsl.Input[dsl.Dataset],
    observed: dsl.Input[dsl.Dataset],
    images: str,
    version: str,
    config: str,
    seed: int,
    job: str,
    page: dsl.Output[dsl.HTML],
    evidently: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Artifact],
) -> str:
    """Compare production images with the champion's training images, and decide whether a retraining is needed.

    Args:
        reference: Drift profile of the champion's training sample.
        observed: Drift profile of the production images.
        images: Folder or prefix of the images. The page shows it.
        version: The champion's model version. The result is written to the tags of this version.
        config: DriftConfig as JSON.
        seed: Seed of the samples and permutations.
        job: The pipeline job's id.

    Returns:
        page: Page with the result, the tests, the distributions of the features, and the results of earlier checks.
        evidently: Report of the library Evidently on the same features.
        summary: The result as JSON.
        Output: The result: steady, drift, retrain or skipped.
    """
    from components.drift.config import DriftConfig
    from components.drift.production_check import check_drift
    from components.shared.step import step

    parsed = DriftConfig.model_validate_json(config)
    with step("check", job, parsed.store):
        out = {"page": page.path, "evidently": evidently.path, "summary": summary.path}
        return check_drift(reference.path, observed.path, images, version, parsed, seed, job, out)
