"""Choose the review band: the range of P(crack) in which a person must look at a tile.

A tile below the band is answered "no crack", and nobody looks at it. The lower end is chosen on the validation split.
At most a small share of all cracks, 2 % by default, may be below the lower end. The method is risk control:
Learn-then-Test with a fixed sequence of tests. In each test, there is one bet for each photo (see sequential_test.py).
docs/statistics.md, "Triage", derives the method.

Sources: Angelopoulos, Bates, Candès, Jordan & Lei, "Learn then Test", 2021 (arXiv:2110.01052); Bates, Angelopoulos,
Lei, Malik & Jordan, "Distribution-free, risk-controlling prediction sets", JACM 2021 (monotone losses); Waudby-Smith &
Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024.
"""

import bisect
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from components.evaluate.config import TriageConfig
from components.shared.results.calibration import Calibration, ReviewBand
from components.shared.results.sequential_test import Bets, evidence_above

# A test has three players, who bet on each photo. The first line is the fraction of its wealth that each player bets.
# The second line is the wealth with which each player starts. Most of the wealth belongs to the player with the largest
# bets, because a good model hardly misses a crack. The other players help if there are thousands of photos and the
# model misses all cracks in a few of them.
FRACTIONS = np.array([0.2, 0.5, 0.95])
STARTS = np.array([0.1, 0.2, 0.7])
# At least this share of the cracks must count. The other cracks are in a few huge photos, which would otherwise decide
# how many photos are needed.
COUNTED_FULLY = 0.9
SMALLEST_LEVEL, LARGEST_LEVEL = 1e-6, 1 - 1e-6


@dataclass(frozen=True)
class CrackedPhotos:
    """The photos of a split that have cracks, and the cracked tiles of these photos.

    Attributes:
        p_crack: float64 (tiles,), calibrated, in rising order.
        photo: int (tiles,), the number of each tile's photo, from 0.
        cracks: int (photos,), number of cracked tiles of each photo, at least 1.
        counted: The limit for the weight of one photo, in cracked tiles; at least 1. For example, if the limit is 50, a
            photo with 200 cracked tiles counts like a photo with 50: each of the 200 tiles has the weight 1 / 4. The
            limit was chosen on another split.
    """

    p_crack: np.ndarray
    photo: np.ndarray
    cracks: np.ndarray
    counted: int

    @classmethod
    def of(cls, labels: np.ndarray, p_crack: np.ndarray, groups: np.ndarray, counted: int) -> "CrackedPhotos":
        """Select the cracked tiles among all tiles of a split.

        Args:
            labels: int (n,), 1 for crack.
            p_crack: float (n,), calibrated.
            groups: (n,), the group id of each tile.
            counted: See the attribute `counted`.
        """
        cracked = labels == 1
        order = np.argsort(p_crack[cracked], kind="stable")
        photo, names = pd.factorize(groups[cracked][order])
        return cls(p_crack[cracked][order], photo, np.bincount(photo, minlength=len(names)), counted)

    def evidence(self, missed_tiles: int, missed: float) -> float:
        """Return the evidence that a lower end of the band does not miss too many cracks.

        A crack is missed if its P(crack) is below the lower end. The share of missed cracks may be at most `missed`. If
        the true share is larger, large evidence is unlikely. For example, the probability that the evidence reaches 20
        is at most 1 / 20, and the probability that it reaches 100 is at most 1 / 100.

        Args:
            missed_tiles: Number of tiles in `p_crack` that are below this lower end.
            missed: The share of missed cracks that we test, above 0 and below 1.
        """
        lost = np.bincount(self.photo[:missed_tiles], minlength=len(self.cracks))
        weight = np.minimum(1, self.counted / self.cracks)
        bets = Bets(weight * (self.cracks - lost), weight * lost, self.counted, self.counted)
        together = evidence_above(bets, 1 - missed, FRACTIONS, STARTS)
        return float(together[-1]) if len(together) else 1.0


def cracks_that_count(labels: np.ndarray, groups: np.ndarray) -> int:
    """Choose the limit for the weight of one photo, in cracked tiles.

    For example, if the limit is 50, a photo with 200 cracked tiles counts like a photo with 50, so 150 of its cracked
    tiles do not count. The result is the smallest limit with which at least 90 % (COUNTED_FULLY) of all cracked tiles
    count.

    Args:
        labels: int (n,), of the training split. We do not use the validation split. If the validation split decided
            the limit, the tests on this split would not be valid.
        groups: (n,), the group id of each tile.
    """
    photo, _ = pd.factorize(groups[labels == 1])
    cracks = np.bincount(photo)
    for counted in np.unique(cracks):
        if np.minimum(cracks, counted).sum() >= COUNTED_FULLY * cracks.sum():
            return int(counted)
    return 1


