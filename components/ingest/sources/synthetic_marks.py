"""Draw marks on concrete that look like cracks: joints, formwork lines, scratches, roots, stains, water lines, shadows.

A mark is an array (height, width). The brightness of the concrete is multiplied by it.
"""

import cv2
import numpy as np

from components.ingest.sources.synthetic_surface import Canvas, Scene, blurred, noise, stroke

# The marks that can cross a whole photo.
LONG_MARKS = ("joint", "formwork", "shadow")
_NAMES = ("joint", "formwork", "scratch", "fibre", "stain", "waterline", "shadow", "chip")
# For each surface, how often each mark of `_NAMES` occurs, compared with the other marks.
_RATES = {"deck": (6, 1, 3, 1, 2, 1, 2, 5), "pavement": (7, 0, 3, 1, 2, 1, 2, 5), "wall": (4, 6, 2, 1, 2, 1, 2, 4)}


def choose_marks(rng: np.random.Generator, surface: str, number: int) -> np.ndarray:
    """Choose marks at random, and return their names. Marks that are frequent on the surface are chosen more often."""
    odds = np.array(_RATES[surface], dtype=float)
    return rng.choice(_NAMES, size=number, p=odds / odds.sum())


def draw_mark(name: str, rng: np.random.Generator, scene: Scene, canvas: Canvas, tint: np.ndarray) -> np.ndarray:
    """Draw one mark.

    Args:
        name: joint, formwork, scratch, fibre, stain, waterline, shadow or chip.
        rng: The generator of the tile or photo.
        scene: The scene that the canvas shows.
        canvas: The canvas.
        tint: float32 (height, width, 3), a factor of the colour. Marks with a colour change it in place.

    Returns:
        A factor of the brightness, float (height, width).
    """
    return _MARKS[name](rng, scene, canvas, tint)


def _straight(rng: np.random.Generator, canvas: Canvas, across: bool) -> np.ndarray:
    """Choose a straight line, and return its ends, float (2, 2). If `across` is true, the line crosses the canvas."""
    angle = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.06) if across else rng.uniform(0, np.pi)
    centre = rng.uniform(0.1, 0.9, 2) * canvas.extent
    half = 2 * canvas.extent.max() if across else rng.uniform(0.1, 0.4) * canvas.tile
    direction = np.array([np.cos(angle), np.sin(angle)])
    return np.stack([centre - half * direction, centre + half * direction])


def _joint(rng: np.random.Generator, scene: Scene, canvas: Canvas, tint: np.ndarray) -> np.ndarray:
    """Draw a sawn or cast joint: straight, wide, dark, with a lit edge and dirt in it."""
    ends = _straight(rng, canvas, across=True)
    width = rng.uniform(1.2, 4.5) * canvas.unit
    groove = stroke(ends, np.array([width]), canvas)
    lit = stroke(ends + np.array([width, width]) * 0.6, np.array([0.8 * canvas.unit]), canvas)

    dirt = 1 + 0.25 * noise(rng, canvas, 6)
    return (1 - scene.depth * rng.uniform(0.6, 1.3) * groove * np.clip(dirt, 0.3, 1.3)) * (1 + 0.12 * lit)


def _formwork(rng: np.random.Generator, scene: Scene, canvas: Canvas, tint: np.ndarray) -> np.ndarray:
    """Draw the seam between two boards: a thin line with a different brightness on each side."""
    ends = _straight(rng, canvas, across=True)
    seam = stroke(ends, np.array([rng.uniform(0.6, 1.8) * canvas.unit]), canvas)

    normal = np.array([-(ends[1] - ends[0])[1], (ends[1] - ends[0])[0]])
    y, x = np.ogrid[: canvas.height, : canvas.width]
    beyond = (x - ends[0, 0]) * normal[0] + (y - ends[0, 1]) * normal[1] > 0
    step = 1 + rng.normal(0, 0.05) * beyond

    contrast = scene.depth * rng.choice([-0.9, -0.6, 0.35])
    unevenness = np.clip(1 + 0.4 * noise(rng, canvas, 9), 0, 1.4)
    return step * (1 + contrast * seam * unevenness)


