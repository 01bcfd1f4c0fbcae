"""The KFP component of split."""

from kfp import dsl

from components.container_images import container_image


@dsl.component(base_image=container_image("cpu"), install_kfp_package=False)
def split(
    manifest: dsl.Input[dsl.Dataset],
    config: str,
    seed: int,
    job: str,
    splits: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
):
    """Assign every tile to train, val, test or robustness, without leaks.

    A leak means that tiles of one photo, or two near duplicates, are in different splits.

    Args:
        manifest: The data set version's manifest.
        config: SplitConfig as JSON.
        seed: Decides in which order groups of the same size are assigned. A run with the same seed, manifest and ledger
            gives the same splits. The ledger is the store's record of earlier splits.
        job: The pipeline job's id.

    Returns:
        splits: Table (sample_id, split).
        page: Page with the number of tiles in each split, and the result of the leak check.
    """
    from components.shared.step import step
    from components.split.config import SplitConfig
    from components.split.run import assign_splits

    parsed = SplitConfig.model_validate_json(config)
    with step("split", job, parsed.store):
        splits.metadata["digest"] = assign_splits(manifest.path, splits.path, page.path, parsed, seed).digest
