"""Our own, faster versions of two transforms of Albumentations. They need fewer passes over the pixels.

A parameter file names them in the same way as the transforms of Albumentations.
"""

import math
from typing import Annotated, Any

import cv2
import numpy as np
from pydantic import AfterValidator

from components.train.quiet_albumentations import (
    BaseTransformInitSchema,
    ColorJitter,
    ImageOnlyTransform,
    check_range_bounds,
    nondecreasing,
)

# RGB to YIQ, the colour space of NTSC: brightness and two axes of colour.
_RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)


class FastColorJitter(ColorJitter):
    """A faster ColorJitter with the same arguments. It changes the colour x of a pixel to the colour y:

    y = b (c M x + (1 - c) m)

    Here b, c and s are the factors of brightness, contrast and saturation, and m is the image's mean brightness. M
    scales the two colour axes of YIQ by s and rotates them by the hue, which is a fraction of the colour circle.
    ColorJitter changes brightness, contrast, saturation and hue one after the other in a random order, and it rotates
    the hue in HSV. So the results of ColorJitter and FastColorJitter differ a little.
    """

    def apply(
        self, img: np.ndarray, brightness: float, contrast: float, saturation: float, hue: float, **params: Any
    ) -> np.ndarray:
        """Return the image (H, W, 3) uint8 RGB with its colours changed."""
        angle = 2 * math.pi * hue
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        change_in_yiq = np.eye(3)
        change_in_yiq[1:, 1:] = saturation * rotation

        mean_brightness = _RGB_TO_YIQ[0] @ cv2.mean(img)[:3]
        matrix = brightness * contrast * _YIQ_TO_RGB @ change_in_yiq @ _RGB_TO_YIQ
        offset = brightness * (1 - contrast) * mean_brightness
        return cv2.transform(img, np.hstack([matrix, np.full((3, 1), offset)]))


class FastGaussNoise(ImageOnlyTransform):
    """Add Gaussian noise, rounded to whole grey levels. OpenCV makes integer noise faster than float noise.

    Args:
        std_range: Smallest and largest standard deviation of the noise, as fractions of 255.
        p: Probability that a tile gets noise.
    """

    class InitSchema(BaseTransformInitSchema):
        """The schema that Albumentations uses to check the arguments."""

        std_range: Annotated[
            tuple[float, float], AfterValidator(check_range_bounds(0, 1)), AfterValidator(nondecreasing)
        ]

    def __init__(self, std_range: tuple[float, float] = (0.0, 0.03), p: float = 0.5):
        super().__init__(p=p)
        self.std_range = std_range

    def get_params(self) -> dict[str, Any]:
        """Choose the standard deviation of the noise (in grey levels) and the seed of the noise, both at random."""
        return {"deviation": 255 * self.py_random.uniform(*self.std_range), "seed": self.py_random.getrandbits(31)}

    def apply(self, img: np.ndarray, deviation: float, seed: int, **params: Any) -> np.ndarray:
        """Return the image (H, W, 3) uint8 with noise."""
        noise = np.empty(img.shape, np.int16)
        cv2.setRNGSeed(seed)
        # If the array had several channels, `randn` would use the deviation for the first channel only.
        single_channel = noise.reshape(len(img), -1)
        cv2.randn(single_channel, np.array(0.0), np.array(deviation))
        return cv2.add(img, noise, dtype=cv2.CV_8U)
