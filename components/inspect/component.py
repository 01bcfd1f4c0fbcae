"""The three KFP components of an inspection.

`plan` lists the photos, `inspect` inspects one share of them, and `join` writes the tables, the map and the page.
"""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def plan(photos: str, config: str, job: str, listed: dsl.Output[dsl.Artifact]):
    """List the photos and choose the model version once, so that all shares use the same photos and the same version.

    Args:
        photos: s3://BUCKET/PREFIX of photos. The placeholders {date} and {yesterday} are replaced by dates in UTC.
        config: InspectConfig as JSON.
        job: The id of the pipeline job.

    Returns:
        listed: The plan as JSON: the photos, the champion's version, and the prefix of the results in the store.
    """
    from components.inspect.config import InspectConfig
    from components.inspect.plan import plan_inspection
    from components.shared.step import step

    parsed = InspectConfig.model_validate_json(config)
    with step("plan", job, parsed.store):
        plan_inspection(photos, parsed, listed.path)


@dsl.component(base_image=container_image("gpu"), install_kfp_package=False)
def inspect(listed: dsl.Input[dsl.Artifact], share: int, config: str, job: str):
    """Inspect one share (part) of the photos, and write the result of each photo to the store.

    The step skips the photos that an earlier run or attempt inspected without an error.

    Args:
        listed: The plan that the component `plan` wrote.
        share: Number of the share. The first share has the number 1.
        config: InspectConfig as JSON.
        job: The id of the pipeline job.
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
    """Join the results of all photos into tables, a map and a page, and write them to the store.

    Args:
        listed: The plan that the component `plan` wrote.
        config: InspectConfig as JSON.
        job: The id of the pipeline job.

    Returns:
        page: The page of the inspection.
        summary: The prefix of the results, the numbers of photos and findings, and the model version, as JSON.
    """
    from components.inspect.config import InspectConfig
    from components.inspect.join import join_shares
    from components.shared.step import step

    parsed = InspectConfig.model_validate_json(config)
    with step("join", job, parsed.store):
        join_shares(listed.path, parsed, page.path, summary.path)
