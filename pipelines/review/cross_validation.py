"""Compute P(crack) of training tiles with a classifier that was not trained on tiles of the same photo.

A network learns the labels of its training tiles, so its own answers about these tiles repeat wrong labels. So we train
a logistic regression on the network's embeddings, and cross-validate the regression over photos. This is the usual way
to find label errors with a trained network (Northcutt et al., 2021, section 5). Only the last layer is cross-validated.
The layers before it were trained with all labels. So this method finds fewer label errors than a full cross-validation,
which would train every network five times.
"""

import numpy as np
import pandas as pd

FOLDS = 5
PENALTY = 0.1  # factor of the squared weights; the other part of the loss is the mean log loss


def cross_validated(embeddings: np.ndarray, labels: np.ndarray, photos: pd.Series) -> np.ndarray:
    """Return P(crack) of each tile from a logistic regression that was trained on tiles of other photos.

    Args:
        embeddings: float (tiles, features).
        labels: int (tiles,), 1 for crack.
        photos: Name of the photo of each tile, (tiles,).

    Returns:
        float64 (tiles,), 0 to 1; NaN if the tiles of the other photos do not have both classes.
    """
    from sklearn.linear_model import LogisticRegression  # late, because it takes seconds to import
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    p_crack = np.full(len(labels), np.nan)
    folds = min(FOLDS, photos.nunique())
    if folds < 2:
        return p_crack

    for fitted, held_out in GroupKFold(folds).split(embeddings, labels, photos):
        if len(np.unique(labels[fitted])) == 2:
            # scikit-learn uses the sum of the losses of all tiles. PENALTY is for the mean loss, so we divide by the
            # number of tiles.
            strength = 1 / (PENALTY * len(fitted))
            classifier = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
            classifier.fit(embeddings[fitted], labels[fitted])
            p_crack[held_out] = classifier.predict_proba(embeddings[held_out])[:, 1]
    return p_crack
