"""Draw concrete-like tiles with and without cracks. Use them for a first run and for tests, never for a real model.

Five tiles form a photo. They show the same concrete, in the same light, with the same camera. Confidence intervals need
many photos. So a photo has only five tiles, and even a small data set has enough photos. One to four of the five tiles
are cracked, so the photo is a weak predictor of the label. All tiles, cracked or not, have the same kinds of marks
(`synthetic_marks.py`). So a dark pixel or a line is not enough to find a crack. A crack differs from these marks by its
jagged, branching, tapering shape.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from components.ingest.sources.synthetic_cracks import CRACK_COVERAGE, CRACK_WIDTHS, branch, crack_shade, walk
from components.ingest.sources.synthetic_marks import choose_marks, draw_mark
from components.ingest.sources.synthetic_surface import (
    SURFACES,
    Canvas,
    Scene,
    draw_scene,
    draw_surface,
    expose,
    stroke,
)

TILES_PER_PHOTO = 5
SMALLEST_CRACK_SHARE_OF_TILE = 0.006  # about 100 of 128 x 128 pixels
MAX_MARKS_IN_A_TILE = 5


@dataclass(frozen=True)
class Tile:
    """One synthetic tile.

    Attributes:
        name: File name without its ending, unique in the data set.
        label: 0 no_crack, 1 crack.
        group: The photo that the tile belongs to.
        surface: deck, pavement or wall.
        image: uint8 (size, size, 3), RGB.
        mask: bool (size, size), true on the crack. None if the tile has no crack.
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
        size: Side of a tile in pixels.
    """
    for first in range(0, images, TILES_PER_PHOTO):
        number = first // TILES_PER_PHOTO
        rng = np.random.default_rng([seed, number])
        scene = draw_scene(rng, SURFACES[number % len(SURFACES)])
        cracked = rng.permutation(TILES_PER_PHOTO) < rng.integers(1, TILES_PER_PHOTO)
        group = f"{scene.surface}-{number:04d}"

        for index in range(min(TILES_PER_PHOTO, images - first)):
            tile_rng = np.random.default_rng([seed, number, index])
            image, mask = _draw_tile(tile_rng, scene, size, bool(cracked[index]))
            yield Tile(f"{group}-{index}", int(cracked[index]), group, scene.surface, image, mask)


def _draw_tile(
    rng: np.random.Generator, scene: Scene, size: int, cracked: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    canvas = Canvas(size, size, size)
    tint = np.ones((size, size, 3), np.float32)
    brightness = draw_surface(rng, scene, canvas)
    number = min(rng.poisson(scene.marks), MAX_MARKS_IN_A_TILE)
    for name in choose_marks(rng, scene.surface, number):
        brightness = brightness * draw_mark(name, rng, scene, canvas, tint)

    mask = None
    if cracked:
        coverage = _crack_coverage(rng, canvas)
        while coverage.mean() < SMALLEST_CRACK_SHARE_OF_TILE:  # too little of the crack is inside the tile
            coverage = _crack_coverage(rng, canvas)
        brightness = brightness * crack_shade(rng, scene, canvas, coverage)
        mask = coverage > CRACK_COVERAGE
    return expose(rng, scene, canvas, brightness, tint), mask


def _crack_coverage(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Draw a crack: a trunk and up to three branches. Return the covered share of each pixel, float32 (size, size)."""
    size = canvas.tile
    widest = np.exp(rng.uniform(*np.log(CRACK_WIDTHS))) * canvas.unit
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(angle), np.sin(angle)])
    start = size / 2 + rng.uniform(-0.25, 0.25, 2) * size - 0.5 * size * direction
    length = rng.uniform(0.8, 1.6) * size
    trunk, widths = walk(rng, start, angle, length, widest, canvas)
    coverage = stroke(trunk, widths, canvas)

    for _ in range(rng.choice(4, p=[0.3, 0.35, 0.2, 0.15])):
        coverage = np.maximum(coverage, branch(rng, trunk, widths, (0.2 * size, 0.6 * size), canvas))
    return coverage
