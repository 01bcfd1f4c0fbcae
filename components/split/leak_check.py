"""Prove that no split knows anything of another: written apart from the assignment, and sharing nothing with it."""

from collections.abc import Iterable, Mapping

from components.shared.data.manifest import Manifest, Splits


class LeakError(RuntimeError):
    """An image, or a picture of the same group, is in two splits; a defect of the assignment, not of the data."""


def check_leaks(manifest: Manifest, splits: Splits, kin: Mapping[str, Iterable[tuple[str, str]]] | None = None) -> None:
    """Check that every image is in exactly one split, every group in one only, and kin in the same.

    Args:
        manifest: The data set version.
        splits: Its assignment.
        kin: Pairs of sample_ids that must not be parted, whatever groups ingestion made of them, by what they do
            ("look the same", "are of one photo").

    Raises:
        LeakError: With the first offending images.
    """
    split_of: dict[str, str] = {}
    for sample_id, split in zip(splits.table["sample_id"], splits.table["split"], strict=True):
        if sample_id in split_of:
            raise LeakError(f"image {sample_id} is assigned twice, to {split_of[sample_id]} and {split}")
        split_of[sample_id] = split
    for what, pairs in (kin or {}).items():
        _check_pairs(manifest, split_of, what, pairs)
    first_of: dict[str, tuple[str, str]] = {}
    rows = manifest.table
    for sample_id, path, group in zip(rows["sample_id"], rows["path"], rows["group_id"], strict=True):
        if sample_id not in split_of:
            raise LeakError(f"image {path} ({sample_id}) is in no split")
        split = split_of.pop(sample_id)
        other_path, other_split = first_of.setdefault(group, (path, split))
        if other_split != split:
            raise LeakError(f"group {group} leaks: {other_path} is in {other_split}, {path} in {split}")
    if split_of:
        raise LeakError(f"{len(split_of)} assigned images are not in the manifest, such as {next(iter(split_of))}")


def _check_pairs(manifest: Manifest, split_of: dict[str, str], what: str, pairs: Iterable[tuple[str, str]]) -> None:
    apart = [pair for pair in pairs if len({split_of.get(sample_id) for sample_id in pair} - {None}) > 1]
    if apart:
        path_of = dict(zip(manifest.table["sample_id"], manifest.table["path"], strict=True))
        first = " and ".join(f"{path_of[sample_id]} in {split_of[sample_id]}" for sample_id in apart[0])
        raise LeakError(f"{len(apart)} pairs that {what} are in different splits, the first: {first}")
