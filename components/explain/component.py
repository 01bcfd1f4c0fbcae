"""The KFP component of explain."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("gpu"), install_kfp_package=False)
def explain(
    model: dsl.Input[dsl.Model],
    manifest: dsl.Input[dsl.Dataset],
    splits: dsl.Input[dsl.Dataset],
    predictions: dsl.Input[dsl.Dataset],
    calibration: dsl.Input[dsl.Artifact],
    config: str,
    seed: int,
    job: str,
    measurements: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    overlays: dsl.Output[dsl.Artifact],
):
    """Show which parts of an image matter for a candidate's answer. Measure whether these parts are on the crack.

    The images are tiles of the robustness split.

    Args:
        model: Saved-model folder.
        manifest: The data set version's manifest.
        splits: Table (sample_id, split).
        predictions: The candidate's predictions folder.
        calibration: The candidate's calibration.json.
        config: ExplainConfig as JSON.
        seed: Seed of the random choice of measured images, and of the random maps.
        job: The pipeline job's id.

    Returns:
        measurements: Measurements of the maps and, for comparison, of a random map and an edge filter.
        page: Page with the measures and the gallery.
        overlays: Folder with the gallery's panels as PNG files.
    """
    import shutil

    from components.explain.config import ExplainConfig
    from components.explain.run import MEASUREMENTS, PAGE, explain_model
    from components.shared.step import step

    parsed = ExplainConfig.model_validate_json(config)
    with step(f"explain {parsed.candidate}", job, parsed.store):
        inputs = (model.path, manifest.path, splits.path, predictions.path, calibration.path)
        explain_model(*inputs, parsed, seed, overlays.path)
        shutil.move(f"{overlays.path}/{MEASUREMENTS}", measurements.path)
        shutil.move(f"{overlays.path}/{PAGE}", page.path)
