"""What an image looks like, in nine numbers that need no network: the features of a drift profile.

Light multiplies, and most of what differs from photo to photo does so too. On a logarithmic scale such differences add
up and are alike for dark and bright photos; and what concrete looks like is told relative to the light on it, so that a
change of material is not lost among the photos' different exposures.
"""

from collections.abc import Iterable

import cv2
import numpy as np
import pandas as pd

VERSION = 2  # of the definitions below: profiles of different versions are not comparable
FEATURES = (
    "brightness",
    "contrast",
    "sharpness",
    "saturation",
    "warmth",
    "entropy",
    "edge_density",
    "noise",
    "roughness",
)
EDGE = 0.1  # gradient per pixel, on the scale 0 to 1, from which a pixel counts as an edge
LEAST = 1e-3  # added before a logarithm: a quarter of a grey level
# Immerkaer's kernel: blind to constant, linear and quadratic courses of brightness
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def describe_images(images: Iterable[np.ndarray]) -> pd.DataFrame:
    """One row of FEATURES, float64, per image uint8 (H, W, 3) RGB, in order."""
    return pd.DataFrame([describe_image(image) for image in images], columns=list(FEATURES), dtype=float)


def describe_image(image: np.ndarray) -> dict[str, float]:
    """Describe an image uint8 (H, W, 3) RGB.

    Returns:
        Of grey values and channels on the scale 0 (black) to 1 (white); logarithms are natural, `LEAST` added before:
        brightness: logarithm of the mean grey value.
        contrast: logarithm of the grey values' standard deviation.
        sharpness: logarithm of the variance of the Laplacian (1e-8 added before).
        saturation: logarithm of the mean difference of the largest and smallest colour channel, over brightness.
        warmth: logarithm of mean red over mean blue.
        entropy: of the grey values' histogram of 256 bins, bits, 0 to 8.
        edge_density: square root of the share of pixels whose Sobel gradient exceeds EDGE.
        noise: logarithm of the standard deviation of white noise (Immerkaer 1996).
        roughness: logarithm of the mean Sobel gradient, over brightness.
    """
    colour = image.astype(np.float32) / 255
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    light = grey.mean()
    counts = np.bincount(np.rint(255 * grey).astype(np.uint8).ravel(), minlength=256)
    shares = counts[counts > 0] / grey.size
    gradient = cv2.magnitude(
        cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    )
    residue = cv2.filter2D(grey, cv2.CV_32F, _NOISE_KERNEL)[1:-1, 1:-1]
    values = (
        _log(light),
        _log(grey.std()),
        np.log(cv2.Laplacian(grey, cv2.CV_32F).var() + 1e-8),
        _log((colour.max(axis=2) - colour.min(axis=2)).mean()) - _log(light),
        _log(colour[..., 0].mean()) - _log(colour[..., 2].mean()),
        -(shares * np.log2(shares)).sum(),
        np.sqrt((gradient > EDGE).mean()),
        _log(np.sqrt(np.pi / 2) * np.abs(residue).mean() / 6),
        _log(gradient.mean()) - _log(light),
    )
    return dict(zip(FEATURES, map(float, values), strict=True))


def _log(value: float) -> float:
    return float(np.log(value + LEAST))
