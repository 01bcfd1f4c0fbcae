import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from components.drift.config import DriftConfig
from components.drift.drift_tests import EMBEDDING, TOGETHER, compare, even_out, to_measurements, why_not
from components.shared.data.drift_profile import Profile

CONFIG = DriftConfig(permutations=199)


def side(name: str, groups: int, per_group: int, seed: int, **moved: float) -> Profile:
    """Return a profile. Photos differ in their mean features. `moved` shifts a feature by standard deviations."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(groups), per_group)
    columns = {}
    for feature in ("brightness", "noise", "entropy"):
        level = 0.7 * rng.normal(size=groups)[codes] + 0.7 * rng.normal(size=len(codes))
        columns[feature] = level + moved.get(feature, 0.0)
    embeddings = 0.7 * rng.normal(size=(groups, 8))[codes] + 0.7 * rng.normal(size=(len(codes), 8))
    embeddings[:, 0] += moved.get(EMBEDDING, 0.0)
    names = np.array([f"{name}{code}" for code in codes])
    return Profile(names, pd.DataFrame(columns), embeddings, pd.DataFrame(index=range(len(codes))), "model")


def drifted(reference: Profile, current: Profile, seed: int = 0) -> set[str]:
    return {shift.name for shift in compare(reference, current, CONFIG, seed) if shift.drifted}


def test_false_alarms_are_as_rare_as_alpha_says():
    alarms = [bool(drifted(side("a", 24, 6, 2 * seed), side("b", 12, 6, 2 * seed + 1), seed)) for seed in range(100)]
    assert np.mean(alarms) <= 0.11  # the level is 0.05; 100 draws exceed 0.11 in less than 1 of 100 cases


@pytest.mark.parametrize("name", ["brightness", "entropy", EMBEDDING])
def test_the_moved_feature_is_found_and_rarely_another_one(name):
    wanted = {name} if name == EMBEDDING else {name, TOGETHER}
    others = 0
    for seed in range(5):
        found = drifted(side("a", 20, 6, 2 * seed), side("b", 20, 6, 2 * seed + 1, **{name: 2.0}), seed)
        assert found >= wanted
        others += bool(found - wanted)
    assert others <= 2  # each of the two families of tests still has its own chance of 0.05 for a false alarm


def test_a_feature_drifts_only_if_one_of_the_two_deciding_tests_drifts():
    """So a single feature that is extreme by chance does not raise a false alarm."""
    for seed in range(30):
        found = drifted(side("a", 12, 6, 2 * seed), side("b", 12, 6, 2 * seed + 1), seed)
        assert not found or found & {TOGETHER, EMBEDDING}


def test_the_effect_is_in_standard_deviations():
    shifts = {shift.name: shift for shift in compare(side("a", 200, 5, 1), side("b", 200, 5, 2, noise=-1.5), CONFIG, 0)}
    assert shifts["noise"].effect == pytest.approx(1.5, abs=0.15)
    assert shifts["noise"].change == pytest.approx(-1.5, abs=0.15)
    assert shifts["noise"].effect > shifts["noise"].chance > shifts["brightness"].effect * 0.3
    assert np.isnan(shifts[EMBEDDING].change)


def test_a_certain_but_negligible_shift_does_not_count_as_drift():
    reference = side("a", 1500, 1, 1)
    features = reference.features.assign(noise=reference.features["noise"] + 0.15)
    current = replace(reference, groups=np.char.add(reference.groups, "b"), features=features)
    shifts = compare(reference, current, CONFIG, 0)
    found = next(shift for shift in shifts if shift.name == "noise")
    assert found.p <= 0.05
    assert not found.drifted


def test_a_constant_feature_does_not_drift():
    reference, current = side("a", 20, 3, 1), side("b", 20, 3, 2)
    for one in (reference, current):
        one.features["noise"] = 0.0
    found = next(shift for shift in compare(reference, current, CONFIG, 0) if shift.name == "noise")
    assert (found.effect, found.p, found.drifted) == (0, 1, False)


def test_groups_are_evened_out():
    """The reference side has a few tiles of many photos. The current side has all tiles of a few photos."""
    reference, current = np.repeat(np.arange(100), 3), np.repeat(np.arange(1000, 1010), 200)
    kept_reference, kept_current = even_out(reference, current, seed=1, limit=1000)
    assert len(kept_reference) == 300
    assert np.unique(current[kept_current], return_counts=True)[1].tolist() == [3] * 10
    assert len(even_out(current, current + 5000, seed=1, limit=500)[0]) == 500


@pytest.mark.parametrize(
    ("reference", "current", "message"),
    [
        (np.arange(40), np.arange(29), "the number of current images is 29, but it must be at least 30"),
        (np.repeat([0, 1], 20), np.arange(40), "the number of reference photos is 2, but it must be at least 4"),
        (np.arange(40), np.arange(40), "^$"),
    ],
)
def test_the_reason_why_sides_cannot_be_compared(reference, current, message):
    assert re.search(message, why_not(reference, current))


def test_measurements_contain_the_effect_and_the_verdict():
    rows = {
        row.name: row
        for row in to_measurements(compare(side("a", 20, 6, 1), side("b", 20, 6, 2, noise=2.0), CONFIG, 0), 120)
    }
    assert rows["drift.share"].value == pytest.approx(2 / 5)
    assert rows["drift.detected"].value == 1
    assert rows["drift.noise"].value == pytest.approx(2, abs=0.7)
    assert rows["drift.noise"].note.startswith("drifted: corrected p = ")
    assert all(row.n == 120 and row.split == "robustness" for row in rows.values())
