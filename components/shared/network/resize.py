"""Resize images. Every image that a network classifies is resized by this module."""

from dataclasses import dataclass

import cv2
import numpy as np

from components.shared.config import Interpolation

# The data loader already decodes in parallel processes. OpenCV's own threads would compete with them.
cv2.setNumThreads(0)

AREA_AVERAGING_ABOVE = 1.5
OPENCV_NAMES = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


@dataclass(frozen=True)
class Resize:
    """Scales images to a square.

    An image that shrinks strongly is averaged over areas. All other images are interpolated. Bilinear interpolation
    takes a fifth of the time of averaging. If an image shrinks only a little (256 to 224 px), it still uses every
    pixel.

    Attributes:
        size: Height and width of the result, pixels.
        interpolation: How images that do not shrink strongly are interpolated.
    """

    size: int
    interpolation: Interpolation = "bilinear"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return an image (H, W, C) uint8 as (size, size, C) uint8. If it has this size, return the same array."""
        height, width = image.shape[:2]
        if (height, width) == (self.size, self.size):
            return image

        shrinks_strongly = max(height, width) > AREA_AVERAGING_ABOVE * self.size
        interpolation = cv2.INTER_AREA if shrinks_strongly else OPENCV_NAMES[self.interpolation]
        return cv2.resize(image, (self.size, self.size), interpolation=interpolation)
