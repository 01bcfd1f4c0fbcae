"""Define the KFP component of ingest."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def ingest(
    data_uri: str,
    config: str,
    job: str,
    manifest: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Metrics],
):
    """Store labelled images as an immutable data set version.

    Args:
        data_uri: One or more sources, separated by commas. A source is a folder, an archive, s3://, https://, a CSV or
            Parquet table, or synthetic://?images=600&seed=1.
        config: IngestConfig as JSON.
        job: The pipeline job's id.

    Returns:
        manifest: One row per image of the data set version.
        page: The data set report. It shows which files are in the data set version and which are in quarantine.
        summary: Numbers of files, images, groups and so on.
    """
    from components.ingest.config import IngestConfig
    from components.ingest.run import ingest_dataset
    from components.shared.step import step

    parsed = IngestConfig.model_validate_json(config)
    with step("ingest", job, parsed.store):
        result = ingest_dataset(data_uri, manifest.path, page.path, parsed)
        manifest.metadata["digest"] = result.digest
        for name, value in result.counts.items():
            summary.log_metric(name, value)
