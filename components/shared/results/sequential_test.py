"""Test a share, such as recall, while labels arrive. The error rates hold at any number of looks.

The evidence is the wealth of a player who bets against a limit; docs/statistics.md ("Accepting a site") derives it.

Source: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024, section 4; the
mixture over fixed bets is Cover's universal portfolio, Mathematical Finance 1991.
"""

from dataclasses import dataclass

import numpy as np

# The shares of the wealth that the players bet. Each plays with an equal part of the first wealth.
FRACTIONS = np.array([0.1, 0.3, 0.6, 0.95])
# The shares that a confidence sequence can exclude.
GRID = np.linspace(0.005, 0.995, 199)
# exp overflows in float64 at larger values.
MAX_LOG_WEALTH = 700.0


@dataclass(frozen=True)
class Bets:
    """What each draw showed: the weights of its good and of its bad tiles. The share is good / (good + bad).

    The draws are independent and have the same distribution.

    Attributes:
        good: float (n,), at least 0, such as the weight of the cracks that were found.
        bad: float (n,), at least 0, such as the weight of the missed cracks.
        most_good: The largest weight that `good` could have had in any draw, above 0.
        most_bad: The largest weight that `bad` could have had in any draw, above 0.
    """

    good: np.ndarray
    bad: np.ndarray
    most_good: float
    most_bad: float

    def share(self) -> float:
        """Return the estimated share, 0 to 1; NaN if no draw showed a good or a bad tile."""
        total = self.good.sum() + self.bad.sum()
        return float(self.good.sum() / total) if total else float("nan")

    def swapped(self) -> "Bets":
        """Return the same draws with good and bad exchanged: bets on 1 - share."""
        return Bets(self.bad, self.good, self.most_bad, self.most_good)


def evidence_above(bets: Bets, limit: float) -> np.ndarray:
    """Return the evidence after each draw that the share is above a limit, float64 (n,), at least 0.

    If the share is at most the limit, the evidence ever reaches 1 / risk with a probability of at most `risk`. At each
    draw, the evidence falls as the limit rises.

    Args:
        bets: The draws.
        limit: A share, above 0 and below 1.
    """
    # The mean of `gain` is at most 0 if the share is at most the limit, and a gain is never below -1.
    gain = (bets.good / limit - (bets.good + bets.bad)) / bets.most_bad
    wealth = np.cumsum(np.log1p(np.outer(gain, FRACTIONS)), axis=0)
    return np.exp(np.minimum(wealth, MAX_LOG_WEALTH)).mean(axis=1)


def evidence_below(bets: Bets, limit: float) -> np.ndarray:
    """Return the evidence after each draw that the share is below a limit, float64 (n,). See `evidence_above`."""
    return evidence_above(bets.swapped(), 1 - limit)


def ends(bets: Bets, risk: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and the upper end of the share's confidence sequence after each draw, each float64 (n,).

    The share is ever below a lower end with a probability of at most `risk`, and ever above an upper end likewise. The
    ends are among `GRID`, or 0 and 1.
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
