from itertools import product

import numpy as np
import pytest

from components.shared.results.sequential_test import Bets, ends, evidence_above, evidence_below

# A draw is a good tile of weight 0.5, a bad tile of weight 0.5 or 1.5, or a tile that does not count.
OUTCOMES = ((0.5, 0.0), (0.0, 0.5), (0.0, 1.5), (0.0, 0.0))
CHANCES = np.array([0.6, 0.1, 0.05, 0.25])
SHARE = 0.3 / (0.3 + 0.05 + 0.075)


def exact_mean(evidence, limit):
    """Return the exact mean of the evidence after four draws: we try all possible draws."""
    total = 0.0
    for drawn in product(range(len(OUTCOMES)), repeat=4):
        good, bad = np.array([OUTCOMES[number] for number in drawn]).T
        total += CHANCES[list(drawn)].prod() * evidence(Bets(good, bad, 0.5, 1.5), limit)[-1]
    return total


def test_evidence_against_a_true_limit_does_not_grow_and_against_a_wrong_one_it_does():
    assert exact_mean(evidence_above, SHARE) == pytest.approx(1)
    assert exact_mean(evidence_below, SHARE) == pytest.approx(1)
    assert exact_mean(evidence_above, SHARE + 0.1) < 1 < exact_mean(evidence_above, SHARE - 0.1)
    assert exact_mean(evidence_below, SHARE - 0.1) < 1 < exact_mean(evidence_below, SHARE + 0.1)


def drawn_bets(count, seed=0):
    rng = np.random.default_rng(seed)
    good, bad = np.array(OUTCOMES)[rng.choice(len(OUTCOMES), count, p=CHANCES)].T
    return Bets(good, bad, 0.5, 1.5)


def test_the_ends_close_in_on_the_share_and_agree_with_the_evidence():
    bets = drawn_bets(3000)
    low, high = ends(bets, risk=0.05)
    assert (np.diff(low) >= 0).all()
    assert (np.diff(high) <= 0).all()
    assert low[0] == 0
    assert low[-1] < SHARE < high[-1]
    assert high[-1] - low[-1] < 0.12
    assert evidence_above(bets, low[-1]).max() >= 20 > evidence_above(bets, low[-1] + 0.005).max()
    assert bets.share() == pytest.approx(SHARE, abs=0.03)


def test_a_limit_is_wrongly_excluded_at_any_of_many_looks_in_at_most_five_percent_of_the_draws():
    wrong = sum(evidence_above(drawn_bets(400, seed), SHARE).max() >= 20 for seed in range(300))
    assert wrong / 300 <= 0.05


def test_draws_that_show_nothing_are_no_evidence():
    nothing = Bets(np.zeros(5), np.zeros(5), 1.0, 1.0)
    assert evidence_above(nothing, 0.9).tolist() == [1.0] * 5
    assert np.isnan(nothing.share())
    assert [end[-1] for end in ends(nothing, 0.05)] == [0, 1]
