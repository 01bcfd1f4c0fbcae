"""Compute baseline maps without the network. An explanation must be better than these maps."""

import cv2
import numpy as np

# Standard deviation of the blur before the edge filter, as a share of the image's height.
EDGE_BLUR = 1 / 64


def random_maps(count: int, size: int, grid: tuple[int, int], seed: int) -> np.ndarray:
    """Return random maps. Each map is uniform noise on a coarse grid, enlarged in the same way as a Grad-CAM map.

    Args:
        count: Number of maps.
        size: Height and width of a map, pixels.
        grid: Rows and columns of the coarse grid.
        seed: Seed of the noise.

    Returns:
        float32 (count, size, size) in [0, 1].
    """
    coarse = np.random.default_rng([seed, 3]).random((count, *grid), np.float32)
    maps = np.empty((count, size, size), np.float32)
    for index, noise in enumerate(coarse):
        maps[index] = cv2.resize(noise, (size, size), interpolation=cv2.INTER_LINEAR)
    return maps


def edge_maps(images: np.ndarray) -> np.ndarray:
    """Return edge maps: the magnitude of the Sobel gradient of the blurred grey image. Each map is scaled to [0, 1].

    Args:
        images: uint8 (N, H, W, 3).

    Returns:
        float32 (N, H, W).
    """
    return np.stack([_edges(image) for image in images])


def _edges(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(grey, (0, 0), EDGE_BLUR * image.shape[0])

    slope_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0)
    slope_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    strength = np.sqrt(slope_x**2 + slope_y**2)  # cv2.magnitude's last bit can differ between two calls
    return strength / max(float(strength.max()), 1e-6)