def _scratch(rng: np.random.Generator, scene: Scene, canvas: Canvas, tint: np.ndarray) -> np.ndarray:
    """Draw one to three short, straight, parallel scratches of a tool, light or dark."""
    ends = _straight(rng, canvas, across=False)
    factor = np.ones((canvas.height, canvas.width), np.float32)

    sign = rng.choice([-1.0, -1.0, 0.4])
    for offset in range(rng.integers(1, 4)):
        shifted = ends + offset * rng.uniform(3, 7) * canvas.unit
        line = stroke(shifted, np.array([rng.uniform(0.5, 1.8) * canvas.unit]), canvas)
        factor *= 1 + sign * scene.depth * rng.uniform(0.6, 1.1) * line
    return factor


def _fibre(rng: np.random.Generator, scene: Scene, canvas: Canvas, tint: np.ndarray) -> np.ndarray:
    """Draw a root, a wire or a cable's shadow: a smooth curve of even width. A crack is jagged and tapers."""
    start = rng.uniform(0, canvas.extent, 2)
    turns = rng.uniform(-0.02, 0.02) + np.cumsum(rng.normal(0, 0.003, 60))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(turns)
    steps = np.stack([np.cos(heading), np.sin(heading)], 1) * rng.uniform(0.6, 2.2) * canvas.unit
    points = np.vstack([start, start + np.cumsum(steps, axis=0)])

    line = stroke(points, np.full(60, rng.uniform(0.8, 2.6) * canvas.unit), canvas)
    return 1 - scene.depth * rng.uniform(0.6, 1.2) * line


def _stain(rng: np.random.Generator, scene: Scene, canvas: Canvas, tint: np.ndarray) -> np.ndarray:
    """Draw a soft blotch of damp, oil or rust. On walls it runs down."""
    stretch = 2.5 if scene.surface == "wall" else 1
    field = noise(rng, canvas.turned, 30, stretch).T
    blotch = 1 / (1 + np.exp(-4 * (field - rng.uniform(0.4, 1.4))))

    if rng.random() < 0.4:
        tint *= 1 + blotch[..., None] * np.array([0.08, -0.03, -0.14], np.float32) * rng.uniform(0.3, 1.2)
    return 1 - rng.uniform(0.1, 0.4) * blotch.astype(np.float32)


def _waterline(rng: np.random.Generator, scene: Scene, canvas: Canvas, tint: np.ndarray) -> np.ndarray:
    """Draw the edge of a dried puddle: a thin, winding line, lighter or darker."""
    field = noise(rng, canvas, 45)
    slope = np.hypot(*np.gradient(field)) + 0.004
    edge = np.clip(1.3 * canvas.unit - np.abs(field - rng.uniform(-0.6, 0.6)) / slope, 0, 1)
    return (1 + scene.depth * rng.choice([-0.55, -0.3, 0.3]) * edge).astype(np.float32)


def _shadow(rng: np.random.Generator, scene: Scene, canvas: Canvas, tint: np.ndarray) -> np.ndarray:
    """Draw the shadow of something outside the photo, with a straight edge, sharp or soft."""
    ends = _straight(rng, canvas, across=rng.random() < 0.3)
    normal = np.array([-(ends[1] - ends[0])[1], (ends[1] - ends[0])[0]])
    normal /= np.hypot(*normal)
    y, x = np.ogrid[: canvas.height, : canvas.width]
    distance = (x - ends[0, 0]) * normal[0] + (y - ends[0, 1]) * normal[1]

    darkness = rng.uniform(0.15, 0.5)
    softness = rng.uniform(0.5, 6)
    lit = np.exp(np.minimum(-distance / softness, 80))  # exp(80) is large enough for full light, and does not overflow
    return (1 - darkness / (1 + lit)).astype(np.float32)


def _chip(rng: np.random.Generator, scene: Scene, canvas: Canvas, tint: np.ndarray) -> np.ndarray:
    """Draw a place where a piece broke out: an irregular dark patch with a lit side."""
    corners = rng.integers(5, 10)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(0.4, 1.0, corners) * rng.uniform(2.5, 10) * canvas.unit
    points = rng.uniform(0, canvas.extent, 2) + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]

    patch = np.zeros((canvas.height, canvas.width), np.float32)
    cv2.fillPoly(patch, [np.rint(points).astype(np.int32)], 1.0)
    patch = blurred(patch, 0.6)

    lit = np.clip(patch - np.roll(patch, (-2, -2), (0, 1)), 0, 1)
    return (1 - scene.depth * rng.uniform(0.3, 1.2) * patch) * (1 + 0.3 * lit)


_MARKS = {
    "joint": _joint,
    "formwork": _formwork,
    "scratch": _scratch,
    "fibre": _fibre,
    "stain": _stain,
    "waterline": _waterline,
    "shadow": _shadow,
    "chip": _chip,
}
