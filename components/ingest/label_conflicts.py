"""Find images with both labels, and images whose mask contradicts the label. Say why they are in quarantine."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.shared.data.manifest import CLASSES, CRACK, NO_CRACK

QUARANTINE_COLUMNS = ["source", "path", "reason"]
# A tile without a crack can have a few marked pixels: the end of a crack that belongs to the next tile of the photo.
MARKED_IN_A_TILE_WITHOUT_CRACK = 0.005


def quarantine(images: pd.DataFrame, reasons: Iterable[str]) -> pd.DataFrame:
    """Return the table (source, path, reason) of images in quarantine. The reasons are in the order of the images."""
    return images[["source", "path"]].assign(reason=pd.array(list(reasons), dtype="str"))


def quarantine_same_bytes(files: pd.DataFrame) -> pd.DataFrame:
    """Quarantine files whose bytes occur with both labels.

    Args:
        files: Columns sample_id, source, path, label.
    """
    class_of_label = dict(enumerate(CLASSES))
    names = files["path"] + " (" + files["label"].map(class_of_label) + ")"
    names_of_content = names.groupby(files["sample_id"]).transform(", ".join)
    return quarantine(files, [f"the same file has both labels: {listed}" for listed in names_of_content])


def quarantine_near_duplicates(images: pd.DataFrame, pairs: NDArray[np.int64]) -> pd.DataFrame:
    """Quarantine near duplicates with different labels.

    Args:
        images: Columns source, path, label; the index is the row number.
        pairs: int64 (M, 2), row numbers of near duplicates with different labels.
    """
    partners: dict[int, list[int]] = defaultdict(list)
    for first, second in pairs.tolist():
        partners[first].append(second)
        partners[second].append(first)
    disputed = images.loc[sorted(partners)]

    class_of = disputed["label"].map(dict(enumerate(CLASSES))).to_dict()
    path_of = disputed["path"].to_dict()
    reasons = []
    for row in disputed.index:
        others = ", ".join(f"{path_of[other]} ({class_of[other]})" for other in partners[row])
        reasons.append(f"near duplicates have both labels: this is {class_of[row]}, its near duplicate is {others}")
    return quarantine(disputed, reasons)


def contradicted_by_mask(images: pd.DataFrame) -> NDArray[np.bool_]:
    """Find the images whose mask contradicts their label. Return bool (N,).

    The mask of an image with a crack must mark at least one pixel. The mask of an image without a crack may mark only a
    small share of the pixels: less than `MARKED_IN_A_TILE_WITHOUT_CRACK`.

    Args:
        images: N rows with the columns label, mask (a missing value if the image has no mask), and marked (the share of
            the image's pixels that the mask marks, 0 to 1).
    """
    has_mask = images["mask"].notna()
    empty = (images["label"] == CRACK) & (images["marked"] == 0)
    marked = (images["label"] == NO_CRACK) & (images["marked"] >= MARKED_IN_A_TILE_WITHOUT_CRACK)
    return (has_mask & (empty | marked)).to_numpy(bool)


def quarantine_by_mask(images: pd.DataFrame) -> pd.DataFrame:
    """Quarantine images because their masks contradict their labels.

    Args:
        images: The images to quarantine: columns source, path, label, mask and marked.
    """
    reasons = []
    for label, mask, marked in zip(images["label"], images["mask"], images["marked"], strict=True):
        share = "no pixel" if marked == 0 else f"{100 * marked:.1f} % of the pixels"
        reasons.append(f"label and mask contradict each other: this is {CLASSES[label]}, its mask {mask} marks {share}")
    return quarantine(images, reasons)


def conflict_pairs(
    same_bytes: pd.DataFrame, near_duplicates: NDArray[np.int64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return pairs of files that hold the same image with different labels. The no_crack file of a pair is first.

    Args:
        same_bytes: Files whose bytes occur with both labels: columns sample_id, label.
        near_duplicates: int64 (M, 2), index values of near duplicates with different labels.
        labels: int64 (M,), the label of the first file in each pair of `near_duplicates`.

    Returns:
        int64 (K, 2), index values. The pairs of `same_bytes` come first, one for each sample_id. The near duplicates
        follow.
    """
    one_of_each = same_bytes.drop_duplicates(["sample_id", "label"]).sort_values(["sample_id", "label"])
    by_content = one_of_each.index.to_numpy(np.int64).reshape(-1, len(CLASSES))

    in_order = (labels == 0)[:, None]
    by_look = np.where(in_order, near_duplicates, near_duplicates[:, ::-1])
    return np.concatenate([by_content, by_look])
