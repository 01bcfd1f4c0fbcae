"""Draw concrete-like tiles with and without cracks. Use them for a first run and for tests, never for a real model.

Five tiles form a photo and share concrete, light and camera. A photo has few tiles, so that a small data set has enough
photos for intervals over photos. One to four of the five tiles are cracked, so the photo is a weak predictor of the
label. All tiles, cracked or not, have the same kinds of marks (`synthetic_surface.py`). So a dark pixel or a line is
not enough to find a crack. A crack differs from these marks by its jagged, branching, tapering shape.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from components.ingest.sources.synthetic_surface import SURFACES, Photo, add_marks, draw_photo, draw_surface, stroke

TILES_PER_PHOTO = 5
SMALLEST_CRACK_SHARE_OF_TILE = 0.006  # 100 of the 128 x 128 pixels


@dataclass(frozen=True)
class Tile:
    """One drawn tile.

    Attributes:
        name: File name without its ending, unique in the data set.
        label: 0 no_crack, 1 crack.
        group: The photo that the tile belongs to.
        surface: deck, pavement or wall.
        image: uint8 (size, size, 3), RGB.
        mask: bool (size, size), true on the crack; None without a crack.
    """

    name: str
    label: int
    group: str
    surface: str
    image: np.ndarray
    mask: np.ndarray | None


def draw_dataset(images: int, seed: int, size: int = 128) -> Iterator[Tile]:
    """Draw tiles one by one. A tile depends on the seed, its index and the size, but not on the number of tiles.

    Args:
        images: Number of tiles.
        seed: Any integer from 0.
        size: Edge of a tile in pixels.
    """
    for first in range(0, images, TILES_PER_PHOTO):
        number = first // TILES_PER_PHOTO
        rng = np.random.default_rng([seed, number])
        photo = draw_photo(rng, SURFACES[number % len(SURFACES)])
        cracked = rng.permutation(TILES_PER_PHOTO) < rng.integers(1, TILES_PER_PHOTO)
        group = f"{photo.surface}-{number:04d}"

        for index in range(min(TILES_PER_PHOTO, images - first)):
            tile_rng = np.random.default_rng([seed, number, index])
            image, mask = _draw_tile(tile_rng, photo, size, bool(cracked[index]))
            yield Tile(f"{group}-{index}", int(cracked[index]), group, photo.surface, image, mask)


def _draw_tile(
    rng: np.random.Generator, photo: Photo, size: int, cracked: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    tint = np.ones((size, size, 3), np.float32)
    brightness = add_marks(rng, photo, draw_surface(rng, photo, size), tint)
    mask = None
    if cracked:
        coverage = _crack_coverage(rng, size)
        while coverage.mean() < SMALLEST_CRACK_SHARE_OF_TILE:  # the crack can leave the tile too early
            coverage = _crack_coverage(rng, size)
        brightness = brightness * _crack_shade(rng, photo, coverage)
        mask = coverage > 0.25

    image = brightness[..., None] * tint * np.asarray(photo.colour, np.float32)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), photo.blur * size / 128), np.float32)
    grey_noise = rng.normal(0, photo.noise, (size, size, 1))
    colour_noise = rng.normal(0, photo.noise / 3, (size, size, 3))
    image += grey_noise + colour_noise
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), mask


def _crack_coverage(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a crack: a trunk and up to three branches. Return the covered share of each pixel, float32 (size, size)."""
    widest = np.exp(rng.uniform(np.log(1.3), np.log(3.4))) * size / 128
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(angle), np.sin(angle)])
    start = size / 2 + rng.uniform(-0.25, 0.25, 2) * size - 0.5 * size * direction
    length = rng.uniform(0.8, 1.6) * size
    trunk, widths = _walk(rng, start, angle, length, widest, size)
    coverage = stroke(trunk, widths, size)

    for _ in range(rng.choice(4, p=[0.3, 0.35, 0.2, 0.15])):
        joint = rng.integers(len(trunk) // 5, 4 * len(trunk) // 5)
        dx, dy = trunk[joint + 1] - trunk[joint]
        trunk_angle = np.arctan2(dy, dx)
        turn = rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)
        length = rng.uniform(0.2, 0.6) * size
        branch, branch_widths = _walk(rng, trunk[joint], trunk_angle + turn, length, 0.7 * widths[joint], size)
        coverage = np.maximum(coverage, stroke(branch, branch_widths, size))
    return coverage


def _walk(
    rng: np.random.Generator, start: np.ndarray, angle: float, length: float, widest: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a jagged line that keeps its general direction.

    Args:
        rng: The tile's generator.
        start: x and y of the first point, pixels.
        angle: General direction, radians.
        length: Length of the line, pixels.
        widest: Width at the start, pixels.
        size: Edge of the tile in pixels.

    Returns:
        Points, float (n, 2), and the widths of the segments between them, float (n - 1,), all in pixels.
    """
    step = 2.2 * size / 128
    count = max(6, int(length / step))
    drift = np.cumsum(rng.normal(0, 0.09, count))
    heading = angle + drift + rng.normal(0, 0.65, count)
    strides = step * rng.uniform(0.5, 1.5, count)
    directions = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    points = np.vstack([start, start + np.cumsum(strides[:, None] * directions, axis=0)])

    swell = np.convolve(rng.normal(0, 1, count + 8), np.ones(9) / 3, mode="valid")
    taper = np.minimum(1, 3 * (1 - np.arange(count) / count) + 0.25)
    return points, np.clip(widest * taper * np.exp(0.3 * swell), 0.7 * size / 128, None)


def _crack_shade(rng: np.random.Generator, photo: Photo, coverage: np.ndarray) -> np.ndarray:
    """Return the factor by which a crack changes the brightness, float32 (size, size).

    A crack is dark inside and has a lit edge towards the light. Some cracks have white deposits around them.
    """
    depth = photo.depth * rng.uniform(0.75, 1.25)
    shift = np.rint(1.4 * np.array([np.sin(photo.light), np.cos(photo.light)]) * coverage.shape[0] / 128).astype(int)
    edge = np.clip(np.roll(coverage, tuple(shift), (0, 1)) - coverage, 0, 1)
    shade = (1 - np.minimum(depth, 0.9) * coverage) * (1 + rng.uniform(0, 0.2) * edge)

    if rng.random() < 0.12:
        halo = cv2.GaussianBlur(coverage, (0, 0), 2.5 * coverage.shape[0] / 128)
        shade = shade + rng.uniform(0.2, 0.6) * np.clip(halo - coverage, 0, 1)
    return shade
