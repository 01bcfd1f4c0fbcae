"""The KFP component of evaluate."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def evaluate(
    predictions: dsl.Input[dsl.Dataset],
    config: str,
    job: str,
    measurements: dsl.Output[dsl.Dataset],
    calibration: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
):
    """Measure a candidate from its predictions, and choose its temperature, threshold and review band.

    Args:
        predictions: The candidate's predictions folder.
        config: EvaluateConfig as JSON.
        job: The pipeline job's id.

    Returns:
        measurements: Table with one row for each metric, split, slice, and condition (before or after fine-tuning).
        calibration: calibration.json with the temperature, the threshold and its rule, and the review band.
        metrics: The most important numbers after fine-tuning.
        classification: ROC curve, and confusion matrix at P(crack) >= 0.5. Both are measured on the test split.
        page: The evaluation page with its figures.
        summary: The most important numbers as a table.
    """
    from components.evaluate.config import EvaluateConfig
    from components.evaluate.run import evaluate_predictions
    from components.shared.data.manifest import CLASSES
    from components.shared.step import step

    parsed = EvaluateConfig.model_validate_json(config)
    with step(f"evaluate {parsed.candidate}", job, parsed.store):
        outputs = (measurements.path, calibration.path, page.path, summary.path)
        headline = evaluate_predictions(predictions.path, *outputs, parsed)
        for name, value in headline.metrics.items():
            metrics.log_metric(name, value)
        classification.log_confusion_matrix(list(CLASSES), headline.confusion)
        classification.log_roc_curve(*headline.roc)
