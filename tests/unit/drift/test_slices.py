import numpy as np
import pandas as pd

from components.drift.config import DriftConfig
from components.drift.slices import compare_slices, slice_measurements
from tests.unit.drift.test_checking import profile

CONFIG = DriftConfig(permutations=499)


def facts(profile, surfaces: tuple[str, ...]) -> pd.DataFrame:
    """Photo by photo, one surface after the other."""
    codes = pd.factorize(profile.groups)[0]
    return pd.DataFrame({"source": "one", "surface": np.array(surfaces)[codes % len(surfaces)]})


def test_a_shift_of_one_surface_is_found_there_and_not_on_the_other():
    reference, current = profile("t", 200, 1), profile("p", 200, 2)
    place = facts(current, ("deck", "wall"))
    current.features.loc[place["surface"] == "wall", "brightness"] -= 4.0
    sides = (reference, facts(reference, ("deck", "wall"))), (current, place)
    found = {part.name: part for part in compare_slices(*sides, CONFIG, 1)}
    assert list(found) == ["surface=deck", "surface=wall"]  # one source: the whole, told already
    moved = {name: [shift.name for shift in part.shifts if shift.drifted] for name, part in found.items()}
    assert moved == {"surface=deck": [], "surface=wall": ["features_together", "brightness"]}
    assert [(part.images, part.photos) for part in found.values()] == [(100, 20), (100, 20)]
    rows = slice_measurements(list(found.values()))
    assert [(row.name, row.slice, row.value) for row in rows] == [
        ("drift.share", "surface=deck", 0.0),
        ("drift.share", "surface=wall", 2 / 13),
    ]


def test_a_held_out_surface_is_held_against_everything_and_a_small_one_is_skipped():
    reference, current = profile("t", 100, 1), profile("p", 100, 2)
    place = facts(current, ("wall",))
    place.loc[:19, "surface"] = "deck"  # twenty images: too few
    sides = (reference, facts(reference, ("deck", "pavement"))), (current, place)
    deck, wall = compare_slices(*sides, CONFIG, 1)
    assert "the current side has 20 images, and 30 are needed" in deck.why
    assert len(wall.shifts) == 13
    row = slice_measurements([deck])[0]
    assert np.isnan(row.value)
    assert row.note.startswith("skipped: ")
