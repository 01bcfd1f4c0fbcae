"""The KFP component of report."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def report(
    manifest: dsl.Input[dsl.Dataset],
    data_page: dsl.Input[dsl.HTML],
    split_page: dsl.Input[dsl.HTML],
    first: dsl.Input[dsl.Artifact],
    choice: dsl.Input[dsl.Artifact],
    registration: str,
    data_uri: str,
    seed: int,
    run_note: str,
    config: str,
    job: str,
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Artifact],
    second: dsl.Input[dsl.Artifact] = None,
    third: dsl.Input[dsl.Artifact] = None,
    fourth: dsl.Input[dsl.Artifact] = None,
):
    """Write the run's report: a page for people and a summary for programs. Store both in the job's MLflow run.

    Args:
        manifest: The data set version's manifest.
        data_page: HTML page that the ingest step wrote.
        split_page: HTML page that the split step wrote.
        first: Dossier of the first candidate.
        choice: choice.json, which the select step wrote.
        registration: The result of the step register or refuse, as JSON.
        data_uri: The location of the labelled tiles, as the user wrote it.
        seed: The run's seed.
        run_note: The user's note for the run.
        config: ReportConfig as JSON.
        job: The pipeline job's id.
        second: Dossier of the second candidate.
        third: Dossier of the third candidate.
        fourth: Dossier of the fourth candidate.

    Returns:
        page: The report, one self-contained HTML document.
        summary: The outcome of the run as JSON.
    """
    from components.report.config import ReportConfig
    from components.report.findings import Run, outcome, read_findings
    from components.report.page import write_report
    from components.shared.data.manifest import read_manifest
    from components.shared.services.mlflow_runs import log_report
    from components.shared.step import step

    parsed = ReportConfig.model_validate_json(config)
    with step("report", job, parsed.store):
        data = read_manifest(manifest.path)
        run = Run(job, data_uri, seed, run_note, data.digest, len(data.table))
        dossiers = [dossier.path for dossier in (first, second, third, fourth) if dossier]
        findings = read_findings(run, dossiers, choice.path, registration)
        pages = {"Data": data_page.path, "Split": split_page.path}
        texts = write_report(findings, pages, parsed.title, page.path, summary.path)
        log_report(parsed.experiment, job, texts, outcome(findings))
