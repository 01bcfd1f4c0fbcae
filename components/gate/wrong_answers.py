"""Add small images to the candidate's wrong answers, so that people can look at the tiles."""

import pandas as pd

from components.shared.data.image import decode, thumbnail
from components.shared.data.versions import read_images
from components.shared.services.store import Store

LONGEST_SIDE_PIXELS = 192


def with_images(answers: pd.DataFrame, manifest: pd.DataFrame, store: Store, shown: int) -> pd.DataFrame:
    """Add two columns to a candidate's answers: the path of each tile, and a small image for some of the wrong answers.

    Only the wrong answers that the report shows get an image. We choose missed cracks and false alarms separately. We
    take the most certain wrong answer of each group, then the second most certain wrong answer of each group, and so
    on. So one difficult photo cannot fill the page.

    Args:
        answers: The candidate's answers, from `Deployed.answers`.
        manifest: The table of the data set version's manifest.
        store: The store that contains the data set version's tiles.
        shown: Largest number of missed cracks that get an image. The same limit applies to false alarms.

    Returns:
        The answers with the columns `path` and `image`. `image` contains the bytes of a JPEG file. It is missing if the
        report does not show the tile.
    """
    places = manifest.set_index("sample_id", drop=False).loc[answers["sample_id"]]
    answers = answers.assign(path=places["path"].to_numpy())

    chosen = pd.concat([_choose(answers, 1, shown), _choose(answers, 0, shown)])
    images = {}
    for sample_id, file in zip(chosen, read_images(store, places.loc[chosen]), strict=True):
        tile = decode(file)
        images[sample_id] = thumbnail(tile, min(LONGEST_SIDE_PIXELS, max(tile.shape)))
    return answers.assign(image=answers["sample_id"].map(images).astype(object))


def _choose(answers: pd.DataFrame, label: int, count: int) -> pd.Series:
    """Return the sample_ids of at most `count` wrongly answered tiles with this label."""
    wrong = answers[(answers["label"] == label) & (answers["crack"] != answers["label"])]
    certainty = (wrong["p_crack"] - label).abs()
    wrong = wrong.loc[certainty.sort_values(ascending=False, kind="stable").index]

    rank_in_group = wrong.groupby("group_id").cumcount()
    return wrong.loc[rank_in_group.sort_values(kind="stable").index, "sample_id"].head(count)
