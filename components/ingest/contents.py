"""Find the files with the same bytes, and keep the first file of each content."""

from typing import NamedTuple

import pandas as pd

REQUIRED_COLUMNS = ["sample_id", "source", "path", "label", "photo", "phash", "mask", "marked"]


class Contents(NamedTuple):
    """The files of an ingestion, sorted by their content.

    Attributes:
        kept: The first file of each content that has only one label, ordered by sample_id.
        photos: Table (name): the photos in which the kept contents were found. The index is the row number in `kept`.
            A row number occurs several times if its content was found in several photos.
        copies: Table (path, kept), as in `Selection`.
        both_labels: The files whose bytes occur with both labels, ordered by sample_id.
    """

    kept: pd.DataFrame
    photos: pd.DataFrame
    copies: pd.DataFrame
    both_labels: pd.DataFrame


def distinct_contents(images: pd.DataFrame) -> Contents:
    """Sort the accepted files by their content. `images` has the columns `REQUIRED_COLUMNS` and any other columns."""
    ordered = images[REQUIRED_COLUMNS].sort_values("sample_id", kind="stable")
    first = ~ordered["sample_id"].duplicated()
    labels = ordered.groupby(first.cumsum())["label"]
    mixed = labels.transform("min") != labels.transform("max")
    kept = first & ~mixed

    names = ordered["source"] + ":" + ordered["photo"]
    row_in_kept = kept.cumsum() - 1
    photos = names.to_frame("name").set_index(row_in_kept)[~mixed.to_numpy()]

    path_of_first = ordered["path"].where(first).ffill()
    copies = ordered[["path"]].assign(kept=path_of_first)[~first & ~mixed]
    return Contents(ordered[kept], photos.dropna(), copies, ordered[mixed])
