import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.stats import wasserstein_distance

from components.drift import permutation
from components.drift.permutation import energy, permuted_sides, step_down, wasserstein


def sides_of(groups: int, per_group: int, current_groups: int, permutations: int = 199, seed: int = 0):
    names = np.repeat(np.arange(groups), per_group)
    return permuted_sides(names, names < current_groups, permutations, seed)


def test_groups_are_dealt_as_a_whole_and_each_side_keeps_its_number():
    sides = sides_of(12, 5, 4)
    by_group = sides.reshape(len(sides), 12, 5)
    assert (by_group == by_group[..., :1]).all()
    assert (by_group[..., 0].sum(axis=1) == 4).all()
    assert len(np.unique(sides, axis=0)) > 100


def test_wasserstein_equals_scipys():
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(size=60), 1)  # with ties
    sides = sides_of(12, 5, 4, permutations=20)
    expected = [wasserstein_distance(values[side], values[~side]) for side in sides]
    assert wasserstein(values, sides) == pytest.approx(expected)


def p_value(statistics: np.ndarray) -> float:
    return step_down(statistics[None])[0]


def test_without_drift_p_values_are_uniform_even_if_groups_differ():
    """Photos differ much more than tiles of one photo. So a test that shuffles tiles would nearly always find drift."""
    rng = np.random.default_rng(1)
    p_values = []
    for seed in range(200):
        values = np.repeat(rng.normal(size=16), 20) + 0.1 * rng.normal(size=320)
        p_values.append(p_value(wasserstein(values, sides_of(16, 20, 6, seed=seed))))
    assert 0.01 <= np.mean(np.array(p_values) <= 0.05) <= 0.09
    assert 0.42 <= np.mean(p_values) <= 0.58


def test_p_is_never_zero():
    values = np.repeat(np.arange(12.0), 5)
    assert p_value(wasserstein(values, sides_of(12, 5, 4))) >= 1 / 200


def test_step_down_controls_false_alarms_and_does_not_correct_equal_tests():
    rng = np.random.default_rng(0)
    alone = rng.normal(size=(1, 500))
    assert step_down(alone) == pytest.approx([p_value(alone[0])])
    same = np.repeat(alone, 8, axis=0)
    assert step_down(same) == pytest.approx(
        [p_value(alone[0])] * 8
    )  # Holm's correction would give a p-value eight times as large
    alarms = [(step_down(rng.normal(size=(8, 200))) <= 0.05).any() for _ in range(400)]
    assert 0.025 <= np.mean(alarms) <= 0.08
    moved = rng.normal(size=(8, 500))
    moved[3, 0] = 9.0
    corrected = step_down(moved)
    assert corrected[3] <= 8 * (1 / 500) + 1e-9
    assert (np.delete(corrected, 3) >= [p_value(test) - 1e-9 for test in np.delete(moved, 3, axis=0)]).all()


def test_step_down_equals_a_calculation_by_hand():
    statistics = np.array(
        [[5.0, 1, 2, 3], [2.0, 9, 1, 0]]
    )  # the p-values of the shuffles are (1 4 3 2)/4 and (2 1 3 4)/4
    # First test: the smaller p-values of the shuffles are 1/4, 1/4, 3/4 and 2/4, and two of these four are at most 1/4.
    # Second test: its p-value is not corrected.
    assert step_down(statistics) == pytest.approx([0.5, 0.5])


def test_energy_equals_the_papers_means_of_distances(monkeypatch):
    rng = np.random.default_rng(0)
    means = rng.normal(size=(12, 3)) @ rng.normal(size=(3, 3))
    sides = permuted_sides(np.repeat(np.arange(12), 3), np.arange(36) >= 21, 20, 0)
    monkeypatch.setattr(permutation, "CORRELATION_SHRINKAGE", 0.0)
    found = energy(np.repeat(means, 3, axis=0), np.repeat(np.arange(12), 3), sides)
    inverse = np.linalg.inv(np.cov(means.T, ddof=0))
    apart = np.array([[mahalanobis(one, other, inverse) for other in means] for one in means])
    for side, distance in zip(sides[:, ::3], found, strict=True):
        across = apart[np.ix_(side, ~side)].mean()
        here, there = (apart[np.ix_(one, one)].sum() / (one.sum() * (one.sum() - 1)) for one in (side, ~side))
        squared = max(0, 2 * across - here - there) * apart.sum() / (12 * 11)
        assert distance == pytest.approx(np.sqrt(squared), abs=1e-6)


def test_energy_is_the_distance_of_the_centres_in_standard_deviations():
    values, groups = np.random.default_rng(0).normal(size=(2000, 10)), np.arange(2000)
    for shift in (0.5, 1.5):
        moved = values + shift * np.eye(10)[3] * (groups >= 1000)[:, None]
        spread = np.sqrt(1 + shift**2 / 4)  # the standard deviation of both sides together
        assert energy(moved, groups, (groups >= 1000)[None])[0] == pytest.approx(shift / spread, rel=0.1)


def test_energy_finds_a_shift_that_no_single_column_shows():
    rng = np.random.default_rng(1)
    means = rng.normal(size=(40, 1)) + 0.1 * rng.normal(size=(40, 2))
    means[20:, 1] += 0.4  # small compared with the spread of 1, large compared with that of the difference
    sides = permuted_sides(np.arange(40), np.arange(40) >= 20, 199, 0)
    assert p_value(energy(means, np.arange(40), sides)) <= 0.05
    assert p_value(wasserstein(means[:, 1], sides)) > 0.05


def test_energy_finds_a_wider_spread_around_the_same_centre():
    means = np.random.default_rng(0).normal(size=(60, 8))
    means[30:] *= 2
    assert p_value(energy(means, np.arange(60), permuted_sides(np.arange(60), np.arange(60) >= 30, 199, 0))) <= 0.05


def test_more_columns_than_groups_and_constant_columns_are_allowed():
    rng = np.random.default_rng(0)
    values = np.hstack([rng.normal(size=(40, 300)), np.ones((40, 2))])
    sides = permuted_sides(np.arange(40), np.arange(40) >= 20, 199, 0)
    assert p_value(energy(values, np.arange(40), sides)) > 0.05
    values[20:, :20] += 3
    assert p_value(energy(values, np.arange(40), sides)) <= 0.05
    assert energy(np.ones((40, 3)), np.arange(40), sides) == pytest.approx(np.zeros(200))
