"""Read the label file of a site, and add the tiles that a person must label next."""

import csv
from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd

from components.shared.atomic_file import atomic_file
from components.shared.data.class_names import class_of_label
from components.shared.errors import InputError
from components.shared.regular_file import require_file
from pipelines.review.page import AnswerFile
from pipelines.sites.verdict import UNKNOWN

COLUMNS = ("path", "label")


def read_labels(file: Path) -> dict[str, str]:
    """Read a label file: CSV with the columns path and label. A label is crack, no_crack, 1, 0, or empty.

    Args:
        file: The file. If it does not exist, there are no labels yet.

    Returns:
        Path -> label as it is written in the file. The label is "" for a tile without a label.

    Raises:
        InputError: The file is not CSV with these columns, a path occurs twice, or a label is unknown.
    """
    if not file.exists():
        return {}
    try:
        require_file(file)
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"the label file {file} cannot be read: {error}; write CSV with the columns path and label"
        ) from error
    if tuple(table.columns) != COLUMNS:
        raise InputError(
            f"the label file {file} has the columns {', '.join(table.columns)}; it must have the columns path and label"
        )

    labels: dict[str, str] = {}
    for number, (path, written) in enumerate(zip(table["path"], table["label"], strict=True), start=1):
        label = written.strip()
        if path in labels:
            raise InputError(f"{file}, row {number}: the path {path} occurs twice; keep one of the rows")
        if label and class_of_label(label) is None:
            raise InputError(
                f"{file}, row {number} ({path}): the label is {written!r}; write crack, no_crack, or nothing"
            )
        labels[path] = label
    return labels


def check_site(labels: dict[str, str], paths: Iterable[str], file: Path, site: str) -> None:
    """Check that a label file belongs to a site.

    Args:
        labels: From `read_labels`.
        paths: The paths of the site's tiles.
        file: The label file.
        site: The site's name.

    Raises:
        InputError: The file contains a path that is not a tile of the site.
    """
    foreign = sorted(labels.keys() - set(paths))
    if labels and len(foreign) == len(labels):
        raise InputError(
            f"the label file {file} is for another site: none of its {len(labels)} paths, such as {foreign[0]}, is a "
            f"tile of {site}; give the label file of {site} with --labels, or a new file name"
        )
    if foreign:
        raise InputError(
            f"the label file {file} has {len(foreign)} paths that are not tiles of {site}, such as {foreign[0]}; "
            "correct or remove them; a path must be relative to the folder of the images"
        )


def labels_of(tiles: pd.DataFrame, labels: dict[str, str]) -> np.ndarray:
    """Return the label of each tile, int64 (tiles,).

    A tile without a label gets UNKNOWN. `tiles` has the column path.
    """
    found = []
    for path in tiles["path"]:
        label = class_of_label(labels[path]) if labels.get(path) else None
        found.append(UNKNOWN if label is None else label)
    return np.array(found, np.int64)


def ask_for_labels(file: Path, labels: dict[str, str], paths: list[str]) -> None:
    """Write the label file: the rows of `labels`, and then one row for each new path. A new row has no label."""
    rows = labels | {path: labels.get(path, "") for path in paths}
    with atomic_file(file) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(COLUMNS)
        writer.writerows(rows.items())


def saved_by_page(file: Path, labels: dict[str, str]) -> AnswerFile:
    """Return the file that a person saves on the page. It replaces the label file, so it has the earlier labels too."""
    given = dict(filter(itemgetter(1), labels.items()))  # without the tiles whose label is ""
    return AnswerFile(file.name, COLUMNS, given, only_classes=True)
