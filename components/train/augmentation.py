"""Augment training tiles, in at most three passes over a tile."""

import math

import cv2
import numpy as np

from components.shared.network.tiles import Augmentation
from components.train.config import AugmentConfig

SHARE_ROTATED = 0.8
SHARE_RECOLOURED = 0.8
SHARE_MIRRORED = 0.5  # per axis
SHARE_NOISY = 0.5

# RGB to YIQ, the colour space of NTSC: brightness and two axes of colour.
_RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)


def build_augmentation(config: AugmentConfig) -> Augmentation:
    """Return `augment(image, seed)`. It takes and returns (H, W, 3) uint8 RGB, and depends on its arguments only."""

    def augment(image: np.ndarray, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        image = _mirror_and_rotate(image, config, rng)
        image = _recolour(image, config, rng)
        return _add_noise(image, config.noise, rng)

    return augment


def _mirror_and_rotate(image: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Mirror the image and rotate it about its centre; the corners are filled by reflection."""
    for axis in (0, 1):
        if config.flip and rng.random() < SHARE_MIRRORED:
            image = cv2.flip(image, axis)

    degrees = rng.uniform(-config.rotation, config.rotation)
    if not degrees or rng.random() >= SHARE_ROTATED:
        return image

    height, width = image.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(centre, degrees, 1.0)
    return cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def _recolour(image: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, saturation and hue with one affine map of a pixel's colour.

    The map is y = (1 + b) ((1 + c) M x - c m). Here b, c and s are the changes of brightness, contrast and saturation,
    and m is the image's mean brightness. The matrix M scales the two colour axes by 1 + s and rotates them by the hue.
    """
    strengths = np.array([config.brightness, config.contrast, config.saturation, config.hue])
    brightness, contrast, saturation, hue = rng.uniform(-strengths, strengths)
    if rng.random() >= SHARE_RECOLOURED or not strengths.any():
        return image

    angle = 2 * math.pi * hue
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    change_in_yiq = np.eye(3)
    change_in_yiq[1:, 1:] = (1 + saturation) * rotation

    mean_brightness = _RGB_TO_YIQ[0] @ cv2.mean(image)[:3]
    gain = (1 + brightness) * (1 + contrast)
    offset = -(1 + brightness) * contrast * mean_brightness
    matrix = gain * _YIQ_TO_RGB @ change_in_yiq @ _RGB_TO_YIQ
    return cv2.transform(image, np.hstack([matrix, np.full((3, 1), offset)]))


def _add_noise(image: np.ndarray, largest: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise to half of the images. Its standard deviation is drawn from 0 to `largest`, a share of 255."""
    deviation = 255 * largest * rng.random()
    if not deviation or rng.random() < 1 - SHARE_NOISY:
        return image

    noise = np.empty(image.shape, np.int16)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    # With several channels, `randn` would give the deviation to the first channel only.
    single_channel = noise.reshape(len(image), -1)
    cv2.randn(single_channel, np.array(0.0), np.array(deviation))
    return cv2.add(image, noise, dtype=cv2.CV_8U)
