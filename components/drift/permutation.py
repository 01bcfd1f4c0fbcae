"""Test whether two samples differ, by shuffling groups between the two sides at random.

We shuffle groups and not images, because tiles of one photo resemble each other. A test that shuffles single tiles
treats 10 photos with 240 tiles each as 2,400 independent observations. Such a test finds drift in almost every data
set.

A "shuffle" assigns every group to one of the two sides at random. We compute a statistic for the real assignment and
for every shuffle. The p-value is the share of shuffles whose statistic is at least as extreme as the real one.
"""

import numpy as np
from scipy.spatial.distance import cdist

CORRELATION_SHRINKAGE = 0.5
ROUNDING_TOLERANCE = 1e-12


def permuted_sides(groups: np.ndarray, current: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """Shuffle groups of images between the two sides at random. In every shuffle, each side keeps its number of groups.

    Args:
        groups: (n,) group id of each image. No group may be on both sides.
        current: bool (n,), true for the images of the current side.
        permutations: Number of random shuffles.
        seed: Seed of the shuffles.

    Returns:
        bool (1 + permutations, n): true if the image is on the current side. The first row is `current` itself.
    """
    _, first_image, group_of_image = np.unique(np.asarray(groups, str), return_index=True, return_inverse=True)
    side_of_group = np.tile(current[first_image], (1 + permutations, 1))

    shuffles = side_of_group[1:]
    np.random.default_rng(seed).permuted(shuffles, axis=1, out=shuffles)

    return side_of_group[:, group_of_image]


def wasserstein(values: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return the Wasserstein-1 distance of a feature between the two sides, for each shuffle of the groups.

    Args:
        values: float (n,), one feature.
        sides: bool (shuffles, n), from `permuted_sides`.

    Returns:
        float64 (shuffles,), in the unit of `values`.
    """
    order = np.argsort(values, kind="stable")
    gaps = np.diff(values[order])

    # The distance is the area between the two cumulative distributions.
    current_so_far = sides[:, order].cumsum(axis=1)
    seen_so_far = np.arange(1, len(values) + 1)
    current_total = current_so_far[:, -1:]
    reference_total = len(values) - current_total
    difference = current_so_far / current_total - (seen_so_far - current_so_far) / reference_total

    return np.abs(difference[:, :-1]) @ gaps


def step_down(statistics: np.ndarray) -> np.ndarray:
    """Return p-values that are corrected for the number of tests.

    For example, without drift, at most 5 % of the comparisons have a corrected p-value of 0.05 or less. The correction
    uses the smallest p-value of all tests in each random shuffle. So related tests, such as those of brightness and
    contrast, get a smaller correction than independent tests.

    Args:
        statistics: float (tests, 1 + shuffles), the statistic of each test. The first column holds the statistics of
            the real sides. Each other column holds the statistics of one shuffle, which must be the same for all
            tests. A larger statistic is more extreme.

    Returns:
        float64 (tests,), corrected p-values in (0, 1].

    Source: Westfall & Young 1993, algorithm 2.8 (free step-down, smallest p).
    """
    tests, shuffles = statistics.shape
    p_values = np.array([_p_of_every_shuffle(test) for test in statistics])
    order = np.argsort(p_values[:, 0])

    # We start with the test that has the largest p-value. For each shuffle, `smallest` is the smallest p-value of all
    # tests so far.
    corrected = np.empty(tests)
    smallest = np.ones(shuffles)
    for test in order[::-1]:
        smallest = np.minimum(smallest, p_values[test])
        corrected[test] = (smallest <= p_values[test, 0]).mean()

    corrected[order] = np.maximum.accumulate(corrected[order])
    return corrected


def _p_of_every_shuffle(statistics: np.ndarray) -> np.ndarray:
    """Return the p-value of each shuffle.

    The p-value of a shuffle s is the share of the shuffles that are at least as extreme as s. This share includes s.
    """
    rounded = statistics * (1 - ROUNDING_TOLERANCE)  # Values that differ only by rounding count as equal.
    return 1 - np.searchsorted(np.sort(statistics), rounded, side="left") / len(statistics)


def energy(values: np.ndarray, groups: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return the distance between the two sides in all columns together, for each shuffle of the groups.

    The distance is the energy distance of the groups' means. It compares the mean distance between groups of different
    sides with the mean distance between groups of the same side. So it finds a change of the mean, and also a change of
    the spread.

    Before we compute the distance, we partly remove the correlations between columns. In some directions (combinations
    of columns), the groups hardly differ. Drift, such as another material, may be a change in one of these directions.
    If we kept all correlations, this change would get too little weight. `CORRELATION_SHRINKAGE` is the part of the
    correlations that stays: 0 removes all, and 1 removes none. We keep a part for two reasons. First, a change of the
    light changes nearly all columns together, and this change must still count. Second, there may be more columns than
    groups.

    Args:
        values: float (n, columns).
        groups: (n,) group id of each image.
        sides: bool (shuffles, n), from `permuted_sides`. Each side must have at least two groups.

    Returns:
        float64 (shuffles,), in standard deviations of the groups' means. If the two sides differ only in their mean,
        the result is about the difference of the means. The result is 0 if groups of different sides are not farther
        apart than groups of the same side.

    Source: Székely & Rizzo 2013, eq. 6.1, but we leave out the pairs of a group with itself. The shrinkage follows
        Ledoit & Wolf 2004, but we use a fixed share.
    """
    names, first_image, group_of_image = np.unique(np.asarray(groups, str), return_index=True, return_inverse=True)
    count = len(names)
    points = _whitened(_group_means(values, group_of_image, count))
    apart = cdist(points, points)

    current = sides[:, first_image].astype(float)
    current_count = current.sum(axis=1)
    reference_count = count - current_count

    # The next four values are sums of distances between groups. Every pair of groups on the same side is counted twice.
    current_to_all = current @ apart.sum(axis=1)
    current_to_current = ((current @ apart) * current).sum(axis=1)
    across = current_to_all - current_to_current
    reference_to_reference = apart.sum() - current_to_all - across

    mean_across = 2 * across / (current_count * reference_count)
    mean_within_current = current_to_current / (current_count * (current_count - 1))
    mean_within_reference = reference_to_reference / (reference_count * (reference_count - 1))
    distance = mean_across - (mean_within_current + mean_within_reference)

    usual_distance = apart.sum() / (count * (count - 1))
    return np.sqrt(np.maximum(distance, 0) * usual_distance)


def _group_means(values: np.ndarray, group_of_image: np.ndarray, count: int) -> np.ndarray:
    """Return the means of the groups, float64 (groups, columns). Each column is scaled to mean 0 and variance 1."""
    means = np.zeros((count, values.shape[1]))
    np.add.at(means, group_of_image, values)
    means /= np.bincount(group_of_image)[:, None]

    return (means - means.mean(axis=0)) / (means.std(axis=0) + 1e-12)


def _whitened(means: np.ndarray) -> np.ndarray:
    """Partly remove the correlations between the columns of the groups' means.

    Returns:
        float64 (groups, min(groups, columns)), one point for each group.
    """
    left, singular, _ = np.linalg.svd(means, full_matrices=False)
    variance = singular**2 / len(means)
    shrunk = (1 - CORRELATION_SHRINKAGE) * variance + CORRELATION_SHRINKAGE
    return left * singular / np.sqrt(shrunk)
