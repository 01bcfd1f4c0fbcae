"""Draw concrete without cracks: the common properties of a photo, its texture, and marks that look like cracks.

Brightness is a float32 array (size, size), and 1.0 is the photo's mean. Lengths are in pixels of a tile of 128 x 128
pixels and grow with the tile.
"""

from dataclasses import dataclass

import cv2
import numpy as np

SURFACES = ("deck", "pavement", "wall")
# Mean colour (RGB, 0 to 255), relief, aggregate and pores of the typical concrete of each surface.
_TYPICAL = {
    "deck": ((150, 147, 140), 0.055, 0.05, 8.0),
    "pavement": ((138, 132, 122), 0.07, 0.08, 4.0),
    "wall": ((172, 172, 168), 0.035, 0.02, 14.0),
}
# Lines are drawn on a canvas this many times larger, so that widths can be fractions of a pixel.
_SUPERSAMPLING = 4


@dataclass(frozen=True)
class Photo:
    """The properties that all tiles of one photo share.

    Attributes:
        surface: deck, pavement or wall.
        colour: Mean RGB, 0 to 255, with the colour cast of the camera.
        relief: Amplitude of the fine lit texture, a fraction of the mean brightness.
        mottle: Amplitude of the slow blotches.
        aggregate: Amplitude of the visible stones.
        pores: Mean number of air holes in a tile.
        light: Direction that the light comes from, radians.
        gradient: Brightness lost from one edge of the tile to the other, a fraction.
        blur: Standard deviation of the lens blur, pixels.
        noise: Standard deviation of the sensor noise, grey levels.
        depth: Darkness of a typical line (crack, joint or scratch), a fraction of the brightness.
        marks: Mean number of marks in a tile.
    """

    surface: str
    colour: tuple[float, float, float]
    relief: float
    mottle: float
    aggregate: float
    pores: float
    light: float
    gradient: float
    blur: float
    noise: float
    depth: float
    marks: float


def draw_photo(rng: np.random.Generator, surface: str) -> Photo:
    """Choose the properties that the tiles of one photo share: concrete, light and camera."""
    colour, relief, aggregate, pores = _TYPICAL[surface]
    cast = np.exp(rng.normal(0, 0.025, 3)) * rng.uniform(0.6, 1.2)
    return Photo(
        surface=surface,
        colour=tuple(np.asarray(colour) * cast),
        relief=relief * rng.uniform(0.4, 1.4),
        mottle=rng.uniform(0.02, 0.09),
        aggregate=aggregate * rng.uniform(0.2, 1.2),
        pores=pores * rng.uniform(0.2, 2.0),
        light=rng.uniform(0, 2 * np.pi),
        gradient=rng.uniform(0.0, 0.3),
        blur=rng.uniform(0.3, 0.8),
        noise=rng.uniform(1.0, 5.0),
        depth=rng.uniform(0.48, 0.78),
        marks=rng.uniform(0.9, 1.9),
    )


def draw_surface(rng: np.random.Generator, photo: Photo, size: int) -> np.ndarray:
    """Draw a tile without marks, float32 (size, size): lit relief, blotches, aggregate, pores and the fall of light."""
    relief = 0.6 * _noise(rng, size, 1) + 0.8 * _noise(rng, size, 2) + _noise(rng, size, 5)
    slope_y, slope_x = np.gradient(_blurred(relief, 0.7 * size / 128))
    lit = slope_x * np.cos(photo.light) + slope_y * np.sin(photo.light)
    brightness = 1 + photo.relief * lit / (lit.std() + 1e-6)

    brightness += photo.mottle * (_noise(rng, size, 40) + 0.5 * _noise(rng, size, 14))
    stones = _noise(rng, size, 4)
    brightness += photo.aggregate * np.clip(np.abs(stones) - 0.9, 0, 1) * np.sign(stones)

    if photo.surface == "pavement":  # broom strokes of the finish
        brightness += 0.4 * photo.relief * _noise(rng, size, 2, stretch=30)
    elif photo.surface == "wall":  # grain of the formwork boards
        brightness += 0.4 * photo.relief * _noise(rng, size, 3, stretch=50).T
    _pores(rng, photo, brightness)
    return brightness * _light(rng, photo, size)


def add_marks(rng: np.random.Generator, photo: Photo, brightness: np.ndarray, tint: np.ndarray) -> np.ndarray:
    """Draw marks on a tile: joints, formwork lines, scratches, roots, stains, water lines, shadows, chips.

    Args:
        rng: The tile's generator.
        photo: The photo that the tile belongs to.
        brightness: float32 (size, size).
        tint: float32 (size, size, 3), a factor of the colour. Marks with a colour change it in place.

    Returns:
        The brightness with the marks, float32 (size, size).
    """
    names = ("joint", "formwork", "scratch", "fibre", "stain", "waterline", "shadow", "chip")
    rates = {"deck": (6, 1, 3, 1, 2, 1, 2, 5), "pavement": (7, 0, 3, 1, 2, 1, 2, 5), "wall": (4, 6, 2, 1, 2, 1, 2, 4)}
    odds = np.array(rates[photo.surface], dtype=float)
    number = min(rng.poisson(photo.marks), 5)
    for name in rng.choice(names, size=number, p=odds / odds.sum()):
        brightness = brightness * _MARKS[name](rng, photo, brightness.shape[0], tint)
    return brightness


