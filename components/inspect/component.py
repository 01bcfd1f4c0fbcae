"""The three KFP components of an inspection: `plan` lists photos, `inspect` inspects a share, `join` writes tables."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def plan(photos: str, config: str, job: str, listed: dsl.Output[dsl.Artifact]):
    """List the photos, and choose the model version, so that all shares of the run use the same.

    Args:
        photos: s3://BUCKET/PREFIX of photos. The placeholders {date} and {yesterday} are replaced by dates in UTC.
        config: InspectConfig as JSON.
        job: The pipeline job's id.

    Returns:
        listed: The photos, the champion's version, and the place of the results, as JSON.
    """
    from components.inspect.config import InspectConfig
    from components.inspect.plan import plan_inspection
    from components.shared.step import step

    parsed = InspectConfig.model_validate_json(config)
    with step("plan", job, parsed.store):
        plan_inspection(photos, parsed, listed.path)


@dsl.component(base_image=container_image("gpu"), install_kfp_package=False)
def inspect(listed: dsl.Input[dsl.Artifact], share: int, config: str, job: str):
    """Inspect a share of the photos, and write the result of each photo to the store. Finished photos are skipped.

    Args:
        listed: The plan.
        share: Number of the share, from 1.
        config: InspectConfig as JSON.
        job: The pipeline job's id.
    """
    from components.inspect.config import InspectConfig
    from components.inspect.share import inspect_share
    from components.shared.step import step

    parsed = InspectConfig.model_validate_json(config)
    with step(f"inspect {share}", job, parsed.store):
        inspect_share(listed.path, share, parsed)


@dsl.component(base_image=container_image("gpu"), install_kfp_package=False)
def join(
    listed: dsl.Input[dsl.Artifact],
    config: str,
    job: str,
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Artifact],
):
    """Join the results of all photos in tables, a map and a page, and write them to the store.

    Args:
        listed: The plan.
        config: InspectConfig as JSON.
        job: The pipeline job's id.

    Returns:
        page: The page of the inspection.
        summary: The place of the results and the number of photos, as JSON.
    """
    from components.inspect.config import InspectConfig
    from components.inspect.join import join_shares
    from components.shared.step import step

    parsed = InspectConfig.model_validate_json(config)
    with step("join", job, parsed.store):
        join_shares(listed.path, parsed, page.path, summary.path)