def choose_band(photos: CrackedPhotos, threshold: float, config: TriageConfig) -> ReviewBand:
    """Choose the band. Its upper end is the operating threshold.

    The lower ends are tested from 0 upwards, until a test fails. If the lower end is raised, more cracks are missed, so
    there is less evidence. Therefore bisection finds the first test that fails.

    Args:
        photos: The validation photos with cracks.
        threshold: The operating threshold, as a calibrated P(crack).
        config: The largest share of missed cracks, and the confidence.
    """
    needed = 1 / (1 - config.confidence)
    passed = bisect.bisect_left(
        range(len(photos.p_crack)), True, key=lambda tiles: photos.evidence(tiles, config.missed) < needed
    )
    low = 0.0
    if passed:
        # The tests with 0 to `passed` - 1 missed cracks passed. If several tiles have the P(crack) at the lower end,
        # all of them need review.
        low = min(float(photos.p_crack[passed - 1]), threshold)

    return ReviewBand(
        low=low,
        high=threshold,
        missed=config.missed,
        confidence=config.confidence,
        photos=len(photos.cracks),
        photos_needed=photos_needed(photos, config),
        counted=photos.counted,
    )


def photos_needed(photos: CrackedPhotos, config: TriageConfig) -> int:
    """Return how many photos with cracks are needed for a lower end above 0.

    We assume that the model misses no crack in new photos, and that new photos have as many cracked tiles as the photos
    in `photos`. If `photos` is empty, we assume that each photo has `photos.counted` cracked tiles.
    """
    cracks = np.minimum(photos.cracks, photos.counted) if len(photos.cracks) else np.array([photos.counted])
    gain = cracks * config.missed / (1 - config.missed) / photos.counted
    growth = np.log1p(np.outer(gain, FRACTIONS)).mean(axis=0)

    def missing(count: float) -> float:
        return float(np.logaddexp.reduce(np.log(STARTS) + count * growth) + math.log(1 - config.confidence))

    fewest = -math.log(1 - config.confidence) / growth.max()
    return math.ceil(brentq(missing, 0, fewest - math.log(STARTS.min()) / growth.min()) - 1e-9)


def fit_band(train: pd.DataFrame, val: pd.DataFrame, calibration: Calibration, config: TriageConfig) -> ReviewBand:
    """Choose the review band of a calibrated model.

    Args:
        train: The answers on the training split. Only label and group_id are used.
        val: The answers on the validation split after fine-tuning, without corruptions.
        calibration: The temperature and the threshold.
        config: The largest share of missed cracks, and the confidence.
    """
    counted = cracks_that_count(train["label"].to_numpy(), train["group_id"].to_numpy())
    return choose_band(cracked_photos(val, calibration, counted), calibration.threshold, config)


def cracked_photos(table: pd.DataFrame, calibration: Calibration, counted: int) -> CrackedPhotos:
    """Return the photos of a split that have cracks, with the calibrated P(crack) of their cracked tiles."""
    p_crack = calibration.p_crack(table["logit_0"].to_numpy(), table["logit_1"].to_numpy())
    return CrackedPhotos.of(table["label"].to_numpy(), p_crack, table["group_id"].to_numpy(), counted)


@dataclass(frozen=True)
class TriageCurve:
    """How many tiles need review, and how many cracks are missed, for many lower ends of the band.

    All arrays are float64 (points,).

    Attributes:
        low: The lower ends, calibrated P(crack) in rising order, from 0 to the operating threshold.
        review: Share of the tiles that need review.
        missed: Share of the cracks that are below the lower end.
        at_most: Upper bound of the true share of missed cracks, with the given confidence.
    """

    low: np.ndarray
    review: np.ndarray
    missed: np.ndarray
    at_most: np.ndarray


def triage_curve(
    p_crack: np.ndarray, photos: CrackedPhotos, threshold: float, confidence: float, points: int = 60
) -> TriageCurve:
    """Measure how many tiles need review and how many cracks are missed, at many lower ends of the band.

    The lower ends are spread evenly over the tiles below the threshold.

    Args:
        p_crack: float (n,), calibrated, of all tiles of the split.
        photos: The cracked tiles of the split.
        threshold: The operating threshold, as a calibrated P(crack).
        confidence: The confidence of `at_most`.
        points: Largest number of lower ends.
    """
    ranked = np.sort(p_crack)
    below = ranked[ranked < threshold]
    picked = np.unique(np.linspace(0, len(below), points).astype(int))
    low = np.append(0.0, np.append(below, threshold)[picked])

    tiles = np.searchsorted(photos.p_crack, low)
    passed = np.searchsorted(ranked, low)
    return TriageCurve(
        low=low,
        review=(len(below) - passed) / max(len(ranked), 1),
        missed=tiles / max(len(photos.p_crack), 1),
        at_most=np.array([_not_excluded(photos, int(count), confidence) for count in tiles]),
    )


def _not_excluded(photos: CrackedPhotos, missed_tiles: int, confidence: float) -> float:
    """Return an upper bound of the true share of missed cracks.

    The bound is the smallest number b for which the evidence shows that the true share is at most b, with the given
    confidence. If the evidence is too weak for every b below 1, the bound is 1.
    """
    log_needed = -math.log(1 - confidence)

    def surplus(missed: float) -> float:
        evidence = photos.evidence(missed_tiles, missed)
        return math.log(evidence) - log_needed if evidence > 0 else -math.inf

    if surplus(LARGEST_LEVEL) < 0:
        return 1.0
    low, high = SMALLEST_LEVEL, LARGEST_LEVEL
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if surplus(middle) >= 0 else (middle, high)
    return high
