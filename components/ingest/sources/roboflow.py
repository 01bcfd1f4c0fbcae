"""Recognise the names in exports of Roboflow: folders of a split, such as `train`, and changed copies of a photo."""

import re
from collections import Counter
from collections.abc import Iterable

from components.ingest.sources.file_table import folder_of, name_of
from components.shared.data.class_names import simple_name

SPLIT_FOLDERS = ("train", "training", "valid", "validation", "val", "test", "testing")
# Roboflow makes changed copies of IMG_1.jpg. It names them IMG_1_jpg.rf.HASH.jpg, each with a different hash.
COPY = re.compile(r"(.+?)(?:_(?:jpe?g|png|bmp|webp|tiff?|heic))?\.rf\.[0-9A-Za-z]+\.\w+", re.IGNORECASE)
CLASS_TABLE = "_classes.csv"


def is_split_folder(name: str) -> bool:
    """Return true if a folder with this name holds one part of a data set's own split."""
    return simple_name(name) in SPLIT_FOLDERS


def photo_of_copy(path: str) -> str | None:
    """Return the name of a copy's photo: IMG_1 for IMG_1_jpg.rf.HASH.jpg. Return None if the file is not a copy."""
    copy = COPY.fullmatch(name_of(path))
    return copy[1] if copy else None


def own_split(paths: Iterable[str]) -> list[str]:
    """Describe the data set's own split, with the number of files in each part.

    Args:
        paths: The files, relative to the source's folder.

    Returns:
        A list with one sentence. The list is empty if no file is in a folder of a split.
    """
    by_split: Counter[str] = Counter()
    for path in paths:
        splits = filter(is_split_folder, folder_of(path).split("/"))
        by_split.update(list(splits)[:1])
    if not by_split:
        return []
    listed = ", ".join(f"{split} {number}" for split, number in sorted(by_split.items()))
    return [f"its own split ({listed}) is not used, because the split step makes a new split"]
