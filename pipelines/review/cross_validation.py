"""Compute P(crack) of training tiles with a classifier that was not trained on tiles of the same photo.

A network has seen the labels of its training tiles, so its own answers to them repeat wrong labels. So we train a
logistic regression on the network's embeddings, in folds over photos. This is the usual way to find label errors with
a trained network (Northcutt et al., 2021, section 5). It is cross-validated for the last layer only: the layers before
it were trained with all labels. So it finds fewer label errors than a full cross-validation, which would train every
network five times.
"""

import hashlib

import numpy as np
import pandas as pd

FOLDS = 5
PENALTY = 0.1  # of the squared weights, compared with the mean log loss
SMALLEST_DEVIATION = 1e-6
MAX_MARGIN = 30.0


def cross_validated(embeddings: np.ndarray, labels: np.ndarray, photos: pd.Series) -> np.ndarray:
    """Return P(crack) of each tile, from a logistic regression on tiles of other photos.

    Args:
        embeddings: float (tiles, features).
        labels: int (tiles,), 1 for crack.
        photos: The photo of each tile.

    Returns:
        float64 (tiles,) in [0, 1]; NaN if the other photos do not have both classes.
    """
    fold = _folds(photos)
    p_crack = np.full(len(labels), np.nan)
    for number in np.unique(fold):
        inside = fold == number
        if len(np.unique(labels[~inside])) == 2:
            p_crack[inside] = _fit_and_answer(embeddings[~inside], labels[~inside], embeddings[inside])
    return p_crack


def _folds(photos: pd.Series) -> np.ndarray:
    """Return the fold of each tile, int64 (tiles,). All tiles of a photo are in one fold; large photos are first."""
    sizes = photos.value_counts()
    order = sorted(sizes.index, key=lambda photo: (-sizes[photo], hashlib.sha256(photo.encode()).hexdigest()))
    filled = np.zeros(FOLDS, np.int64)
    fold_of = {}
    for photo in order:
        fold_of[photo] = int(filled.argmin())
        filled[fold_of[photo]] += sizes[photo]
    return photos.map(fold_of).to_numpy(np.int64)


def _fit_and_answer(known: np.ndarray, labels: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Fit a logistic regression with a penalty on its weights, and return P(crack) of the unknown tiles."""
    from scipy.optimize import minimize

    mean = known.mean(axis=0)
    deviation = np.maximum(known.std(axis=0), SMALLEST_DEVIATION)
    features = np.column_stack([(known - mean) / deviation, np.ones(len(known))]).astype(np.float64)
    sign = np.where(labels == 1, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (features @ weights)
        own = weights * np.append(np.ones(len(weights) - 1), 0)  # the constant has no penalty
        value = np.logaddexp(0, -margin).mean() + PENALTY * (own @ own) / 2
        slope = -sign * _sigmoid(-margin) / len(sign)
        return float(value), features.T @ slope + PENALTY * own

    weights = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B").x
    return _sigmoid(((unknown - mean) / deviation) @ weights[:-1] + weights[-1])


def _sigmoid(margin: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(margin, -MAX_MARGIN, MAX_MARGIN)))
