"""Find files with the same bytes. Of these files, only the first one becomes part of the data set."""

from typing import NamedTuple

import pandas as pd

from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError

REQUIRED_COLUMNS = ["sample_id", "source", "path", "label", "photo", "phash", "mask", "marked"]


class Contents(NamedTuple):
    """The files of an ingestion, divided into files to use, copies, and files with both labels.

    Attributes:
        kept: The files to use, ordered by sample_id. If several files have the same bytes, only the first is used. If
            files with the same bytes have different labels, none of these files is used.
        photos: Table (name): the photo of each file in `kept`, and the photo of each copy. The index is the row number
            of the file in `kept`. The row of a copy has the same row number as the file that is used instead.
        copies: Table (path, kept): the path of a copy, and the path of the file that is used instead.
        both_labels: The files whose bytes occur with both labels, ordered by sample_id.
    """

    kept: pd.DataFrame
    photos: pd.DataFrame
    copies: pd.DataFrame
    both_labels: pd.DataFrame


def distinct_contents(images: pd.DataFrame) -> Contents:
    """Divide the accepted files into files to use, copies of these files, and files whose bytes occur with both labels.

    Args:
        images: The accepted files: the columns `REQUIRED_COLUMNS` and any other columns.
    """
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


def check_enough(chosen: pd.DataFrame, accepted: pd.DataFrame, least: int) -> None:
    """Check that each class has enough images.

    Args:
        chosen: The images of the data set: column label.
        accepted: The files from which these images were chosen: columns sample_id, path, label.
        least: Smallest number of images that a class must have.

    Raises:
        InputError: A class has too few images. If files of the class are exact copies, the message says so.
    """
    for label, name in enumerate(CLASSES):
        images = int((chosen["label"] == label).sum())
        if images < least:
            files = accepted[accepted["label"] == label]
            raise InputError(
                f"the class {name} has {images} accepted images, fewer than ingest.min_images {least}"
                f"{_copies(files, name)}; add images of this class, or lower ingest.min_images"
            )


def _copies(files: pd.DataFrame, name: str) -> str:
    """Say how many files of the class `name` are exact copies. Return an empty text if there is none."""
    counts = files["sample_id"].value_counts()
    copies = len(files) - len(counts)
    if copies == 0:
        return ""
    originals = int((counts > 1).sum())
    first = files.loc[files["sample_id"] == counts.index[0], "path"].iloc[0]
    of_what = f"one file, {first}" if originals == 1 else f"{originals} files, such as {first}"
    return f". {copies} of the {len(files)} files of class {name} are exact copies of {of_what}, and do not count"
