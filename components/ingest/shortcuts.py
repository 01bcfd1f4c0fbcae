"""Measure how well the label can be predicted without looking for a crack.

The predictors are simple properties of an image, such as its brightness or its photo. If such a predictor is good, a
network may learn to use it instead of the crack. We call this a shortcut.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.shared.results.metrics import compute_metrics

# For these properties, the score of an image is computed from the labels of other images with the same value.
SHARED_VALUES = ("photo", "surface", "source")
# For these properties, the value itself is the score. If smaller values predict a crack, the score is reversed.
MEASUREMENTS = ("brightness", "contrast", "darkest", "file_size")
ALL_SOURCES = "all"
ODD_HEX_DIGITS = list("13579bdf")


def audit_shortcuts(images: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Measure how well simple predictors predict the label.

    Four predictors are measurements: the mean and the standard deviation of the grey levels, their median minus their
    minimum, and the file size. Such a measurement is the score of an image. If smaller values predict a crack, the
    score is reversed.

    Three predictors have the same value for many images: photo, surface and source. For these, we divide the data into
    two halves by content hash. To score an image, we look for images in the other half that have the same value. The
    score is the share of cracks among them. So the label of an image never affects the image's own score.

    Args:
        images: The data set's images: columns sample_id, label, source, surface, photo, and `MEASUREMENTS`.

    Returns:
        Source ("all" is first) -> predictor -> AUROC from 0 to 1. The AUROC 0.5 means that the predictor is useless.
        The AUROC is None if it cannot be measured, because there is only one class, all images have the same value, or
        no two images have the same value.
    """
    table = images[["label", "source", "surface", *MEASUREMENTS]].assign(
        half=images["sample_id"].str[-1].isin(ODD_HEX_DIGITS).astype(int),
        photo=images["source"] + ":" + images["photo"],
    )
    audit = {ALL_SOURCES: _audit(table)}
    sources = sorted(table["source"].unique())
    if len(sources) > 1:
        for source in sources:
            audit[source] = _audit(table[table["source"] == source])
    return audit


def _audit(table: pd.DataFrame) -> dict[str, float | None]:
    labels = table["label"].to_numpy()
    audit: dict[str, float | None] = {}
    for name in SHARED_VALUES:
        value = _auroc(labels, _share_of_cracks(table, name))
        audit[name] = None if value is None else round(value, 4)

    for name in MEASUREMENTS:
        value = _auroc(labels, table[name].to_numpy(np.float64))
        audit[name] = None if value is None else round(max(value, 1 - value), 4)
    return audit


def _share_of_cracks(table: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """Score each image by other images with the same value in column `name`.

    We look for images with this value in the other half of the data. The score is the share of cracks among them. If
    the other half has no image with this value, the score is the share of cracks in the whole other half. If all images
    have the same value, or no two images have the same value, every score is 0.5, which predicts nothing.
    """
    scores = np.full(len(table), 0.5)
    if table[name].nunique() < 2 or not table[name].dropna().duplicated().any():
        return scores

    for half in (0, 1):
        here = (table["half"] == half).to_numpy()
        others = table[~here]
        share_by_value = others.groupby(name)["label"].mean()
        shares = table.loc[here, name].map(share_by_value)
        scores[here] = shares.fillna(others["label"].mean()).to_numpy(np.float64)
    return scores


def _auroc(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> float | None:
    """Return the AUROC. The scores can be any numbers. Return None for a single class, or if all scores are equal."""
    if len(np.unique(labels)) < 2 or np.ptp(scores) == 0:
        return None
    # AUROC depends on the order of the scores only. The shared metrics need scores from 0 to 1, so we use ranks.
    ranks = pd.Series(scores).rank(pct=True).to_numpy()
    return compute_metrics(labels, ranks)["auroc"]
