"""Draw whole photos of concrete with cracks, and the mask of the cracks.

A photo is one continuous surface. Its texture, marks and cracks have the same kinds and sizes as in the synthetic tiles
(`synthetic.py`). So a network that was trained on synthetic tiles recognises cracks in tiles that are cut from a
synthetic photo. A photo has up to four long cracks, some of them hairline cracks. Joints, formwork lines and shadows
cross the whole photo.
"""

from dataclasses import dataclass

import numpy as np

from components.ingest.sources.synthetic_cracks import CRACK_COVERAGE, CRACK_WIDTHS, branch, crack_shade, walk
from components.ingest.sources.synthetic_marks import LONG_MARKS, choose_marks, draw_mark
from components.ingest.sources.synthetic_surface import (
    SURFACES,
    Canvas,
    Scene,
    draw_scene,
    draw_surface,
    expose,
    stroke,
)

MAX_CRACKS = 4
HAIRLINE_SHARE = 0.35
HAIRLINE_WIDTHS = (0.7, 1.3)  # range of a hairline crack's largest width, in pixels of a tile of 128 x 128
CRACK_MEMORY = 0.97
TILES_BETWEEN_BRANCHES = 3
LONG_MARKS_PER_PHOTO = 1.5
SHORT_MARKS_PER_TILE = 0.25
SHORT_MARK_TILES = 3  # a short mark is drawn in a window of 3 x 3 tiles
ROWS_PER_BAND = 256
_STREAM = 2**16  # photos and tiles with the same seed get different random numbers


@dataclass(frozen=True)
class Photo:
    """One synthetic photo.

    Attributes:
        name: File name without its ending, such as photo_001.
        image: uint8 (height, width, 3), RGB.
        mask: bool (height, width), true on the cracks.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray


def draw_photo(number: int, seed: int, width: int = 3000, height: int = 2000, tile: int = 128) -> Photo:
    """Draw one photo. It depends only on the arguments. The memory that it needs is about 60 bytes for each pixel.

    Args:
        number: Number of the photo, from 1. It decides the surface: deck, pavement or wall.
        seed: Any integer from 0.
        width: Pixels.
        height: Pixels.
        tile: Side of a tile in pixels. Textures, marks and cracks are as large as in a synthetic tile of this size.
    """
    rng = np.random.default_rng([seed, number, _STREAM])
    scene = draw_scene(rng, SURFACES[number % len(SURFACES)])
    canvas = Canvas(height, width, tile)
    tint = np.ones((height, width, 3), np.float32)

    brightness = draw_surface(rng, scene, canvas)
    _draw_long_marks(rng, scene, canvas, brightness, tint)
    _draw_short_marks(rng, scene, canvas, brightness, tint)

    mask = np.zeros((height, width), bool)
    for _ in range(rng.integers(0, MAX_CRACKS + 1)):
        coverage = _crack_coverage(rng, canvas)
        brightness *= crack_shade(rng, scene, canvas, coverage)
        mask |= coverage > CRACK_COVERAGE
    return Photo(f"photo_{number:03d}", _exposed(rng, scene, canvas, brightness, tint), mask)


def _draw_long_marks(
    rng: np.random.Generator, scene: Scene, canvas: Canvas, brightness: np.ndarray, tint: np.ndarray
) -> None:
    """Draw joints, formwork lines and shadows across the whole photo. The brightness is changed in place."""
    wanted = rng.poisson(LONG_MARKS_PER_PHOTO)
    long = [name for name in choose_marks(rng, scene.surface, 8 * wanted) if name in LONG_MARKS]
    for name in long[:wanted]:
        brightness *= draw_mark(name, rng, scene, canvas, tint)


def _draw_short_marks(
    rng: np.random.Generator, scene: Scene, canvas: Canvas, brightness: np.ndarray, tint: np.ndarray
) -> None:
    """Draw scratches, roots, stains, water lines and chips. Brightness and tint are changed in place."""
    side = int(SHORT_MARK_TILES * canvas.tile)
    window = Canvas(side, side, canvas.tile)
    fade = _fade(side)

    number = rng.poisson(SHORT_MARKS_PER_TILE * canvas.tiles)
    short = [name for name in choose_marks(rng, scene.surface, number) if name not in LONG_MARKS]
    for name in short:
        left, top = rng.integers(-side // 2, canvas.extent - side // 2)
        own_tint = np.ones((side, side, 3), np.float32)
        factor = draw_mark(name, rng, scene, window, own_tint)

        inside_window = np.s_[max(0, -top) : canvas.height - top, max(0, -left) : canvas.width - left]
        inside_photo = np.s_[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)]
        brightness[inside_photo] *= (1 + (factor - 1) * fade)[inside_window]
        tint[inside_photo] *= (1 + (own_tint - 1) * fade[..., None])[inside_window]


def _fade(side: int) -> np.ndarray:
    """Return a window that is 1 inside and falls to 0 at its edges, float32 (side, side)."""
    position = np.linspace(0, 1, side, dtype=np.float32)
    ramp = np.clip(6 * np.minimum(position, 1 - position), 0, 1)
    smooth = ramp**2 * (3 - 2 * ramp)
    return smooth[:, None] * smooth


def _crack_coverage(rng: np.random.Generator, canvas: Canvas) -> np.ndarray:
    """Draw a crack that starts anywhere, grows in two opposite directions, and branches.

    Returns:
        float32 (height, width): the share of each pixel that the crack covers, 0 to 1.
    """
    widths_of_kind = HAIRLINE_WIDTHS if rng.random() < HAIRLINE_SHARE else CRACK_WIDTHS
    widest = np.exp(rng.uniform(*np.log(widths_of_kind))) * canvas.unit
    start = rng.uniform(0.1, 0.9, 2) * canvas.extent
    angle = rng.uniform(0, 2 * np.pi)
    coverage = np.zeros((canvas.height, canvas.width), np.float32)

    for direction in (angle, angle + np.pi):
        length = rng.uniform(0.1, 0.5) * canvas.extent.max()
        trunk, widths = walk(rng, start, direction, length, widest, canvas, CRACK_MEMORY)
        np.maximum(coverage, stroke(trunk, widths, canvas), out=coverage)

        for _ in range(rng.poisson(length / (TILES_BETWEEN_BRANCHES * canvas.tile))):
            lengths = (0.3 * canvas.tile, 1.5 * canvas.tile)
            np.maximum(coverage, branch(rng, trunk, widths, lengths, canvas), out=coverage)
    return coverage


def _exposed(
    rng: np.random.Generator, scene: Scene, canvas: Canvas, brightness: np.ndarray, tint: np.ndarray
) -> np.ndarray:
    """Expose the photo band by band, so that memory never holds the float colours of the whole photo."""
    margin = int(np.ceil(4 * scene.blur * canvas.unit))
    image = np.empty((canvas.height, canvas.width, 3), np.uint8)
    for top in range(0, canvas.height, ROWS_PER_BAND):
        bottom = min(top + ROWS_PER_BAND, canvas.height)
        first = max(0, top - margin)
        rows = slice(first, bottom + margin)
        band = expose(rng, scene, canvas, brightness[rows], tint[rows])
        image[top:bottom] = band[top - first : bottom - first]
    return image
