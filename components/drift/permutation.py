"""Two-sample tests that shuffle groups, not images: tiles of one photo resemble each other.

A test that shuffles tiles takes 10 photos of 240 tiles for 2,400 observations and finds drift everywhere.
"""

import numpy as np

SHRINKAGE = 0.3  # of the covariance of a few dozen groups' means


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


def mmd(embeddings: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Squared maximum mean discrepancy for each deal, float64 (deals,), Gaussian kernel of median distance.

    Args:
        embeddings: float (n, d).
        sides: bool (deals, n), from `permuted_sides`.

    Source: Gretton et al. 2012, eq. 5 (the biased estimate: its bias is the same for the deals it is compared with).
    """
    points = embeddings.astype(np.float64)
    points = (points - points.mean(axis=0)) / (points.std(axis=0) + 1e-12)
    squares = (points**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0)
    scale = np.median(distances[np.triu_indices(len(points), 1)])
    kernel = np.exp(-distances / max(float(scale), 1e-12))
    current = sides.sum(axis=1, keepdims=True)
    weights = np.where(sides, 1 / current, -1 / (len(points) - current))
    return np.einsum("ij,ij->i", weights @ kernel, weights)


def p_value(statistics: np.ndarray) -> float:
    """Share of deals at least as extreme as the first, which is counted too, so that it is never 0."""
    return float((statistics >= statistics[0] * (1 - 1e-12)).mean())


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
    rounded = statistics * (1 - 1e-12)  # as in p_value: equal up to rounding is equal
    return 1 - np.searchsorted(np.sort(statistics), rounded, side="left") / len(statistics)


def mahalanobis(values: np.ndarray, groups: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Mahalanobis distance between the two sides' means over groups, for each deal: float64 (deals,).

    It finds what no feature shows by itself: a change along which the groups hardly differ, though each of its features
    varies. The covariance, of the groups' means about their side's, is shrunk by `SHRINKAGE` towards independence.

    Args:
        values: float (n, features).
        groups: (n,), group of each image.
        sides: bool (deals, n), from `permuted_sides`.

    Source: Hotelling 1931; shrinkage after Ledoit & Wolf 2004, of a fixed share.
    """
    names, first, codes = np.unique(np.asarray(groups, str), return_index=True, return_inverse=True)
    counts = np.bincount(codes)
    means = np.stack([np.bincount(codes, column) / counts for column in np.asarray(values, float).T], axis=1)
    means = (means - means.mean(axis=0)) / (means.std(axis=0) + 1e-12)
    current = sides[:, first]
    count = current.sum(axis=1, keepdims=True)
    change = (current / count - ~current / (len(names) - count)) @ means
    between = (count * (len(names) - count) / len(names))[:, :, None] * change[:, :, None] * change[:, None]
    within = (means.T @ means - between) / (len(names) - 2)
    within = (1 - SHRINKAGE) * within + SHRINKAGE * np.eye(means.shape[1])
    return np.sqrt(np.einsum("ij,ij->i", change, np.linalg.solve(within, change[:, :, None])[:, :, 0]))
