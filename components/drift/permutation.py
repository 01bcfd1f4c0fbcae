"""Two-sample tests that shuffle groups, not images: tiles of one photo resemble each other.

A test that shuffles tiles takes 10 photos of 240 tiles for 2,400 observations and finds drift everywhere.
"""

import numpy as np


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


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values corrected for their number, float64 (n,), so that the level holds for all of them together.

    Source: Holm 1979.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(p_values)[order]), 1)
    return corrected
