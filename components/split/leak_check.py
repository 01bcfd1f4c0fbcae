"""Check that related images are in the same split. This module does not use the code that assigns the splits."""

from collections.abc import Iterable, Mapping, Sequence

from components.shared.data.manifest import Manifest, Splits


class LeakError(RuntimeError):
    """The splits are wrong: for example, an image is in two splits, or two related images are in different splits.

    The error is in our code, not in the data.

    Attributes:
        pairs: The sample_ids of the related images that are in different splits.
    """

    def __init__(self, message: str, pairs: Sequence[tuple[str, str]] = ()):
        super().__init__(message)
        self.pairs = pairs


def check_leaks(
    manifest: Manifest, splits: Splits, related: Mapping[str, Iterable[tuple[str, str]]] | None = None
) -> None:
    """Check that every image and every group is in exactly one split, and that related images are in the same split.

    Args:
        manifest: The data set version.
        splits: The splits of its images.
        related: A dict: relation, such as "are near duplicates" -> pairs of sample_ids. Both images of a pair must be
            in the same split, even if they belong to different groups. A pair is ignored if one of its images has no
            split.

    Raises:
        LeakError: There is a leak. The message names the images of the first leak.
    """
    split_of = _split_of_each_image(manifest, splits)
    for relation, pairs in (related or {}).items():
        _check_pairs(manifest, split_of, relation, pairs)

    first_of_group: dict[str, tuple[str, str]] = {}
    table = manifest.table
    for sample_id, path, group in zip(table["sample_id"], table["path"], table["group_id"], strict=True):
        split = split_of[sample_id]
        first_path, first_split = first_of_group.setdefault(group, (path, split))
        if first_split != split:
            raise LeakError(f"the group {group} is in two splits: {first_path} in {first_split} and {path} in {split}")


def _split_of_each_image(manifest: Manifest, splits: Splits) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for sample_id, split in zip(splits.table["sample_id"], splits.table["split"], strict=True):
        if sample_id in split_of:
            raise LeakError(f"the image {sample_id} is in two splits, {split_of[sample_id]} and {split}")
        split_of[sample_id] = split

    for sample_id, path in zip(manifest.table["sample_id"], manifest.table["path"], strict=True):
        if sample_id not in split_of:
            raise LeakError(f"the image {path} ({sample_id}) is not in any split")
    unknown = sorted(split_of.keys() - set(manifest.table["sample_id"]))
    if unknown:
        raise LeakError(f"{len(unknown)} images of the splits are not in the manifest, such as {unknown[0]}")
    return split_of


def _check_pairs(manifest: Manifest, split_of: dict[str, str], relation: str, pairs: Iterable[tuple[str, str]]) -> None:
    leaks = []
    for first, second in pairs:
        both_here = first in split_of and second in split_of
        if both_here and split_of[first] != split_of[second]:
            leaks.append((first, second))
    if leaks:
        path_of = dict(zip(manifest.table["sample_id"], manifest.table["path"], strict=True))
        named = " and ".join(f"{path_of[sample_id]} in {split_of[sample_id]}" for sample_id in leaks[0])
        raise LeakError(
            f"{len(leaks)} pairs of images {relation}, but are in different splits; the first pair: {named}", leaks
        )
