"""Images made worse on purpose, by family and severity, for the robustness suite.

Ten families that a structure's inspection meets, severities 1 (barely seen) to 5 (hard for a person too). Lengths are
fractions of the image's smaller side, so that tiles of 128 and 256 px suffer alike. Everything random in a view is
drawn from a generator seeded by the image, the family and the severity: the same view on every machine, in every run.

Source: families and the idea of five severities after Hendrycks & Dietterich 2019 (ImageNet-C); strengths are our own,
chosen by eye on concrete tiles so that a crack of severity 5 can still just be found.
"""

import zlib
from collections.abc import Callable

import cv2
import numpy as np

Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def corrupt(image: np.ndarray, family: str, severity: int, sample_id: str) -> np.ndarray:
    """Return a worse view of an image.

    Args:
        image: uint8 (H, W, 3), RGB.
        family: A key of `FAMILIES`.
        severity: 1 to 5.
        sample_id: Identifies the image; 64 hex characters.

    Returns:
        uint8 (H, W, 3), the same for the same arguments.
    """
    rng = np.random.default_rng([int(sample_id[:16], 16), zlib.crc32(family.encode()), severity])
    return np.ascontiguousarray(FAMILIES[family](image, severity - 1, rng))


def _motion_blur(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    length = _pixels(image, (0.03, 0.05, 0.08, 0.11, 0.15)[level])
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((2 * length + 1,) * 2, np.float32)
    reach = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    start, end = (np.round(length + sign * reach).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def _defocus(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    radius = min(image.shape[:2]) * (0.008, 0.016, 0.024, 0.036, 0.05)[level]
    reach = int(np.ceil(radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1).astype(np.float32)  # a disc, its edge softened
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def _gaussian_noise(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return _bytes(image + rng.normal(0, (8, 14, 22, 32, 45)[level], image.shape))


def _low_light(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Fewer photons: darker, and shot noise whose share grows as the light goes."""
    gain, photons = ((0.7, 900), (0.5, 500), (0.35, 250), (0.22, 120), (0.12, 60))[level]
    return _bytes(rng.poisson(image / 255.0 * photons) / photons * 255.0 * gain)


def _over_exposure(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    return _bytes(image * (1.2, 1.4, 1.7, 2.1, 2.6)[level])


def _jpeg(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    written = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, (40, 25, 15, 10, 6)[level]])[1]
    return np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR_RGB))


def _oblique_view(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """One side farther away, the rest filled by reflection."""
    height, width = image.shape[:2]
    inset = (0.08, 0.14, 0.2, 0.27, 0.35)[level]
    square = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    far = square + np.array([[inset * width, 0], [-inset * width, 0], [0, 0], [0, 0]], np.float32)
    warp = cv2.getPerspectiveTransform(square, far)
    turns = int(rng.integers(4))
    turned = np.ascontiguousarray(np.rot90(image, turns))
    size = (turned.shape[1], turned.shape[0])
    return np.rot90(cv2.warpPerspective(turned, warp, size, borderMode=cv2.BORDER_REFLECT_101), -turns)


def _shadow(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """A soft-edged shadow over the half of the image on one side of a random line through its middle region."""
    height, width = image.shape[:2]
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.2)
    rows, columns = np.mgrid[0:height, 0:width]
    side = np.cos(angle) * (columns / width - 0.5) + np.sin(angle) * (rows / height - 0.5) - offset
    shade = 1 / (1 + np.exp(-side / 0.02))
    return _bytes(image * (1 - (0.25, 0.4, 0.55, 0.68, 0.8)[level] * shade[..., None]))


def _stain(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Dark, translucent blotches: moisture, rust and dirt hide part of the surface, not all of it."""
    height, width = image.shape[:2]
    share, darkness = ((0.05, 0.35), (0.1, 0.45), (0.16, 0.5), (0.24, 0.55), (0.34, 0.6))[level]
    field = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), 0.08 * min(height, width))
    edge = np.quantile(field, 1 - share)
    blotch = 1 / (1 + np.exp(-(field - edge) / (0.1 * field.std())))
    tint = np.array([0.75, 0.9, 1.0])  # darkens red least, as rust and moss do
    return _bytes(image * (1 - darkness * blotch[..., None] * tint))


def _down_sampling(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    scale = (0.7, 0.5, 0.36, 0.26, 0.18)[level]
    small = cv2.resize(image, (max(1, round(width * scale)), max(1, round(height * scale))), None, 0, 0, cv2.INTER_AREA)
    return cv2.resize(small, (width, height), None, 0, 0, cv2.INTER_LINEAR)


def _pixels(image: np.ndarray, share: float) -> int:
    return max(1, round(share * min(image.shape[:2])))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


FAMILIES: dict[str, Corruption] = {
    "motion_blur": _motion_blur,
    "defocus": _defocus,
    "gaussian_noise": _gaussian_noise,
    "low_light": _low_light,
    "over_exposure": _over_exposure,
    "jpeg": _jpeg,
    "oblique_view": _oblique_view,
    "shadow": _shadow,
    "stain": _stain,
    "down_sampling": _down_sampling,
}
