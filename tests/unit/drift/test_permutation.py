import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from components.drift import permutation
from components.drift.permutation import mahalanobis, mmd, p_value, permuted_sides, step_down, wasserstein


def sides_of(groups: int, per_group: int, current_groups: int, permutations: int = 199, seed: int = 0):
    names = np.repeat(np.arange(groups), per_group)
    return permuted_sides(names, names < current_groups, permutations, seed)


def test_groups_are_dealt_whole_and_as_many_as_there_are():
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


def test_mmd_equals_the_papers_sum():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(24, 3))
    sides = sides_of(8, 3, 3, permutations=4)
    scaled = (points - points.mean(axis=0)) / points.std(axis=0)
    distances = ((scaled[:, None] - scaled[None]) ** 2).sum(axis=2)
    kernel = np.exp(-distances / np.median(distances[np.triu_indices(24, 1)]))
    for side, found in zip(sides, mmd(points, sides), strict=True):
        within = kernel[np.ix_(side, side)].mean() + kernel[np.ix_(~side, ~side)].mean()
        assert found == pytest.approx(within - 2 * kernel[np.ix_(side, ~side)].mean())


def test_p_values_are_uniform_without_drift_though_groups_differ():
    """Photos differ from each other far more than their tiles do; a test over tiles would alarm nearly always."""
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


def test_step_down_keeps_the_level_for_all_tests_together_and_spares_those_that_say_the_same():
    rng = np.random.default_rng(0)
    alone = rng.normal(size=(1, 500))
    assert step_down(alone) == pytest.approx([p_value(alone[0])])
    same = np.repeat(alone, 8, axis=0)
    assert step_down(same) == pytest.approx([p_value(alone[0])] * 8)  # Holm would say eight times as much
    alarms = [(step_down(rng.normal(size=(8, 200))) <= 0.05).any() for _ in range(400)]
    assert 0.025 <= np.mean(alarms) <= 0.08
    moved = rng.normal(size=(8, 500))
    moved[3, 0] = 9.0
    corrected = step_down(moved)
    assert corrected[3] <= 8 * (1 / 500) + 1e-9
    assert (np.delete(corrected, 3) >= [p_value(test) - 1e-9 for test in np.delete(moved, 3, axis=0)]).all()


def test_step_down_equals_its_definition_worked_by_hand():
    statistics = np.array([[5.0, 1, 2, 3], [2.0, 9, 1, 0]])  # p of the deals: (1 4 3 2)/4 and (2 1 3 4)/4
    # the first test: smallest p of both per deal 1/4, 1/4, 3/4, 2/4, two of four at most 1/4; the second: p of its own
    assert step_down(statistics) == pytest.approx([0.5, 0.5])


def test_mahalanobis_is_the_textbooks_and_sees_what_no_single_feature_shows(monkeypatch):
    rng = np.random.default_rng(0)
    common = rng.normal(size=(40, 1))
    means = common + 0.1 * rng.normal(size=(40, 2))
    means[20:, 1] += 0.3  # small beside the spread of 1, large beside that of the difference
    values, groups = np.repeat(means, 3, axis=0), np.repeat(np.arange(40), 3)
    sides = permuted_sides(groups, groups >= 20, 199, 0)
    monkeypatch.setattr(permutation, "SHRINKAGE", 0.0)
    found = mahalanobis(values, groups, sides)
    for side, distance in list(zip(sides[:, ::3], found, strict=True))[:5]:
        pooled = (19 * np.cov(means[side].T) + 19 * np.cov(means[~side].T)) / 38
        change = means[side].mean(axis=0) - means[~side].mean(axis=0)
        assert distance == pytest.approx(np.sqrt(change @ np.linalg.solve(pooled, change)))
    assert p_value(found) == 1 / 200
    assert p_value(wasserstein(values[:, 1], sides)) > 0.05
