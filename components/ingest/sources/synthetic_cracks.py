"""Draw cracks: jagged lines that branch and taper."""

import cv2
import numpy as np
from scipy.signal import lfilter

from components.ingest.sources.synthetic_surface import Canvas, Scene, stroke

CRACK_WIDTHS = (1.3, 3.4)  # range of a crack's largest width, in pixels of a tile of 128 x 128
CRACK_COVERAGE = 0.25  # a pixel belongs to the crack's mask if the crack covers more than this share of the pixel


def walk(
    rng: np.random.Generator,
    start: np.ndarray,
    angle: float,
    length: float,
    widest: float,
    canvas: Canvas,
    memory: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a jagged line that keeps its general direction.

    Args:
        rng: The generator of the tile or photo.
        start: x and y of the first point, pixels.
        angle: General direction, radians.
        length: Length of the line, pixels.
        widest: Width at the start, pixels.
        canvas: The canvas.
        memory: How much of a change of direction remains after one more step: from 0 (nothing) to 1 (all of it). For a
            long line, it must be below 1. Otherwise the line turns back.

    Returns:
        Points, float (n, 2), and the widths of the segments between them, float (n - 1,), all in pixels.
    """
    step = 2.2 * canvas.unit
    count = max(6, int(length / step))
    drift = lfilter([1.0], [1.0, -memory], rng.normal(0, 0.09, count))
    heading = angle + drift + rng.normal(0, 0.65, count)
    strides = step * rng.uniform(0.5, 1.5, count)
    directions = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    points = np.vstack([start, start + np.cumsum(strides[:, None] * directions, axis=0)])

    swell = np.convolve(rng.normal(0, 1, count + 8), np.ones(9) / 3, mode="valid")
    taper = np.minimum(1, 3 * (1 - np.arange(count) / count) + 0.25)
    return points, np.clip(widest * taper * np.exp(0.3 * swell), 0.7 * canvas.unit, None)


def branch(
    rng: np.random.Generator,
    trunk: np.ndarray,
    widths: np.ndarray,
    lengths: tuple[float, float],
    canvas: Canvas,
) -> np.ndarray:
    """Draw a branch that leaves a trunk somewhere in its middle.

    Args:
        rng: The generator of the tile or photo.
        trunk: Points of the trunk, float (n, 2), pixels.
        widths: Widths of the trunk's segments, float (n - 1,), pixels.
        lengths: The shortest and the longest length of a branch, pixels.
        canvas: The canvas.

    Returns:
        float32 (height, width): the share of each pixel that the branch covers, 0 to 1.
    """
    joint = rng.integers(len(trunk) // 5, 4 * len(trunk) // 5)
    dx, dy = trunk[joint + 1] - trunk[joint]
    trunk_angle = np.arctan2(dy, dx)
    turn = rng.choice([-1, 1]) * rng.uniform(0.4, 1.2)
    length = rng.uniform(*lengths)
    points, own_widths = walk(rng, trunk[joint], trunk_angle + turn, length, 0.7 * widths[joint], canvas)
    return stroke(points, own_widths, canvas)


def crack_shade(rng: np.random.Generator, scene: Scene, canvas: Canvas, coverage: np.ndarray) -> np.ndarray:
    """Return the factor by which a crack changes the brightness, float32 (height, width).

    A crack is dark inside and has a lit edge towards the light. Some cracks have white deposits around them.
    """
    depth = scene.depth * rng.uniform(0.75, 1.25)
    shift = np.rint(1.4 * np.array([np.sin(scene.light), np.cos(scene.light)]) * canvas.unit).astype(int)
    edge = np.clip(np.roll(coverage, tuple(shift), (0, 1)) - coverage, 0, 1)
    shade = (1 - np.minimum(depth, 0.9) * coverage) * (1 + rng.uniform(0, 0.2) * edge)

    if rng.random() < 0.12:
        halo = cv2.GaussianBlur(coverage, (0, 0), 2.5 * canvas.unit)
        shade = shade + rng.uniform(0.2, 0.6) * np.clip(halo - coverage, 0, 1)
    return shade
