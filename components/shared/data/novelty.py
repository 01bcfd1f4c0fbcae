"""Score how much an image differs from a model's training images. A high score warns that the answer may be wrong.

We measure the distance from the training images twice: with the network's embeddings, and with the image features,
which do not depend on the network. The embeddings find some strange images that the features miss, and the features
find some that the embeddings miss. We divide each distance by a limit that only 1 % of ordinary images exceed. The
score is the larger of the two quotients. So a score above 1 is rare for images that are like the training images.

Source of the distance between embeddings: Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest
Neighbors".
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from components.shared.data.drift_profile import Profile
from components.shared.data.image_features import FEATURES
from components.shared.errors import InputError

STRANGE = 1.0  # an image with a larger score is unlike the training images
# Even if images are like the training images, 3 % of them have a score above STRANGE. The images of one photo resemble
# each other, so many of them can have such a score at once. So we warn only if the share of images with a score above
# STRANGE is larger than this (tests/simulate/simulate_novelty.py).
USUAL_SHARE_OF_STRANGE = 0.25
NEIGHBOURS = 10
QUANTILE = 0.99
# If a feature is constant in training, its variance is 0, and every other image would look strange. So we add this
# number times (1 + variance) to each variance.
SMALLEST_VARIANCE = 1e-6


def embedding_limit(reference: np.ndarray, held_out: np.ndarray) -> float:
    """Return a limit for the distance from the training images. Only 1 % of the held-out images exceed this limit.

    Args:
        reference: float (n, d), embeddings of training images.
        held_out: float (m, d), embeddings of similar images that the network was not trained on. With training images,
            the limit would be too small, because training moves their embeddings closer together.
    """
    return float(np.quantile(_distance_to_neighbours(reference, held_out), QUANTILE))


def write_limit(limit: float, path: str | Path) -> None:
    """Write the result of `embedding_limit` to a JSON file."""
    Path(path).write_text(json.dumps({"embedding_limit": limit}) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Novelty:
    """Computes the scores of images for one model.

    Attributes:
        profile: The drift profile of a sample of the model's training images.
        limit: The model's limit from `embedding_limit`.
    """

    profile: Profile
    limit: float

    @classmethod
    def read(cls, profile: Profile, path: str | Path) -> "Novelty":
        """Read a file that `write_limit` wrote. Raise InputError if the file has no limit."""
        try:
            limit = float(json.loads(Path(path).read_text(encoding="utf-8"))["embedding_limit"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} does not hold a novelty limit ({error}); run the pipeline again") from error
        return cls(profile, limit)

    def scores(self, features: pd.DataFrame, embeddings: np.ndarray) -> np.ndarray:
        """Return the score of each image, float64 (n,), 0 or more.

        An image with a score above 1 is unlike the training images.

        Args:
            features: float (n, FEATURES), from `describe_images`.
            embeddings: float (n, d), the network's embeddings.
        """
        names = list(FEATURES)
        known = self.profile.features[names].to_numpy()
        by_features = _spread_distance(known, features[names].to_numpy())
        feature_limit = np.quantile(_spread_distance(known, known), QUANTILE)

        by_embedding = _distance_to_neighbours(self.profile.embeddings, embeddings)
        return np.maximum(by_features / feature_limit, by_embedding / self.limit)


def _distance_to_neighbours(reference: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return each image's mean distance to the nearest reference images, float64 (m,).

    NEIGHBOURS is the number of reference images in this mean. `reference`, float (n, d), and `images`, float (m, d),
    are embeddings. All embeddings are first scaled to norm 1.
    """
    similarity = _unit(images) @ _unit(reference).T
    count = min(NEIGHBOURS, len(reference))
    nearest = np.sort(similarity, axis=1)[:, -count:]
    return np.sqrt(np.maximum(2 - 2 * nearest, 0)).mean(axis=1) + np.finfo(np.float32).eps


def _spread_distance(reference: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the Mahalanobis distance of each image from the mean of the reference, float64 (m,).

    In each direction, the unit of the distance is the standard deviation of the reference images in this direction.
    `reference` is float (n, features), and `images` is float (m, features).
    """
    deviations = reference - reference.mean(axis=0)
    covariance = deviations.T @ deviations / len(reference)
    covariance += np.diag(SMALLEST_VARIANCE * (1 + covariance.diagonal()))
    whole = images - reference.mean(axis=0)
    squared = np.einsum("ij,ij->i", whole, np.linalg.solve(covariance, whole.T).T)
    return np.sqrt(np.maximum(squared, 0))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
