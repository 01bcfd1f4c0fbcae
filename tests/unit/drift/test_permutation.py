import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from components.drift.permutation import holm, mmd, p_value, permuted_sides, wasserstein


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


def test_holm_is_the_textbooks():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])) == pytest.approx([1, 1])
