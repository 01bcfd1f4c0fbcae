from dataclasses import replace

import numpy as np
import pandas as pd

from components.drift.config import DriftConfig
from components.drift.slices import MAX_SLICES_PER_COLUMN, compare_slices, slice_measurements
from components.shared.data.drift_profile import Profile
from tests.components.drift.test_production_check import profile

CONFIG = DriftConfig(permutations=499)


def placed(profile: Profile, *surfaces: str, **others: str) -> Profile:
    """Give each photo one of the surfaces, in turn: the first photo gets the first one. Return the new profile."""
    codes = pd.factorize(profile.groups)[0]
    return replace(profile, slices=pd.DataFrame({"surface": np.array(surfaces)[codes % len(surfaces)], **others}))


def test_a_shift_of_one_surface_is_found_there_and_not_on_the_other():
    reference, current = (
        placed(profile(name, 200, seed), "deck", "wall", source="one") for name, seed in (("t", 1), ("p", 2))
    )
    current.features.loc[current.slices["surface"] == "wall", "brightness"] -= 4.0
    found = {str(part.slice): part for part in compare_slices(reference, current, CONFIG, 1)}
    assert list(found) == ["surface=deck", "surface=wall"]  # the only source contains all images, so it is not a slice
    moved = {name: [shift.name for shift in part.shifts if shift.drifted] for name, part in found.items()}
    assert moved == {"surface=deck": [], "surface=wall": ["features_together", "brightness"]}
    assert [(part.images, part.photos) for part in found.values()] == [(100, 20), (100, 20)]
    rows = slice_measurements(list(found.values()))
    assert [(row.name, str(row.slice), row.value) for row in rows] == [
        ("drift.share", "surface=deck", 0.0),
        ("drift.share", "surface=wall", 2 / 13),
    ]


def test_a_held_out_surface_is_compared_with_everything_and_a_small_one_is_skipped():
    reference, current = placed(profile("t", 100, 1), "deck", "pavement"), placed(profile("p", 100, 2), "wall")
    current.slices.loc[:19, "surface"] = "deck"  # twenty images: too few
    deck, wall = compare_slices(reference, current, CONFIG, 1)
    assert "the number of current images is 20, but it must be at least 30" in deck.why
    assert len(wall.shifts) == 13
    row = slice_measurements([deck])[0]
    assert np.isnan(row.value)
    assert row.note.startswith("skipped: ")


def test_a_folder_unknown_in_training_is_compared_with_everything():
    reference, current = placed(profile("t", 100, 1), "deck"), placed(profile("p", 100, 2), "deck")
    folders = np.repeat(["first", "second", ""], [40, 40, 20])
    current = replace(current, slices=current.slices.assign(folder=folders))
    found = compare_slices(reference, current, CONFIG, 1)
    assert [(str(part.slice), part.images) for part in found] == [("folder=first", 40), ("folder=second", 40)]


def test_many_slices_raise_hardly_more_false_alarms_than_one():
    alarms = 0
    for seed in range(12):
        current = profile("p", 500, 2 * seed)
        current = replace(current, slices=pd.DataFrame({"folder": np.repeat(np.arange(10).astype(str), 50)}))
        found = compare_slices(profile("t", 100, 2 * seed + 1), current, CONFIG, seed)
        alarms += any(shift.drifted for part in found for shift in part.shifts)
    assert alarms <= 3  # with alpha 0.05 for each slice, there would be about 5


def test_only_the_largest_of_very_many_slices_are_compared():
    folders = np.repeat(np.arange(MAX_SLICES_PER_COLUMN + 10).astype(str), [40] * MAX_SLICES_PER_COLUMN + [30] * 10)
    current = profile("p", len(folders), 2)
    current = replace(current, slices=pd.DataFrame({"folder": folders}))
    found = compare_slices(profile("t", 100, 1), current, CONFIG, 1)
    assert {str(part.slice) for part in found} == {f"folder={number}" for number in range(MAX_SLICES_PER_COLUMN)}
