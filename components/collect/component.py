"""The KFP component of collect."""

from typing import NamedTuple

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("gpu"), install_kfp_package=False)
def collect(
    images: str,
    config: str,
    job: str,
    observed: dsl.Output[dsl.Dataset],
    reference: dsl.Output[dsl.Dataset],
) -> NamedTuple("Collected", [("version", str), ("images", str)]):  # type: ignore[valid-type]
    """Compute the drift profile of production images, and fetch the profile of the champion's training sample.

    A drift profile describes a set of images. For each image, it holds the features (numbers such as the brightness),
    the champion's answer, and the embedding (an inner result of the network).

    Args:
        images: Folder or s3://BUCKET/PREFIX of unlabelled images. The placeholders {date} and {yesterday} are replaced
            by dates in UTC, such as 2026-01-31.
        config: CollectConfig as JSON.
        job: The pipeline job's id.

    Returns:
        observed: Drift profile of the images.
        reference: Drift profile of the champion's training sample, from the registry.
        version: The champion's model version.
        images: The folder or prefix, with the dates in place of {date} and {yesterday}.
    """
    from components.collect.config import CollectConfig
    from components.collect.run import collect_images
    from components.shared.step import step

    parsed = CollectConfig.model_validate_json(config)
    with step("collect", job, parsed.store):
        return collect_images(images, parsed, observed.path, reference.path)
