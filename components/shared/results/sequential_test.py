"""Test a share, such as recall, while labels arrive. A user may look at the result after every label.

The test is a game about randomly drawn tiles or photos. Several players start with a total wealth of 1. Before each
draw, each player bets a fixed fraction of their wealth on the statement that the share is above a limit. If this
statement is wrong, the players cannot expect to win. So a large total wealth is evidence that the share is above the
limit, and this module calls the total wealth "evidence". docs/statistics.md ("Accepting a site") derives the test.

Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024, section 4; the
mixture over fixed bets is Cover's universal portfolio, Mathematical Finance 1991.
"""

from dataclasses import dataclass

import numpy as np

# The fraction of its wealth that each player bets. There is one player for each fraction. All start with equal wealth.
FRACTIONS = np.array([0.1, 0.3, 0.6, 0.95])
# To find the ends of an interval for the share, these values of the share are tested one by one.
GRID = np.linspace(0.005, 0.995, 199)
# exp overflows in float64 at larger values.
MAX_LOG_WEALTH = 700.0


@dataclass(frozen=True)
class Bets:
    """The outcomes of n bets. A bet is about one random draw: one tile, or several tiles of one photo.

    The outcome of a bet is the total weight of its good tiles, and the total weight of its bad tiles. The bets are
    about a share, such as recall: good / (good + bad), where good and bad are sums over all bets. The bets are
    independent and have the same distribution.

    Attributes:
        good: float (n,), at least 0, such as the weight of the cracks that were found.
        bad: float (n,), at least 0, such as the weight of the missed cracks.
        most_good: The largest weight that `good` could have had in any bet, above 0.
        most_bad: The largest weight that `bad` could have had in any bet, above 0.
    """

    good: np.ndarray
    bad: np.ndarray
    most_good: float
    most_bad: float

    def share(self) -> float:
        """Return the estimated share, 0 to 1; NaN if there is neither a good nor a bad tile."""
        total = self.good.sum() + self.bad.sum()
        return float(self.good.sum() / total) if total else float("nan")

    def swapped(self) -> "Bets":
        """Return the bets with good and bad exchanged. If the share was 0.9, it is now 0.1."""
        return Bets(self.bad, self.good, self.most_bad, self.most_good)


def evidence_above(
    bets: Bets, limit: float, fractions: np.ndarray = FRACTIONS, starts: np.ndarray | None = None
) -> np.ndarray:
    """Return the evidence that a share is above a limit, after each bet.

    If the share is not above the limit, the evidence is unlikely to become large. For example, the probability
    that it ever reaches 20 is at most 1 / 20, and for 100 it is at most 1 / 100. A higher limit gives less evidence.

    Args:
        bets: The outcomes of n bets, in the order of the draws.
        limit: The limit, above 0 and below 1.
        fractions: float (players,), the fraction of the wealth that each player bets, from 0 to below 1.
        starts: float (players,), the wealth with which each player starts; the sum is 1. By default, all players start
            with the same wealth.

    Returns:
        float64 (n,), at least 0: the total wealth of all players after each bet. The players start with a total of 1.
    """
    # If the share is at most the limit, the expected gain is at most 0. A gain is never below -1.
    gain = (bets.good / limit - (bets.good + bets.bad)) / bets.most_bad
    wealth = np.cumsum(np.log1p(np.outer(gain, fractions)), axis=0)
    if starts is None:
        starts = np.full(len(fractions), 1 / len(fractions))
    return np.exp(np.minimum(wealth, MAX_LOG_WEALTH)) @ starts


def evidence_below(bets: Bets, limit: float) -> np.ndarray:
    """Return the evidence that a share is below a limit, after each bet. See `evidence_above`."""
    return evidence_above(bets.swapped(), 1 - limit)


def ends(bets: Bets, risk: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower ends and the upper ends of n confidence intervals for the share, one interval after each bet.

    Both arrays are float64 (n,). Each end is 0, 1 or a value of `GRID`.

    The probability that any of the lower ends is above the share is at most `risk`. The probability that any of the
    upper ends is below the share is at most `risk` too.
    """
    return _lower_ends(bets, risk), 1 - _lower_ends(bets.swapped(), risk)


def _lower_ends(bets: Bets, risk: float) -> np.ndarray:
    lower = np.zeros(len(bets.good))
    for limit in GRID:
        excluded = np.maximum.accumulate(evidence_above(bets, limit)) >= 1 / risk
        if not excluded.any():
            break
        lower[excluded] = limit
    return lower
