"""Score how unlike a model's training images an image is, so that an answer for a strange image can be recognised.

Two distances are measured, because each misses what the other sees: one between the network's embeddings, and one
between the image features, which do not depend on the network. Each is divided by the distance that only 1 % of known
images exceed; the larger of the two is the score. So a score above 1 is rare for images like the training images.

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

NEIGHBOURS = 10
QUANTILE = 0.99
SMALLEST_VARIANCE = 1e-6  # relative; a feature that does not vary would make every other image strange


def embedding_limit(reference: np.ndarray, held_out: np.ndarray) -> float:
    """Return the distance between embeddings that 1 % of the held-out images exceed.

    Args:
        reference: float (n, d), embeddings of training images.
        held_out: float (m, d), embeddings of images of the same kind that the network was not trained on. Training
            images would not do: a network brings their embeddings closer together than those of new images.
    """
    return float(np.quantile(_distance_to_neighbours(reference, held_out), QUANTILE))


def write_limit(limit: float, path: str | Path) -> None:
    """Write the limit of the distance between embeddings."""
    Path(path).write_text(json.dumps({"embedding_limit": limit}) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Novelty:
    """The scores of images for one model.

    Attributes:
        profile: Profile of the model's training sample.
        limit: From `embedding_limit`.
    """

    profile: Profile
    limit: float

    @classmethod
    def read(cls, profile: Profile, path: str | Path) -> "Novelty":
        """Read the file of `write_limit`. Raises InputError if it is none."""
        try:
            limit = float(json.loads(Path(path).read_text(encoding="utf-8"))["embedding_limit"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} is not a limit of novelty ({error}); run the pipeline again") from error
        return cls(profile, limit)

    def scores(self, features: pd.DataFrame, embeddings: np.ndarray) -> np.ndarray:
        """Return the score of each image, float64 (n,), from 0. Above 1, the image is unlike the training images.

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
    """Return the mean distance to the nearest NEIGHBOURS of the reference, between embeddings of length 1."""
    similarity = _unit(images) @ _unit(reference).T
    count = min(NEIGHBOURS, len(reference))
    nearest = np.sort(similarity, axis=1)[:, -count:]
    return np.sqrt(np.maximum(2 - 2 * nearest, 0)).mean(axis=1) + np.finfo(np.float32).eps


def _spread_distance(reference: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the distance from the mean of the reference in units of its spread in that direction (Mahalanobis)."""
    deviations = reference - reference.mean(axis=0)
    covariance = deviations.T @ deviations / len(reference)
    covariance += np.diag(SMALLEST_VARIANCE * (1 + covariance.diagonal()))
    whole = images - reference.mean(axis=0)
    squared = np.einsum("ij,ij->i", whole, np.linalg.solve(covariance, whole.T).T)
    return np.sqrt(np.maximum(squared, 0))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
