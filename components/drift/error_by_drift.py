"""Measure whether images far from the reference have a higher error rate. If so, drift lowers the accuracy."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.shared.results.measurements import Measurement
from components.shared.results.metrics import compute_metrics

MAX_BINS = 10
# An error rate that is measured on fewer images than this is not reliable.
MIN_IMAGES_PER_BIN = 10


@dataclass(frozen=True)
class Bin:
    """One of the bins into which `error_by_distance` divides the current images.

    Attributes:
        low: Smallest distance in the bin.
        high: Largest distance in the bin.
        images: Number of images.
        error: Share of wrong answers, 0 to 1.
    """

    low: float
    high: float
    images: int
    error: float


def drift_distance(reference: pd.DataFrame, current: pd.DataFrame) -> np.ndarray:
    """Return how far each current image is from the reference.

    A z-score is a feature's distance from the mean of the reference, in standard deviations. The distance of an image
    is the root mean square of the z-scores of its features.

    Args:
        reference: float (n, features), the features of the reference images.
        current: float (m, features), with the same columns: the features of the current images.

    Returns:
        float64 (m,). A typical reference image has a distance of about 1. A feature that does not vary in the reference
        is ignored.
    """
    spread = reference.std(ddof=0)
    varying = spread.index[spread > 0]
    z_scores = (current[varying] - reference[varying].mean()) / spread[varying]
    return np.sqrt((z_scores**2).mean(axis=1).to_numpy())


def error_by_distance(distance: np.ndarray, wrong: np.ndarray) -> list[Bin]:
    """Sort the images by distance, divide them into ten bins of equal size, and return the error rate in each bin.

    With fewer than 100 images, there are fewer than ten bins, because a bin has at least MIN_IMAGES_PER_BIN images.

    Args:
        distance: float (n,), from `drift_distance`.
        wrong: bool (n,), true if the network's answer is wrong. The answer is a crack if P(crack) >= 0.5.
    """
    order = np.argsort(distance, kind="stable")
    count = min(MAX_BINS, len(order) // MIN_IMAGES_PER_BIN)

    bins = []
    for part in np.array_split(order, max(1, count)):
        low, high = float(distance[part[0]]), float(distance[part[-1]])
        bins.append(Bin(low, high, images=len(part), error=float(wrong[part].mean())))
    return bins


def error_measurement(distance: np.ndarray, wrong: np.ndarray) -> Measurement:
    """Return `drift.error_auroc`, which says whether wrong answers occur at larger distances than right answers.

    We pair each image that has a wrong answer with each image that has a right answer. The value is the share of these
    pairs in which the image with the wrong answer is farther from the reference. The value 0.5 means that the distance
    says nothing about errors. The value is NaN if all answers are right or all answers are wrong.

    Args:
        distance: float (n,), from `drift_distance`.
        wrong: bool (n,), true if the network's answer is wrong. The answer is a crack if P(crack) >= 0.5.
    """
    name = "drift.error_auroc"
    images = len(wrong)

    if wrong.all() or not wrong.any():
        answers = "wrong" if wrong.all() else "right"
        note = f"all {images} answers are {answers}"
        return Measurement(name, float("nan"), split="robustness", n=images, note=note)

    ranks = pd.Series(distance).rank(pct=True).to_numpy()
    value = compute_metrics(wrong.astype(int), ranks)["auroc"]
    note = (
        "probability that an image with a wrong answer is farther from the training images than an image "
        "with a right answer"
    )
    return Measurement(name, value, split="robustness", n=images, note=note)
