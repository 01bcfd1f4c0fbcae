"""Maps that know nothing of the network: an explanation no better than these explains nothing."""

import cv2
import numpy as np


def random_maps(count: int, size: int, grid: tuple[int, int], seed: int) -> np.ndarray:
    """Uniform noise, as coarse and as smooth as the Grad-CAM of the same grid: float32 (count, size, size), 0 to 1."""
    coarse = np.random.default_rng([seed, 3]).random((count, *grid), np.float32)
    return np.stack([cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR) for noise in coarse])


def edge_maps(images: np.ndarray) -> np.ndarray:
    """Sobel gradient magnitude of the slightly blurred grey image, scaled to [0, 1].

    Args:
        images: uint8 (N, H, W, 3).

    Returns:
        float32 (N, H, W).
    """
    return np.stack([_edges(image) for image in images])


def _edges(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(grey, (0, 0), image.shape[0] / 64)
    strength = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    return strength / max(float(strength.max()), 1e-6)
