import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import t

from components.shared.intervals import MANY, draw_groups, interval, one_twice

NONE = np.empty(0)


def test_the_mean_of_groups_gets_students_t_interval_and_the_farthest_group_once_more_on_its_side():
    rng = np.random.default_rng(0)
    groups = rng.exponential(size=60)
    draws = draw_groups(60, 20_000, 0) @ groups / 60
    twice = one_twice(60) @ groups / 61
    error = groups.std(ddof=1) / np.sqrt(60)
    low, high = t.interval(0.95, 59, groups.mean(), error)
    once_more = (groups.max() - groups.mean()) / 61
    assert interval(groups.mean(), draws, twice, 60, "difference") == pytest.approx((low, high + once_more), rel=0.01)
    mirrored = interval(-groups.mean(), -draws, -twice, 60, "difference")
    assert mirrored == pytest.approx((-high - once_more, -low), rel=0.01)


@pytest.mark.parametrize(
    ("scale", "value", "there", "back", "slope"),
    [
        ("share", 0.9, logit, expit, 1 / 0.09),
        ("signed", 0.8, np.arctanh, np.tanh, 1 / 0.36),
        ("loss", 0.3, np.log, np.exp, 1 / 0.3),
    ],
)
def test_ends_lie_where_the_transformed_scale_puts_them_and_never_outside(scale, value, there, back, slope):
    draws = np.random.default_rng(0).normal(value, 0.05, 100_000)
    low, high = interval(value, draws, NONE, 1000, scale)
    reach = t.ppf(0.975, 999) * 0.05 * slope
    assert (low, high) == pytest.approx((back(there(value) - reach), back(there(value) + reach)), rel=0.01)
    wild = interval(value, np.random.default_rng(0).normal(value, 5, 1000), NONE, 5, scale)
    assert {"share": 0, "signed": -1, "loss": 0}[scale] <= wild[0] < wild[1]
    assert scale == "loss" or wild[1] <= 1


def test_nothing_varies_nothing_is_told_and_undefined_resamples_are_left_out():
    assert interval(1.0, np.ones(100), np.ones(20), 20, "share") == (1.0, 1.0)
    draws = np.random.default_rng(0).normal(0.5, 0.1, 1000)
    holed = np.append(draws, [np.nan] * 50)
    assert interval(0.5, holed, NONE, 20, "share") == pytest.approx(interval(0.5, draws, NONE, 20, "share"))


def test_one_stands_twice_at_a_time_unless_there_are_very_many():
    assert one_twice(3).tolist() == [[2, 1, 1], [1, 2, 1], [1, 1, 2]]
    assert one_twice(MANY + 1).shape == (0, MANY + 1)
