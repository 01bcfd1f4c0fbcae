"""The training augmentation: at most three passes over an image."""

import math

import cv2
import numpy as np

from components.shared.network.tiles import Augmentation
from components.train.config import AugmentConfig

CHANGED = 0.8  # share of images that are turned, and share of those whose light and colour are changed
# from RGB to brightness and two axes of colour (the YIQ of NTSC), and back
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)


def build_augmentation(config: AugmentConfig) -> Augmentation:
    """Return `augment(image, seed)`: (H, W, 3) uint8 RGB in and out, decided by the seed alone, in any process."""

    def augment(image: np.ndarray, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return _noisy(_relit(_moved(image, config, rng), config, rng), config.noise, rng)

    return augment


def _moved(image: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Mirrored, and turned about its middle, the corners filled by reflection."""
    for axis in (0, 1):
        if config.flip and rng.random() < 0.5:
            image = cv2.flip(image, axis)
    degrees = rng.uniform(-config.rotation, config.rotation)
    if not degrees or rng.random() >= CHANGED:
        return image
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def _relit(image: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast about the image's mean, saturation and hue: together one linear map of a pixel's colour."""
    strengths = np.array([config.brightness, config.contrast, config.saturation, config.hue])
    brightness, contrast, saturation, hue = rng.uniform(-strengths, strengths)
    if rng.random() >= CHANGED or not strengths.any():
        return image
    angle, colourful = 2 * math.pi * hue, 1 + saturation
    colour = np.eye(3)
    colour[1:, 1:] = colourful * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    mean = _YIQ[0] @ cv2.mean(image)[:3]
    gain = (1 + brightness) * (1 + contrast)
    shift = np.full((3, 1), -(1 + brightness) * contrast * mean)
    return cv2.transform(image, np.hstack([gain * _RGB @ colour @ _YIQ, shift]))


def _noisy(image: np.ndarray, largest: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of up to `largest` (fraction) on every other image."""
    deviation = 255 * largest * rng.random()
    if not deviation or rng.random() < 0.5:
        return image
    noise = np.empty(image.shape, np.int16)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    in_one_channel = noise.reshape(len(image), -1)  # of several, the first would get it all
    cv2.randn(in_one_channel, np.array(0.0), np.array(deviation))
    return cv2.add(image, noise, dtype=cv2.CV_8U)
