import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import kurtosis, skew, t

from components.shared.results.intervals import MAX_GROUPS_FOR_INFLUENCE, draw_groups, interval, one_twice

NOTHING = np.empty(0)


def test_the_mean_of_groups_gets_students_t_interval_longer_where_the_tail_is() -> None:
    groups = np.random.default_rng(0).exponential(size=60)
    draws = draw_groups(60, 20_000, 0) @ groups / 60
    twice = one_twice(60) @ groups / 61

    error = groups.std(ddof=1) / np.sqrt(60)
    quantile = t.ppf(0.975, min(59, 2 * 60 / (kurtosis(groups, fisher=False) - 1)))
    tail = (1 + 2 * 1.96**2) / 6 * skew(groups) / np.sqrt(60)
    low = groups.mean() - quantile * error
    high = groups.mean() + (quantile + tail) * error

    assert quantile > 2.05  # of 59 degrees of freedom it is 2.00
    assert interval(groups.mean(), draws, twice, 60, "difference") == pytest.approx((low, high), rel=0.01)
    mirrored = interval(-groups.mean(), -draws, -twice, 60, "difference")
    assert mirrored == pytest.approx((-high, -low), rel=0.01)


def test_a_difference_of_two_good_models_reaches_further_on_the_side_of_the_long_tail() -> None:
    groups = np.zeros(40)
    groups[:3] = -0.2, -0.1, -0.05  # one model is worse on three photos, and better on none
    draws = draw_groups(40, 20_000, 0) @ groups / 40
    twice = one_twice(40) @ groups / 41

    low, high = interval(groups.mean(), draws, twice, 40, "difference")
    reach = groups.mean() - low
    for losses, factor in ((1.0, np.exp(reach)), (0.02, np.exp(reach / 0.02)), (0.001, np.exp(1.5))):
        stretched = interval(groups.mean(), draws, twice, 40, "difference", losses)
        assert stretched == pytest.approx((groups.mean() - factor * reach, high))


def test_one_group_with_errors_leaves_a_wide_interval_but_not_everything_possible() -> None:
    groups = np.zeros(40)
    groups[0] = 0.1  # a tenth of its tiles
    draws = draw_groups(40, 20_000, 0) @ groups / 40
    twice = one_twice(40) @ groups / 41

    low, high = interval(groups.mean(), draws, twice, 40, "share")
    assert high == pytest.approx(expit(logit(1 / 400) + 3 / (1 - 1 / 400)), rel=0.05)  # the standard error is the share
    assert 0 < low < groups.mean() / 5
    wilder = interval(groups.mean(), 10 * draws, twice, 40, "share")
    assert wilder == pytest.approx((low, high), rel=0.05)


@pytest.mark.parametrize(
    ("scale", "value", "forward", "backward", "slope"),
    [
        ("share", 0.9, logit, expit, 1 / 0.09),
        ("signed", 0.8, np.arctanh, np.tanh, 1 / 0.36),
        ("loss", 0.3, np.log, np.exp, 1 / 0.3),
    ],
)
def test_the_ends_are_where_the_transformed_scale_puts_them_and_never_outside(scale, value, forward, backward, slope):
    draws = np.random.default_rng(0).normal(value, 0.05, 100_000)
    low, high = interval(value, draws, NOTHING, 1000, scale)
    reach = t.ppf(0.975, 999) * 0.05 * slope
    assert (low, high) == pytest.approx((backward(forward(value) - reach), backward(forward(value) + reach)), rel=0.01)

    wild = interval(value, np.random.default_rng(0).normal(value, 5, 1000), NOTHING, 5, scale)
    least = {"share": 0, "signed": -1, "loss": 0}[scale]
    assert least <= wild[0] < wild[1]
    assert scale == "loss" or wild[1] <= 1


def test_equal_draws_give_an_interval_of_one_point() -> None:
    assert interval(1.0, np.ones(100), np.ones(20), 20, "share") == (1.0, 1.0)


def test_undefined_resamples_do_not_count() -> None:
    draws = np.random.default_rng(0).normal(0.5, 0.1, 1000)
    with_gaps = np.append(draws, [np.nan] * 50)
    expected = interval(0.5, draws, NOTHING, 20, "share")
    assert interval(0.5, with_gaps, NOTHING, 20, "share") == pytest.approx(expected)


def test_each_group_is_doubled_in_turn_unless_there_are_very_many() -> None:
    assert one_twice(3).tolist() == [[2, 1, 1], [1, 2, 1], [1, 1, 2]]
    assert one_twice(MAX_GROUPS_FOR_INFLUENCE + 1).shape == (0, MAX_GROUPS_FOR_INFLUENCE + 1)