def stroke(points: np.ndarray, widths: np.ndarray, size: int) -> np.ndarray:
    """Draw a line of changing width.

    Args:
        points: float (n, 2), x and y in pixels of the tile.
        widths: float (n - 1,), width of each segment in pixels.
        size: Edge of the tile in pixels.

    Returns:
        float32 (size, size): the share of each pixel that the line covers, 0 to 1.
    """
    canvas = np.zeros((size * _SUPERSAMPLING, size * _SUPERSAMPLING), np.uint8)
    scaled = np.rint(points * _SUPERSAMPLING).astype(int)
    thick = np.maximum(1, np.rint(widths * _SUPERSAMPLING)).astype(int)
    for start, end, width in zip(scaled[:-1].tolist(), scaled[1:].tolist(), thick.tolist(), strict=True):
        cv2.line(canvas, start, end, 255, width)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _noise(rng: np.random.Generator, size: int, cell: float, stretch: float = 1) -> np.ndarray:
    """Return smooth noise with a standard deviation of 1, float32 (size, size).

    Its features are `cell` pixels wide and `cell * stretch` pixels long.
    """
    rows = max(2, round(128 / cell) + 1)
    columns = max(2, round(128 / (cell * stretch)) + 1)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return smooth / (smooth.std() + 1e-6)


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _light(rng: np.random.Generator, photo: Photo, size: int) -> np.ndarray:
    angle = photo.light + rng.normal(0, 0.3)
    y, x = np.mgrid[-0.5 : 0.5 : size * 1j, -0.5 : 0.5 : size * 1j].astype(np.float32)
    return 1 - photo.gradient * (x * np.cos(angle) + y * np.sin(angle))


def _pores(rng: np.random.Generator, photo: Photo, brightness: np.ndarray) -> None:
    """Draw air holes that are dark inside and have a lit lower rim. The brightness is changed in place."""
    size = brightness.shape[0]
    for _ in range(min(rng.poisson(photo.pores), 60)):
        x, y = rng.uniform(0, size, 2)
        radius = np.minimum(rng.lognormal(-0.3, 0.6), 4.5) * size / 128
        reach = int(np.ceil(radius + 2))

        left = max(int(x) - reach, 0)
        top = max(int(y) - reach, 0)
        patch = brightness[top : int(y) + reach + 1, left : int(x) + reach + 1]
        rows, columns = np.mgrid[top : top + patch.shape[0], left : left + patch.shape[1]]
        distance = np.hypot(columns - x, (rows - y) * rng.uniform(0.8, 1.3))
        patch *= 1 - photo.depth * rng.uniform(0.4, 1.2) * np.clip(radius + 0.5 - distance, 0, 1)
        patch *= 1 + 0.15 * np.clip(1 - np.abs(distance - radius - 0.5), 0, 1) * (rows > y)


def _straight(rng: np.random.Generator, size: int, across: bool) -> np.ndarray:
    """Choose a straight line: from edge to edge, or a short piece in the tile. Return its two ends, float (2, 2)."""
    angle = rng.choice([0, np.pi / 2]) + rng.normal(0, 0.06) if across else rng.uniform(0, np.pi)
    centre = rng.uniform(0.1, 0.9, 2) * size
    half = 2 * size if across else rng.uniform(0.1, 0.4) * size
    direction = np.array([np.cos(angle), np.sin(angle)])
    return np.stack([centre - half * direction, centre + half * direction])


def _joint(rng: np.random.Generator, photo: Photo, size: int, tint: np.ndarray) -> np.ndarray:
    """Draw a sawn or cast joint: straight, wide, dark, with a lit edge and dirt in it."""
    ends = _straight(rng, size, across=True)
    width = rng.uniform(1.2, 4.5) * size / 128
    groove = stroke(ends, np.array([width]), size)
    lit = stroke(ends + np.array([width, width]) * 0.6, np.array([0.8 * size / 128]), size)

    dirt = 1 + 0.25 * _noise(rng, size, 6)
    return (1 - photo.depth * rng.uniform(0.6, 1.3) * groove * np.clip(dirt, 0.3, 1.3)) * (1 + 0.12 * lit)


