"""Does drift matter? The error rate of the current images by how unlike the reference they are."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.shared.results.measurements import Measurement
from components.shared.results.metrics import compute_metrics

MIN_PER_BIN = 10  # images; a rate of fewer says nothing


@dataclass(frozen=True)
class Bin:
    """Current images of similar distance from the reference: the range of their distance, how many, share wrong."""

    low: float
    high: float
    images: int
    error: float


def drift_distance(reference: pd.DataFrame, current: pd.DataFrame) -> np.ndarray:
    """How unlike the reference each current image is: float64 (n,), root mean square of its features' z-scores.

    About 1 for an image like the reference's own; features that do not vary there are left out.
    """
    spread = reference.std(ddof=0)
    varying = spread.index[spread > 0]
    z = (current[varying] - reference[varying].mean()) / spread[varying]
    return np.sqrt((z**2).mean(axis=1).to_numpy())


def error_by_distance(distance: np.ndarray, wrong: np.ndarray) -> list[Bin]:
    """Error rate by decile of the distance, or by fewer bins where there are fewer than 100 images.

    Args:
        distance: float (n,).
        wrong: bool (n,), the network's answer at P(crack) >= 0.5 is not the label.
    """
    order = np.argsort(distance, kind="stable")
    bins = np.array_split(order, max(1, min(10, len(order) // MIN_PER_BIN)))
    return [
        Bin(float(distance[part[0]]), float(distance[part[-1]]), len(part), float(wrong[part].mean())) for part in bins
    ]


def error_measurement(distance: np.ndarray, wrong: np.ndarray) -> Measurement:
    """`drift.error_auroc`: how well distance tells wrong answers from right ones; 0.5: not at all."""
    name, n = "drift.error_auroc", len(wrong)
    if wrong.all() or not wrong.any():
        note = f"all {n} answers are {'wrong' if wrong.all() else 'right'}"
        return Measurement(name, float("nan"), split="robustness", n=n, note=note)
    ranks = pd.Series(distance).rank(pct=True).to_numpy()
    value = compute_metrics(wrong.astype(int), ranks)["auroc"]
    note = "chance that a wrong answer lies further from the training images than a right one"
    return Measurement(name, value, split="robustness", n=n, note=note)
