"""The KFP component of gate."""

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
    """Compare a candidate with the limits and with the champion. The step also succeeds if the candidate is refused.

    Args:
        evaluation: Measurements that the evaluate step wrote.
        explanation: Measurements that the explain step wrote.
        drift: Measurements that the drift step wrote.
        calibration: calibration.json, which the evaluate step wrote.
        training_page: HTML page that the train step wrote.
        evaluation_page: HTML page that the evaluate step wrote.
        explanation_page: HTML page that the explain step wrote.
        drift_page: HTML page that the drift step wrote.
        reference_profile: Drift profile of a sample of the training tiles. The register step stores it with the model
            version.
        overlays: Folder with the panels that the explain step drew.
        manifest: The data set version's manifest.
        predictions: The candidate's predictions folder.
        champion: The champion's predictions folder. Its metadata contain the champion's model version, which is "" if
            there is no champion.
        config: GateConfig as JSON.
        job: The pipeline job's id.

    Returns:
        dossier: Folder with verdict.json and all files that the verdict is based on.
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
