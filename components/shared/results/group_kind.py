"""Find out whether the groups of a test are photos. If they are not, the intervals may be too narrow."""

import re
from collections.abc import Iterable

# Ingestion names a group after its photo. If the photo is not known, the name of the group is the sha256 of a tile.
# If neighbouring files were joined (`ingest.group_by: file order`), NEIGHBOURS stands before the sha256.
NEIGHBOURS = "neighbours-"
UNKNOWN_PHOTO = re.compile(f"({NEIGHBOURS})?[0-9a-f]{{64}}")


def count_unknown_photos(group_ids: Iterable[str]) -> int:
    """Return how many of these groups are not photos."""
    return sum(UNKNOWN_PHOTO.fullmatch(group) is not None for group in set(group_ids))


def interval_note(group_ids: Iterable[str]) -> str:
    """Return a sentence about the intervals if some groups are not photos. Return "" if all groups are photos.

    If groups are not photos, the tiles of one photo can be in several groups. The bootstrap draws these groups
    independently of each other, although their tiles have the same light, camera and concrete.

    Args:
        group_ids: The group of each test tile.
    """
    groups = set(group_ids)
    unknown = count_unknown_photos(groups)
    if unknown == 0:
        return ""
    which = "All groups" if unknown == len(groups) else f"{unknown:,} of the {len(groups):,} groups"
    return (
        f"{which} of the test split are not photos, because the data do not name their photos. Every interval is "
        f"computed from groups of {_kinds(groups)}, not from photos, so it may be too narrow. `ingest.group_pattern` "
        "reads the photo from the file name."
    )


def _kinds(groups: set[str]) -> str:
    neighbours = sum(group.startswith(NEIGHBOURS) for group in groups)
    if neighbours == 0:
        return "near duplicates"
    return (
        "near duplicates and of neighbouring files that resemble each other (`ingest.group_by: file order`; "
        f"{neighbours:,} groups, each of them probably a photo or a part of one)"
    )
