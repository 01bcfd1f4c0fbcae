import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import t

from components.shared.intervals import FEWEST, MANY, draw_groups, interval, leave_one_out


def test_the_mean_of_groups_alike_gets_students_t_interval():
    rng = np.random.default_rng(0)
    groups = rng.uniform(size=60)  # kurtosis 1.8, so that no degree of freedom is lost
    draws = draw_groups(60, 20_000, 0) @ groups / 60
    without = leave_one_out(60) @ groups / 59
    error = groups.std(ddof=1) / np.sqrt(60)
    expected = t.interval(0.95, 59, groups.mean(), error)
    assert interval(groups.mean(), draws, without, 60, "difference") == pytest.approx(expected, rel=0.01)


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
    low, high = interval(value, draws, np.empty(0), 1000, scale)
    reach = t.ppf(0.975, 999) * 0.05 * slope
    assert (low, high) == pytest.approx((back(there(value) - reach), back(there(value) + reach)), rel=0.01)
    wild = interval(value, np.random.default_rng(0).normal(value, 5, 1000), np.empty(0), 5, scale)
    assert {"share": 0, "signed": -1, "loss": 0}[scale] <= wild[0] < wild[1]
    assert scale == "loss" or wild[1] <= 1


def test_a_few_groups_that_decide_cost_degrees_of_freedom():
    alike, one_decides = np.zeros(40), np.zeros(40)
    alike[::2] = 1.0
    one_decides[0] = 1.0
    draws = np.random.default_rng(0).normal(0.5, 0.1, 100_000)
    reach = {}
    for name, groups in (("alike", alike), ("one", one_decides)):
        low, high = interval(0.5, draws, leave_one_out(40) @ groups / 39, 40, "difference")
        reach[name] = (high - low) / 2 / (0.1 * np.sqrt(40 / 39))
    assert reach["alike"] == pytest.approx(t.ppf(0.975, 39), rel=0.01)
    assert reach["one"] == pytest.approx(t.ppf(0.975, FEWEST), rel=0.01)


def test_nothing_varies_nothing_is_told_and_undefined_resamples_are_left_out():
    assert interval(1.0, np.ones(100), np.ones(20), 20, "share") == (1.0, 1.0)
    draws = np.random.default_rng(0).normal(0.5, 0.1, 1000)
    holed = np.append(draws, [np.nan] * 50)
    some = interval(0.5, draws, np.empty(0), 20, "share")
    assert interval(0.5, holed, np.full(20, np.nan), 20, "share") == pytest.approx(some)


def test_one_is_left_out_at_a_time_unless_there_are_very_many():
    assert leave_one_out(3).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    assert leave_one_out(MANY + 1).shape == (0, MANY + 1)
