"""Training augmentation (Albumentations) and the resize that every image goes through. The only importer of both."""

from collections.abc import Callable

import cv2
import numpy as np

from components.shared.config import AugmentConfig

cv2.setNumThreads(0)  # the data loader's workers are the parallelism; OpenCV's own threads would fight them

Augmentation = Callable[[np.ndarray, int], np.ndarray]


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Scale an image (H, W, C) uint8 to (size, size, C): area averaging when shrinking, else bilinear.

    Bilinear sees every pixel too where an image hardly shrinks (256 to 224 px), at a fifth of the cost.
    """
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        return image
    shrinking = max(height, width) > 1.5 * size
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def build_augmentation(config: AugmentConfig) -> Augmentation:
    """Return `augment(image, seed)`: (H, W, 3) uint8 in and out, decided by the seed alone, in any process."""
    import albumentations as A

    steps = []
    if config.flip:
        steps += [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]
    if config.rotation:
        steps.append(A.Rotate(limit=config.rotation, border_mode=cv2.BORDER_REFLECT_101, p=0.8))
    if config.brightness or config.contrast or config.saturation or config.hue:
        jitter = (config.brightness, config.contrast, config.saturation, config.hue)
        steps.append(A.ColorJitter(*jitter, p=0.8))
    pipeline = A.Compose(steps)

    def augment(image: np.ndarray, seed: int) -> np.ndarray:
        pipeline.set_random_seed(seed)
        return _noisy(pipeline(image=image)["image"], config.noise, seed)

    return augment


def _noisy(image: np.ndarray, largest: float, seed: int) -> np.ndarray:
    """Gaussian noise of up to `largest` (fraction) on every other image; Albumentations' takes three times as long."""
    rng = np.random.default_rng(seed)
    deviation = 255 * largest * rng.random()
    if not deviation or rng.random() < 0.5:
        return image
    noise = np.empty(image.shape, np.int16)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    in_one_channel = noise.reshape(len(image), -1)  # of several, the first would get it all
    cv2.randn(in_one_channel, np.array(0.0), np.array(deviation))
    return cv2.add(image, noise, dtype=cv2.CV_8U)
