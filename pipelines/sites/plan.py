"""Choose at random which tiles of a site a person will label, and in which order. This choice needs no labels.

The tiles are divided into three strata, and the probability that a tile is drawn depends on its stratum. Each draw has
a weight that corrects for this. The test in sequential_test.py counts bets. A bet is one draw, or all draws from one
photo.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from components.shared.results.sequential_test import FRACTIONS, Bets

Claim = Literal["images", "photos"]

STRATA = ("called a crack", "doubtful", "clear")
# Of the tiles that are not called a crack, this share is doubtful: the tiles with the highest P(crack).
DOUBTFUL_SHARE = 0.25
TILES_PER_PHOTO = 8  # number of draws from each photo, for the claim "photos"
MAX_DRAWS = 10_000
DRAWS_PER_TILE = 20  # a site with few tiles has this number of draws for each tile; larger sites have MAX_DRAWS draws
# When we plan the draws, we limit P(crack) of a tile to the range from this number to 1 - this number.
SMALLEST_PROBABILITY = 0.005
ALLOCATION_STEPS = 20  # each stratum that has tiles gets at least one twentieth of the draws, and only whole twentieths


@dataclass(frozen=True)
class Limits:
    """The limits that a model version must reach at a site, and the risk of a wrong verdict.

    Attributes:
        recall: Lower limit for the recall, 0 to 1. Of all tiles with a crack, the recall is the share that the model
            finds.
        false_alarms: Upper limit for the false-alarm rate, 0 to 1. Of all tiles without a crack, this rate is the share
            that the model calls a crack.
        risk: Highest probability of a wrong acceptance, and of a wrong refusal, 0 to 1.
    """

    recall: float = 0.9
    false_alarms: float = 0.1
    risk: float = 0.05


@dataclass(frozen=True)
class Plan:
    """The draws at a site.

    Attributes:
        claim: "images": the verdict is about the tiles of the site. "photos": it is also about photos taken later.
        tiles: One row for each tile: path, digest, photo, p_crack, called (true if the model calls the tile a crack),
            stratum (a position in STRATA) and weight (the weight of one draw of the tile, above 0).
        draws: One row for each draw, in order: bet (the number of the bet, from 0) and tile (a row number in `tiles`).
            If the claim is "images", a bet is one draw. If the claim is "photos", a bet is all draws from one photo.
    """

    claim: Claim
    tiles: pd.DataFrame
    draws: pd.DataFrame

    def recall_bets(self, labels: np.ndarray) -> Bets:
        """Return the outcomes of the bets on the recall. A bet is one draw, or all draws from one photo.

        Args:
            labels: int (n,), 1 for crack: the label of each of the first n draws. All draws of the last bet must be
                among these n draws.
        """
        return self._bets(labels, crack=1)

    def specificity_bets(self, labels: np.ndarray) -> Bets:
        """Return the outcomes of the bets on the specificity, which is 1 minus the false-alarm rate.

        The argument is the same as for `recall_bets`.
        """
        return self._bets(labels, crack=0)

    def _bets(self, labels: np.ndarray, crack: int) -> Bets:
        bet = self.draws["bet"].to_numpy()[: len(labels)]
        tile = self.draws["tile"].to_numpy()[: len(labels)]
        weights = self.tiles["weight"].to_numpy()
        right = self.tiles["called"].to_numpy() == bool(crack)
        belongs = labels == crack

        count = int(bet[-1]) + 1 if len(bet) else 0
        good = np.bincount(bet, weights[tile] * (belongs & right[tile]), count)
        bad = np.bincount(bet, weights[tile] * (belongs & ~right[tile]), count)

        draws_in_bet = 1 if self.claim == "images" else TILES_PER_PHOTO
        return Bets(good, bad, draws_in_bet * _largest(weights, right), draws_in_bet * _largest(weights, ~right))


def make_plan(tiles: pd.DataFrame, claim: Claim, limits: Limits, seed: int) -> Plan:
    """Draw tiles of a site at random. A stratum whose labels say more about the limits is drawn more often.

    Args:
        tiles: One row for each tile: path, digest, photo, p_crack (calibrated) and called.
        claim: The claim that the verdict will be about; see `Plan`.
        limits: The limits. They decide how often each stratum is drawn. A later verdict can use other limits.
        seed: Seed of the random numbers.

    Source: Horvitz & Thompson, JASA 1952 (weights); docs/statistics.md, "Accepting a site".
    """
    tiles = tiles.assign(stratum=_strata(tiles["p_crack"].to_numpy(), tiles["called"].to_numpy()))
    stratum = tiles["stratum"].to_numpy()
    counts = np.bincount(stratum, minlength=len(STRATA))
    shares = best_allocation(tiles, limits)
    chance = (shares / np.maximum(counts, 1))[stratum]

    rng = np.random.default_rng(seed)
    if claim == "images":
        weight, draws = _draw_tiles(chance, rng)
    else:
        weight, draws = _draw_photos(tiles["photo"].to_numpy(), chance, rng)
    return Plan(claim, tiles.assign(weight=weight), draws)


def _strata(p_crack: np.ndarray, called: np.ndarray) -> np.ndarray:
    """Return the stratum of each tile, int64 (n,)."""
    stratum = np.where(called, 0, 2)
    others = np.flatnonzero(~called)
    doubtful = int(np.ceil(DOUBTFUL_SHARE * len(others)))
    stratum[others[np.argsort(-p_crack[others], kind="stable")[:doubtful]]] = 1
    return stratum


def best_allocation(tiles: pd.DataFrame, limits: Limits) -> np.ndarray:
    """Return the share of the draws that each stratum should get, float64 (3,).

    There are two tests: one of recall, and one of false alarms. For each test, we compute how fast its evidence is
    expected to grow. We choose the shares with which the slower test is as fast as possible. The expected growth is
    computed from the model's own P(crack); see `_expected`. If P(crack) is wrong, more labels are needed than expected,
    but the verdict is still valid.

    Args:
        tiles: The columns p_crack, called and stratum.
        limits: The limits.
    """
    stratum = tiles["stratum"].to_numpy()
    share = np.bincount(stratum, minlength=len(STRATA)) / len(stratum)
    cracks, sound = _expected(tiles, share, limits)

    best, best_growth = share, -np.inf
    for called, doubtful in combinations(range(1, ALLOCATION_STEPS), 2):
        parts = np.array([called, doubtful - called, ALLOCATION_STEPS - doubtful]) * (share > 0)
        drawn = parts / parts.sum()
        weight = share / np.where(drawn > 0, drawn, 1)
        growth = min(
            _growth(drawn, cracks, weight, np.array([True, False, False]), limits.recall),
            _growth(drawn, sound, weight, np.array([False, True, True]), 1 - limits.false_alarms),
        )
        if growth > best_growth:
            best, best_growth = drawn, growth
    return best


def _expected(tiles: pd.DataFrame, share: np.ndarray, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Return the expected shares of tiles with and without a crack in each stratum, two float64 (3,).

    The shares are computed from P(crack). If P(crack) itself says that the model misses a limit, no number of labels is
    expected to show that the limit is reached. So the expected recall and the expected specificity must be at least
    halfway between the limit and 1. If one of them is lower, we reduce the expected errors until it is halfway.
    """
    tiles_in = np.maximum(share * len(tiles), 1)
    p_crack = np.clip(tiles["p_crack"].to_numpy(), SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    cracks = np.bincount(tiles["stratum"], p_crack, len(STRATA)) / tiles_in
    sound = np.bincount(tiles["stratum"], 1 - p_crack, len(STRATA)) / tiles_in

    missed = (share * cracks)[1:].sum()
    allowed = (share * cracks)[0] * (1 - limits.recall) / (1 + limits.recall)
    cracks[1:] *= min(1.0, allowed / max(missed, 1e-12))

    alarms = (share * sound)[0]
    allowed = (share * sound)[1:].sum() * limits.false_alarms / (2 - limits.false_alarms)
    sound[0] *= min(1.0, allowed / max(alarms, 1e-12))
    return cracks, sound


def _growth(drawn: np.ndarray, chance: np.ndarray, weight: np.ndarray, right: np.ndarray, limit: float) -> float:
    """Return the expected growth of log(evidence) per draw.

    The evidence is the wealth of a player, who always bets the same fraction of the wealth. We take the best fraction.
    The tested class is crack in the test of recall, and no_crack in the test of false alarms.

    Args:
        drawn: float64 (3,), share of all draws that each stratum gets.
        chance: float64 (3,), expected share of tiles of the tested class in each stratum.
        weight: float64 (3,), weight of a draw from each stratum.
        right: bool (3,), true if the model answers with the tested class for the tiles of the stratum.
        limit: The limit that recall or specificity must exceed.
    """
    most_bad = _largest(weight, ~right & (weight > 0))
    gain = np.where(right, weight * (1 / limit - 1), -weight) / most_bad
    growth = np.log1p(np.outer(gain, FRACTIONS))
    return float(((drawn * chance) @ growth).max())


def _largest(weights: np.ndarray, chosen: np.ndarray) -> float:
    """Return the largest weight for which `chosen` is true. If `chosen` is never true, return the largest of all."""
    return float(weights[chosen].max() if chosen.any() else weights.max())


def _draw_tiles(chance: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame]:
    """Draw tiles with replacement. Return the weight of each tile, and the draws.

    Args:
        chance: float64 (n,), the probability that a draw chooses this tile. The probabilities sum to 1.
        rng: Random numbers.
    """
    count = min(MAX_DRAWS, DRAWS_PER_TILE * len(chance))
    tile = rng.choice(len(chance), count, p=chance / chance.sum())
    return 1 / (len(chance) * chance), pd.DataFrame({"bet": np.arange(count), "tile": tile})


def _draw_photos(photo: np.ndarray, chance: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame]:
    """Take each photo once, in random order, and draw TILES_PER_PHOTO of its tiles with replacement.

    Return the weight of each tile, and the draws. On average, the weights of a photo's draws add up to n / N. Here n is
    the number of tiles of this photo, and N is the number of tiles of the largest photo.
    """
    names, codes = np.unique(photo, return_inverse=True)
    largest = np.bincount(codes).max()
    weight = np.zeros(len(chance))

    drawn = []
    for code in rng.permutation(len(names)):
        inside = np.flatnonzero(codes == code)
        here = chance[inside] / chance[inside].sum()
        weight[inside] = 1 / (largest * TILES_PER_PHOTO * here)
        drawn.append(rng.choice(inside, TILES_PER_PHOTO, p=here))

    bet = np.repeat(np.arange(len(names)), TILES_PER_PHOTO)
    return weight, pd.DataFrame({"bet": bet, "tile": np.concatenate(drawn)})