def _formwork(rng: np.random.Generator, photo: Photo, size: int, tint: np.ndarray) -> np.ndarray:
    """Draw the seam between two boards: a thin line with a different brightness on each side."""
    ends = _straight(rng, size, across=True)
    seam = stroke(ends, np.array([rng.uniform(0.6, 1.8) * size / 128]), size)

    normal = np.array([-(ends[1] - ends[0])[1], (ends[1] - ends[0])[0]])
    y, x = np.mgrid[:size, :size]
    beyond = (x - ends[0, 0]) * normal[0] + (y - ends[0, 1]) * normal[1] > 0
    step = 1 + rng.normal(0, 0.05) * beyond

    contrast = photo.depth * rng.choice([-0.9, -0.6, 0.35])
    unevenness = np.clip(1 + 0.4 * _noise(rng, size, 9), 0, 1.4)
    return step * (1 + contrast * seam * unevenness)


def _scratch(rng: np.random.Generator, photo: Photo, size: int, tint: np.ndarray) -> np.ndarray:
    """Draw one to three short, straight, parallel scratches of a tool, light or dark."""
    ends = _straight(rng, size, across=False)
    factor = np.ones((size, size), np.float32)

    sign = rng.choice([-1.0, -1.0, 0.4])
    for offset in range(rng.integers(1, 4)):
        shifted = ends + offset * rng.uniform(3, 7) * size / 128
        line = stroke(shifted, np.array([rng.uniform(0.5, 1.8) * size / 128]), size)
        factor *= 1 + sign * photo.depth * rng.uniform(0.6, 1.1) * line
    return factor


def _fibre(rng: np.random.Generator, photo: Photo, size: int, tint: np.ndarray) -> np.ndarray:
    """Draw a root, a wire or a cable's shadow: a smooth curve of even width. A crack is jagged and tapers."""
    start = rng.uniform(0, size, 2)
    turns = rng.uniform(-0.02, 0.02) + np.cumsum(rng.normal(0, 0.003, 60))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(turns)
    steps = np.stack([np.cos(heading), np.sin(heading)], 1) * rng.uniform(0.6, 2.2) * size / 128
    points = np.vstack([start, start + np.cumsum(steps, axis=0)])

    line = stroke(points, np.full(60, rng.uniform(0.8, 2.6) * size / 128), size)
    return 1 - photo.depth * rng.uniform(0.6, 1.2) * line


def _stain(rng: np.random.Generator, photo: Photo, size: int, tint: np.ndarray) -> np.ndarray:
    """Draw a soft blotch of damp, oil or rust. On walls it runs down."""
    stretch = 2.5 if photo.surface == "wall" else 1
    field = _noise(rng, size, 30, stretch).T
    blotch = 1 / (1 + np.exp(-4 * (field - rng.uniform(0.4, 1.4))))

    if rng.random() < 0.4:
        tint *= 1 + blotch[..., None] * np.array([0.08, -0.03, -0.14], np.float32) * rng.uniform(0.3, 1.2)
    return 1 - rng.uniform(0.1, 0.4) * blotch.astype(np.float32)


def _waterline(rng: np.random.Generator, photo: Photo, size: int, tint: np.ndarray) -> np.ndarray:
    """Draw the edge of a dried puddle: a thin, winding line, lighter or darker."""
    field = _noise(rng, size, 45)
    slope = np.hypot(*np.gradient(field)) + 0.004
    edge = np.clip(1.3 * size / 128 - np.abs(field - rng.uniform(-0.6, 0.6)) / slope, 0, 1)
    return (1 + photo.depth * rng.choice([-0.55, -0.3, 0.3]) * edge).astype(np.float32)


def _shadow(rng: np.random.Generator, photo: Photo, size: int, tint: np.ndarray) -> np.ndarray:
    """Draw the shadow of something outside the photo, with a straight edge, sharp or soft."""
    ends = _straight(rng, size, across=rng.random() < 0.3) - size / 2
    normal = np.array([-(ends[1] - ends[0])[1], (ends[1] - ends[0])[0]])
    normal /= np.hypot(*normal)
    y, x = np.mgrid[:size, :size] - size / 2
    distance = (x - ends[0, 0]) * normal[0] + (y - ends[0, 1]) * normal[1]

    darkness = rng.uniform(0.15, 0.5)
    softness = rng.uniform(0.5, 6)
    return (1 - darkness / (1 + np.exp(-distance / softness))).astype(np.float32)


def _chip(rng: np.random.Generator, photo: Photo, size: int, tint: np.ndarray) -> np.ndarray:
    """Draw a place where a piece broke out: an irregular dark patch with a lit side."""
    corners = rng.integers(5, 10)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(0.4, 1.0, corners) * rng.uniform(2.5, 10) * size / 128
    points = rng.uniform(0, size, 2) + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]

    patch = np.zeros((size, size), np.float32)
    cv2.fillPoly(patch, [np.rint(points).astype(np.int32)], 1.0)
    patch = _blurred(patch, 0.6)

    lit = np.clip(patch - np.roll(patch, (-2, -2), (0, 1)), 0, 1)
    return (1 - photo.depth * rng.uniform(0.3, 1.2) * patch) * (1 + 0.3 * lit)


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
