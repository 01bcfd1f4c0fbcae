"""Corrupt images for the robustness suite, in ten families and five severities.

All ten families occur in inspections of structures. Severity 1 is barely visible. At severity 5, a crack is hard to see
for a person too. Lengths are fractions of the image's smaller side, so a severity means the same for tiles of 128
and 256 px. The seed of the random generator depends on the image, the family and the severity. So a corrupted view is
the same on every machine and in every run.

To add a family: write a function here, add it to `FAMILIES`, and add its name to `Family` in config.py.

Source: the families and the five severities follow Hendrycks & Dietterich 2019 (ImageNet-C). We chose the strengths
by looking at concrete tiles.
"""

import zlib
from collections.abc import Callable

import cv2
import numpy as np

# The arguments are an image (H, W, 3) uint8 RGB, a level (severity minus 1, 0 to 4) and a random generator. The result
# is an image of the same shape.
Corruption = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]

SHADOW_EDGE_WIDTH = 0.02  # fraction of the image's side
STAIN_SIZE = 0.08  # fraction of the image's smaller side
STAIN_EDGE_WIDTH = 0.1  # standard deviations of the random field
# The share of the stain's darkness that each colour channel gets. Rust and moss darken red least.
STAIN_RGB = np.array([0.75, 0.9, 1.0])


def corrupt(image: np.ndarray, family: str, severity: int, sample_id: str) -> np.ndarray:
    """Return a corrupted view of an image.

    Args:
        image: uint8 (H, W, 3), RGB. It is not changed.
        family: A key of `FAMILIES`.
        severity: 1 to 5.
        sample_id: Identifies the image; 64 hexadecimal characters.

    Returns:
        uint8 (H, W, 3), the same for the same arguments.
    """
    rng = np.random.default_rng([int(sample_id[:16], 16), zlib.crc32(family.encode()), severity])
    level = severity - 1
    return np.ascontiguousarray(FAMILIES[family](image, level, rng))


def _motion_blur(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Average the pixels along a line in a random direction."""
    length = _pixels(image, (0.03, 0.05, 0.08, 0.11, 0.15)[level])
    angle = rng.uniform(0, np.pi)

    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    half_line = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    start = np.round(length - half_line).astype(int).tolist()
    end = np.round(length + half_line).astype(int).tolist()
    cv2.line(kernel, start, end, 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def _defocus(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Average the pixels over a disc with a soft edge."""
    radius = min(image.shape[:2]) * (0.008, 0.016, 0.024, 0.036, 0.05)[level]
    reach = int(np.ceil(radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1).astype(np.float32)
    return cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)


def _gaussian_noise(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    deviation = (8, 14, 22, 32, 45)[level]
    return _to_uint8(image + rng.normal(0, deviation, image.shape))


def _low_light(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Simulate fewer photons: the image is darker, and its shot noise is relatively stronger."""
    gain = (0.7, 0.5, 0.35, 0.22, 0.12)[level]
    photons_of_white = (900, 500, 250, 120, 60)[level]
    photons = rng.poisson(image / 255.0 * photons_of_white)
    return _to_uint8(photons / photons_of_white * 255.0 * gain)


def _over_exposure(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    gain = (1.2, 1.4, 1.7, 2.1, 2.6)[level]
    return _to_uint8(image * gain)


def _jpeg(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    quality = (40, 25, 15, 10, 6)[level]
    bgr = image[..., ::-1]
    encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB))


def _oblique_view(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Move a random side of the image farther away, and fill the empty area by reflection."""
    inset = (0.08, 0.14, 0.2, 0.27, 0.35)[level]
    quarter_turns = int(rng.integers(4))

    # Rotate the image so that the far side is at the top, warp, and rotate back.
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    far_corners = corners + np.array([[inset * width, 0], [-inset * width, 0], [0, 0], [0, 0]], np.float32)
    warp = cv2.getPerspectiveTransform(corners, far_corners)
    rotated = np.ascontiguousarray(np.rot90(image, quarter_turns))
    size = (rotated.shape[1], rotated.shape[0])
    warped = cv2.warpPerspective(rotated, warp, size, borderMode=cv2.BORDER_REFLECT_101)
    return np.rot90(warped, -quarter_turns)


def _shadow(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Darken one side of a random line near the centre, with a soft edge."""
    darkness = (0.25, 0.4, 0.55, 0.68, 0.8)[level]
    angle = rng.uniform(0, 2 * np.pi)
    offset = rng.uniform(-0.2, 0.2)

    height, width = image.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width]
    distance = np.cos(angle) * (columns / width - 0.5) + np.sin(angle) * (rows / height - 0.5) - offset
    shade = 1 / (1 + np.exp(-distance / SHADOW_EDGE_WIDTH))
    return _to_uint8(image * (1 - darkness * shade[..., None]))


def _stain(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Draw dark, translucent blotches of moisture, rust and dirt. The surface is still visible through them."""
    share = (0.05, 0.1, 0.16, 0.24, 0.34)[level]
    darkness = (0.35, 0.45, 0.5, 0.55, 0.6)[level]

    height, width = image.shape[:2]
    field = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), STAIN_SIZE * min(height, width))
    edge = np.quantile(field, 1 - share)
    blotch = 1 / (1 + np.exp(-(field - edge) / (STAIN_EDGE_WIDTH * field.std())))
    return _to_uint8(image * (1 - darkness * blotch[..., None] * STAIN_RGB))


def _down_sampling(image: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
    """Scale down and up again, which simulates a camera that is too far away."""
    scale = (0.7, 0.5, 0.36, 0.26, 0.18)[level]
    height, width = image.shape[:2]
    small_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, small_size, None, 0, 0, cv2.INTER_AREA)
    return cv2.resize(small, (width, height), None, 0, 0, cv2.INTER_LINEAR)


def _pixels(image: np.ndarray, share: float) -> int:
    """Convert a fraction of the smaller side to a length in pixels, at least 1."""
    return max(1, round(share * min(image.shape[:2])))


def _to_uint8(values: np.ndarray) -> np.ndarray:
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
