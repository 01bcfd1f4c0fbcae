"""The gate step."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def gate(
    evaluation: dsl.Input[dsl.Dataset],
    explanation: dsl.Input[dsl.Dataset],
    drift: dsl.Input[dsl.Dataset],
    calibration: dsl.Input[dsl.Artifact],
    training_page: dsl.Input[dsl.HTML],
    evaluation_page: dsl.Input[dsl.HTML],
    explanation_page: dsl.Input[dsl.HTML],
    drift_page: dsl.Input[dsl.HTML],
    reference_profile: dsl.Input[dsl.Dataset],
    overlays: dsl.Input[dsl.Artifact],
    manifest: dsl.Input[dsl.Dataset],
    predictions: dsl.Input[dsl.Dataset],
    champion: dsl.Input[dsl.Dataset],
    config: str,
    job: str,
    dossier: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
):
    """Compare a candidate with the limits and with the champion. If the gate refuses it, the step still succeeds.

    Args:
        evaluation: Measurements of evaluate.
        explanation: Measurements of explain.
        drift: Measurements of drift.
        calibration: calibration.json of evaluate.
        training_page: Page of train.
        evaluation_page: Page of evaluate.
        explanation_page: Page of explain.
        drift_page: Page of drift.
        reference_profile: Drift profile of the training sample. Register stores it with the model version.
        overlays: Folder with explain's panels.
        manifest: The data set version's manifest.
        predictions: The candidate's predictions folder.
        champion: The champion's predictions folder. Its metadata hold the champion's model version; "" if there is no
            champion.
        config: GateConfig as JSON.
        job: The pipeline job's id.

    Returns:
        dossier: Folder with verdict.json and all the evidence for the verdict.
        page: Page with the limits, the comparison with the champion, and the tiles on which both models disagree.
        metrics: Whether the candidate passed, and how many limits it failed.
        summary: The verdict as a table.
    """
    from components.gate.config import GateConfig
    from components.gate.run import Evidence, Measured, Pages, judge_candidate
    from components.shared.step import step

    parsed = GateConfig.model_validate_json(config)
    with step(f"gate {parsed.candidate}", job, parsed.store):
        evidence = Evidence(
            measured=Measured(evaluation.path, explanation.path, drift.path),
            pages=Pages(training_page.path, evaluation_page.path, explanation_page.path, drift_page.path),
            calibration=calibration.path,
            reference_profile=reference_profile.path,
            panels=overlays.path,
            manifest=manifest.path,
            predictions=predictions.path,
            champion=champion.path,
            version=champion.metadata.get("version", ""),
        )
        verdict = judge_candidate(evidence, dossier.path, page.path, summary.path, parsed, job)
        metrics.log_metric("passed", int(verdict["passed"]))
        metrics.log_metric("limits_failed", sum(not row["passed"] for row in verdict["rows"]))
