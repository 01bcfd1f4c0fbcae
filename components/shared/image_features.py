"""What an image looks like, in nine numbers that need no network: the features of a drift profile."""

from collections.abc import Iterable

import cv2
import numpy as np
import pandas as pd

VERSION = 1  # of the definitions below: profiles of different versions are not comparable
FEATURES = (
    "brightness",
    "contrast",
    "sharpness",
    "saturation",
    "warmth",
    "entropy",
    "edge_density",
    "noise",
    "fine_detail",
)
EDGE = 0.1  # gradient per pixel, on the scale 0 to 1, from which a pixel counts as an edge
# Immerkaer's kernel: blind to constant, linear and quadratic courses of brightness
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


def describe_images(images: Iterable[np.ndarray]) -> pd.DataFrame:
    """One row of FEATURES, float64, per image uint8 (H, W, 3) RGB, in order."""
    return pd.DataFrame([describe_image(image) for image in images], columns=list(FEATURES), dtype=float)


def describe_image(image: np.ndarray) -> dict[str, float]:
    """Describe an image uint8 (H, W, 3) RGB.

    Returns:
        On the scale 0 (black) to 1 (white) unless said otherwise:
        brightness: mean grey value.
        contrast: standard deviation of the grey values.
        sharpness: logarithm of the variance of the Laplacian, natural, no unit.
        saturation: mean difference of the largest and smallest colour channel.
        warmth: mean of red minus blue, -1 to 1.
        entropy: of the grey values' histogram of 256 bins, bits, 0 to 8.
        edge_density: share of pixels whose Sobel gradient exceeds EDGE.
        noise: standard deviation of white noise (Immerkaer 1996).
        fine_detail: standard deviation of what a blur of one pixel takes away.
    """
    colour = image.astype(np.float32) / 255
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    counts = np.bincount(np.rint(255 * grey).astype(np.uint8).ravel(), minlength=256)
    shares = counts[counts > 0] / grey.size
    gradient = cv2.magnitude(
        cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    )
    residue = cv2.filter2D(grey, cv2.CV_32F, _NOISE_KERNEL)[1:-1, 1:-1]
    values = (
        grey.mean(),
        grey.std(),
        np.log(cv2.Laplacian(grey, cv2.CV_32F).var() + 1e-8),
        (colour.max(axis=2) - colour.min(axis=2)).mean(),
        (colour[..., 0] - colour[..., 2]).mean(),
        -(shares * np.log2(shares)).sum(),
        (gradient > EDGE).mean(),
        np.sqrt(np.pi / 2) * np.abs(residue).mean() / 6,
        (grey - cv2.GaussianBlur(grey, (0, 0), 1)).std(),
    )
    return dict(zip(FEATURES, map(float, values), strict=True))
