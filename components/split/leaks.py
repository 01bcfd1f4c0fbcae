"""Prove that no split knows anything of another: written apart from the assignment, and sharing nothing with it."""

from components.shared.manifest import Manifest, Splits


class LeakError(RuntimeError):
    """An image, or a picture of the same group, is in two splits; a defect of the assignment, not of the data."""


def check_leaks(manifest: Manifest, splits: Splits) -> None:
    """Check that every image is in exactly one split and every group in one only.

    Raises:
        LeakError: With the first offending images.
    """
    split_of: dict[str, str] = {}
    for sample_id, split in zip(splits.table["sample_id"], splits.table["split"], strict=True):
        if sample_id in split_of:
            raise LeakError(f"image {sample_id} is assigned twice, to {split_of[sample_id]} and {split}")
        split_of[sample_id] = split
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
