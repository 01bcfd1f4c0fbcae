"""A note says if an interval was computed from groups of near duplicates, and not from photos."""

from components.shared.results.group_kind import interval_note

TILE = "ab" * 32


def test_only_groups_that_are_not_photos_need_a_note() -> None:
    assert interval_note(["walls:IMG_1", "walls:IMG_2"]) == ""
    assert interval_note([]) == ""

    every = interval_note([TILE, "cd" * 32, TILE])
    assert every.startswith("All groups of the test split are not photos")
    assert "computed from groups of near duplicates, not from photos, so it may be too narrow" in every
    assert interval_note([TILE, "walls:IMG_1", "walls:IMG_1"]).startswith("1 of the 2 groups of the test split")


def test_groups_of_neighbouring_files_are_named() -> None:
    note = interval_note([f"neighbours-{TILE}", TILE, "walls:IMG_1"])
    assert note.startswith("2 of the 3 groups of the test split are not photos")
    assert "neighbouring files that resemble each other (`ingest.group_by: file order`; 1 groups" in note
