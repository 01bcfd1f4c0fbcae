"""Compute P(crack) of training tiles with a classifier that was not trained on tiles of the same photo.

A network has seen the labels of its training tiles, so its own answers to them repeat wrong labels. So we train a
logistic regression on the network's embeddings, in folds over photos. This is the usual way to find label errors with
a trained network (Northcutt et al., 2021, section 5). It is cross-validated for the last layer only: the layers before
it were trained with all labels. So it finds fewer label errors than a full cross-validation, which would train every
network five times.
"""

import numpy as np
import pandas as pd

FOLDS = 5
PENALTY = 0.1  # factor of the squared weights; the other part of the loss is the mean log loss


def cross_validated(embeddings: np.ndarray, labels: np.ndarray, photos: pd.Series) -> np.ndarray:
    """Return P(crack) of each tile, from a logistic regression on tiles of other photos.

    Args:
        embeddings: float (tiles, features).
        labels: int (tiles,), 1 for crack.
        photos: The photo of each tile.

    Returns:
        float64 (tiles,) in [0, 1]; NaN if the other photos do not have both classes.
    """
    from sklearn.linear_model import LogisticRegression  # late, because it takes seconds to import
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    p_crack = np.full(len(labels), np.nan)
    folds = min(FOLDS, photos.nunique())
    if folds < 2:
        return p_crack

    for known, asked in GroupKFold(folds).split(embeddings, labels, photos):
        if len(np.unique(labels[known])) == 2:
            # scikit-learn adds the losses of the tiles, and we take their mean.
            strength = 1 / (PENALTY * len(known))
            classifier = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
            classifier.fit(embeddings[known], labels[known])
            p_crack[asked] = classifier.predict_proba(embeddings[asked])[:, 1]
    return p_crack
