"""Two-sample tests that shuffle groups, not images: tiles of one photo resemble each other.

A test that shuffles tiles takes 10 photos of 240 tiles for 2,400 observations and finds drift everywhere.
"""

import numpy as np
from scipy.spatial.distance import cdist

SHRINKAGE = 0.5  # of the correlations of a few dozen groups' means; see `energy`


def permuted_sides(groups: np.ndarray, current: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """Deal the groups to the two sides at random, as many groups to each as there are.

    Args:
        groups: (n,) group of each image; no group lies on both sides.
        current: bool (n,), true for the images of the current side.
        permutations: Number of random deals.
        seed: Of the dealing.

    Returns:
        bool (1 + permutations, n): the side of each image; the first row is `current` itself.
    """
    _, first, codes = np.unique(np.asarray(groups, str), return_index=True, return_inverse=True)
    sides = np.tile(current[first], (1 + permutations, 1))
    np.random.default_rng(seed).permuted(sides[1:], axis=1, out=sides[1:])
    return sides[:, codes]


def wasserstein(values: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Wasserstein-1 distance between the two sides for each deal: float64 (deals,), in the unit of `values` (n,)."""
    order = np.argsort(values, kind="stable")
    gaps = np.diff(values[order])
    current = sides[:, order].cumsum(axis=1)
    seen = np.arange(1, len(values) + 1)
    count = current[:, -1:]
    difference = current / count - (seen - current) / (len(values) - count)
    return np.abs(difference[:, :-1]) @ gaps


def step_down(statistics: np.ndarray) -> np.ndarray:
    """p-values corrected for the number of tests, float64 (tests,), so that the level holds for all of them together.

    Tests that say much the same, as brightness and contrast do, are corrected for less than their number: what counts
    is how small the smallest p of all gets by chance.

    Args:
        statistics: float (tests, deals), every test under the same deals, the first the real one; large is extreme.

    Source: Westfall & Young 1993, algorithm 2.8 (free step-down, smallest p).
    """
    tests, deals = statistics.shape
    each = np.array([_p_of_every_deal(test) for test in statistics])
    order = np.argsort(each[:, 0])
    corrected, smallest = np.empty(tests), np.ones(deals)
    for test in order[::-1]:  # from the largest p down: the smallest p among those not yet found significant
        smallest = np.minimum(smallest, each[test])
        corrected[test] = (smallest <= each[test, 0]).mean()
    corrected[order] = np.maximum.accumulate(corrected[order])
    return corrected


def _p_of_every_deal(statistics: np.ndarray) -> np.ndarray:
    """Share of deals at least as extreme, each deal counted too, so that it is never 0."""
    rounded = statistics * (1 - 1e-12)  # equal up to rounding is equal
    return 1 - np.searchsorted(np.sort(statistics), rounded, side="left") / len(statistics)


def energy(values: np.ndarray, groups: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """How far apart the two sides' groups lie in all columns at once, for each deal: float64 (deals,).

    The energy distance (a maximum mean discrepancy whose kernel is the distance) of the groups' means, whose columns'
    correlations are partly removed first: a change along which the groups hardly differ, as of material, then counts
    for more, and a wider spread is found like another level. They are removed after the correlations were shrunk by
    `SHRINKAGE` towards none, so that there may be more columns than groups, and so that a change along which the groups
    differ anyway, as of light, which moves nearly all columns together, still counts as often as it shows.

    Args:
        values: float (n, columns).
        groups: (n,), group of each image.
        sides: bool (deals, n), from `permuted_sides`; two groups or more on each side.

    Returns:
        In standard deviations of all groups together: about the distance of the sides' centres, where only those
        differ; 0 where the sides lie no farther apart than groups of one side do.

    Source: Székely & Rizzo 2013, eq. 6.1, without the pairs of a group and itself; shrinkage after Ledoit & Wolf 2004,
        of a fixed share.
    """
    names, first, codes = np.unique(np.asarray(groups, str), return_index=True, return_inverse=True)
    means = np.zeros((len(names), values.shape[1]))
    np.add.at(means, codes, values)
    means /= np.bincount(codes)[:, None]
    means = (means - means.mean(axis=0)) / (means.std(axis=0) + 1e-12)
    left, singular, _ = np.linalg.svd(means, full_matrices=False)
    points = left * singular / np.sqrt((1 - SHRINKAGE) * singular**2 / len(names) + SHRINKAGE)
    apart = cdist(points, points)
    current = sides[:, first].astype(float)
    here = current.sum(axis=1)
    there = len(names) - here
    to_all, to_current = current @ apart.sum(axis=1), ((current @ apart) * current).sum(axis=1)
    across = to_all - to_current
    within = to_current / (here * (here - 1)) + (apart.sum() - to_all - across) / (there * (there - 1))
    distance = 2 * across / (here * there) - within
    usual = apart.sum() / (len(names) * (len(names) - 1))
    return np.sqrt(np.maximum(distance, 0) * usual)
