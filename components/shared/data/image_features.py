"""Compute the features of a drift profile: nine numbers that describe an image without a network.

To add a feature, add its name to FEATURES, add its value and its meaning to `describe_image`, and raise VERSION.

The light and the exposure multiply all grey values of a photo by a factor. On a logarithmic scale, this factor is a
constant that is added. So a difference between two images has the same size in dark and in bright photos. Roughness
and saturation, which describe the material, are measured relative to the brightness. So different exposures do not hide
a change of material.
"""

from collections.abc import Iterable

import cv2
import numpy as np
import pandas as pd

# Raise this number whenever a definition below changes. Profiles with different versions cannot be compared.
VERSION = 2
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
# A pixel counts as an edge if its gradient per pixel is above this value, with grey values from 0 to 1.
EDGE_GRADIENT = 0.1
# This number is added to a value before its logarithm is taken. It is a quarter of a grey level.
LOG_OFFSET = 1e-3
VARIANCE_LOG_OFFSET = 1e-8
# Immerkaer's kernel does not respond to brightness that is constant, linear or quadratic along an axis.
NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
NOISE_KERNEL_NORM = 6


def describe_images(images: Iterable[np.ndarray]) -> pd.DataFrame:
    """Return the FEATURES of images as float64, one row for each image, in order. Images are uint8 (H, W, 3) RGB."""
    return pd.DataFrame([describe_image(image) for image in images], columns=list(FEATURES), dtype=float)


def describe_image(image: np.ndarray) -> dict[str, float]:
    """Describe an image by its FEATURES.

    Args:
        image: uint8 (H, W, 3) RGB.

    Returns:
        The value of each feature, in the order of FEATURES. Grey values and channels are from 0 (black) to 1 (white).
        Logarithms are natural, and LOG_OFFSET is added to a value before its logarithm:
        brightness: logarithm of the mean grey value.
        contrast: logarithm of the grey values' standard deviation.
        sharpness: logarithm of the variance of the Laplacian (with VARIANCE_LOG_OFFSET instead of LOG_OFFSET).
        saturation: logarithm of the mean difference of the largest and smallest colour channel, minus brightness.
        warmth: logarithm of mean red, minus the logarithm of mean blue.
        entropy: entropy of the grey values' histogram of 256 bins, bits, 0 to 8.
        edge_density: square root of the share of pixels whose Sobel gradient is above EDGE_GRADIENT.
        noise: logarithm of the standard deviation of white noise.
        roughness: logarithm of the mean Sobel gradient, minus brightness.

    Source: Immerkaer 1996, "Fast noise variance estimation", for the noise.
    """
    colour = image.astype(np.float32) / 255
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    light = grey.mean()
    # NumPy's max over the last axis takes fifteen times as long, longer than all other features together.
    red, green, blue = cv2.split(colour)
    colourfulness = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)

    slope_x = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8)
    slope_y = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    # We do not use cv2.magnitude, because the last bit of its result can differ between two calls. The same image must
    # always give the same profile.
    gradient = np.sqrt(slope_x**2 + slope_y**2)
    edges = gradient > EDGE_GRADIENT

    residue = cv2.filter2D(grey, cv2.CV_32F, NOISE_KERNEL)[1:-1, 1:-1]
    noise = np.sqrt(np.pi / 2) * np.abs(residue).mean() / NOISE_KERNEL_NORM

    values = {
        "brightness": _log(light),
        "contrast": _log(grey.std()),
        "sharpness": np.log(cv2.Laplacian(grey, cv2.CV_32F).var() + VARIANCE_LOG_OFFSET),
        "saturation": _log(colourfulness.mean()) - _log(light),
        "warmth": _log(colour[..., 0].mean()) - _log(colour[..., 2].mean()),
        "entropy": _entropy(grey),
        "edge_density": np.sqrt(edges.mean()),
        "noise": _log(noise),
        "roughness": _log(gradient.mean()) - _log(light),
    }
    return {name: float(values[name]) for name in FEATURES}


def _entropy(grey: np.ndarray) -> float:
    """Return the entropy of grey values, in bits. `grey` is float (H, W), 0 to 1. The histogram has 256 bins."""
    levels = np.rint(255 * grey).astype(np.uint8)
    counts = np.bincount(levels.ravel(), minlength=256)
    shares = counts[counts > 0] / grey.size
    return -(shares * np.log2(shares)).sum()


def _log(value: float) -> float:
    return float(np.log(value + LOG_OFFSET))
