"""Draw concrete without cracks and marks. Choose what all tiles of a photo share, and draw the texture.

Brightness is a float32 array (height, width), and 1.0 is the photo's mean. Lengths are given for a tile of 128 x 128
pixels, and are scaled with the size of the tile.
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
class Canvas:
    """The area to draw on: a tile, a photo, or a part of a photo.

    Attributes:
        height, width: Pixels.
        tile: Side of a tile in pixels. Textures, marks and cracks are as large as in a tile of this size.
    """

    height: int
    width: int
    tile: float

    @property
    def unit(self) -> float:
        """The factor for lengths, which are given for a tile of 128 x 128 pixels."""
        return self.tile / 128

    @property
    def extent(self) -> np.ndarray:
        """Width and height, pixels."""
        return np.array([self.width, self.height])

    @property
    def tiles(self) -> float:
        """The number of tiles that the canvas has room for."""
        return self.width * self.height / self.tile**2

    @property
    def turned(self) -> "Canvas":
        """The canvas with width and height exchanged."""
        return Canvas(self.width, self.height, self.tile)


@dataclass(frozen=True)
class Scene:
    """What all tiles of one photo share: concrete, light and camera.

    Attributes:
        surface: deck, pavement or wall.
        colour: Mean RGB, 0 to 255, with the colour cast of the camera.
        relief: Amplitude of the fine lit texture, a fraction of the mean brightness.
        mottle: Amplitude of large, soft blotches.
        aggregate: Amplitude of the visible stones.
        pores: Mean number of air holes in a tile.
        light: Direction that the light comes from, radians.
        gradient: Fraction of the brightness that is lost from one edge of the tile or photo to the other edge.
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


def draw_scene(rng: np.random.Generator, surface: str) -> Scene:
    """Choose the concrete, the light and the camera of one photo."""
    colour, relief, aggregate, pores = _TYPICAL[surface]
    cast = np.exp(rng.normal(0, 0.025, 3)) * rng.uniform(0.6, 1.2)
    return Scene(
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


def draw_surface(rng: np.random.Generator, scene: Scene, canvas: Canvas) -> np.ndarray:
    """Draw bare concrete, float32 (height, width): lit relief, blotches, aggregate, pores and uneven light."""
    relief = 0.6 * noise(rng, canvas, 1) + 0.8 * noise(rng, canvas, 2) + noise(rng, canvas, 5)
    slope_y, slope_x = np.gradient(blurred(relief, 0.7 * canvas.unit))
    lit = slope_x * np.cos(scene.light) + slope_y * np.sin(scene.light)
    brightness = 1 + scene.relief * lit / (lit.std() + 1e-6)

    brightness += scene.mottle * (noise(rng, canvas, 40) + 0.5 * noise(rng, canvas, 14))
    stones = noise(rng, canvas, 4)
    brightness += scene.aggregate * np.clip(np.abs(stones) - 0.9, 0, 1) * np.sign(stones)

    if scene.surface == "pavement":  # broom strokes of the finish
        brightness += 0.4 * scene.relief * noise(rng, canvas, 2, stretch=30)
    elif scene.surface == "wall":  # grain of the formwork boards
        brightness += 0.4 * scene.relief * noise(rng, canvas.turned, 3, stretch=50).T
    _pores(rng, scene, canvas, brightness)
    return brightness * _light(rng, scene, canvas)


def expose(
    rng: np.random.Generator, scene: Scene, canvas: Canvas, brightness: np.ndarray, tint: np.ndarray
) -> np.ndarray:
    """Turn brightness into an image as the camera sees it, with colour, blur and sensor noise.

    Args:
        rng: The generator of the tile or photo.
        scene: The scene, which has the colour, the blur and the noise.
        canvas: The canvas of the brightness, or a larger canvas that contains it.
        brightness: float (height, width).
        tint: float32 (height, width, 3), a factor of the colour.

    Returns:
        uint8 (height, width, 3), RGB.
    """
    image = brightness[..., None] * tint * np.asarray(scene.colour, np.float32)
    image = blurred(image, scene.blur * canvas.unit)
    height, width = brightness.shape
    grey_noise = rng.normal(0, scene.noise, (height, width, 1))
    colour_noise = rng.normal(0, scene.noise / 3, (height, width, 3))
    image += grey_noise + colour_noise
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def stroke(points: np.ndarray, widths: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Draw a line of changing width.

    Args:
        points: float (n, 2), x and y in pixels of the canvas.
        widths: float (n - 1,), width of each segment in pixels.
        canvas: The canvas.

    Returns:
        float32 (height, width): the share of each pixel that the line covers, 0 to 1.
    """
    coverage = np.zeros((canvas.height, canvas.width), np.float32)
    reach = widths.max() + 2
    left, top = np.clip(np.floor(points.min(0) - reach), 0, canvas.extent).astype(int)
    right, bottom = np.clip(np.ceil(points.max(0) + reach), 0, canvas.extent).astype(int)
    if left >= right or top >= bottom:
        return coverage

    fine = np.zeros(((bottom - top) * _SUPERSAMPLING, (right - left) * _SUPERSAMPLING), np.uint8)
    corner = np.array([left, top]) * _SUPERSAMPLING
    scaled = np.rint(points * _SUPERSAMPLING).astype(int) - corner
    thick = np.maximum(1, np.rint(widths * _SUPERSAMPLING)).astype(int)
    for start, end, width in zip(scaled[:-1].tolist(), scaled[1:].tolist(), thick.tolist(), strict=True):
        cv2.line(fine, start, end, 255, width)

    covered = cv2.resize(fine, (int(right - left), int(bottom - top)), interpolation=cv2.INTER_AREA)
    coverage[top:bottom, left:right] = covered.astype(np.float32) / 255
    return coverage


def noise(rng: np.random.Generator, canvas: Canvas, cell: float, stretch: float = 1) -> np.ndarray:
    """Return smooth noise with a standard deviation of 1, float32 (height, width).

    Its features are `cell` units wide and `cell * stretch` units long.
    """
    rows = max(2, round(canvas.height / canvas.unit / cell) + 1)
    columns = max(2, round(canvas.width / canvas.unit / (cell * stretch)) + 1)
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    smooth = cv2.resize(coarse, (canvas.width, canvas.height), interpolation=cv2.INTER_CUBIC)
    return smooth / (smooth.std() + 1e-6)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur an image with a Gaussian of standard deviation `sigma` pixels. Return float32 of the same shape."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _light(rng: np.random.Generator, scene: Scene, canvas: Canvas) -> np.ndarray:
    angle = scene.light + rng.normal(0, 0.3)
    y = np.linspace(-0.5, 0.5, canvas.height, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, canvas.width, dtype=np.float32)
    return 1 - scene.gradient * (x * np.cos(angle) + y * np.sin(angle))


def _pores(rng: np.random.Generator, scene: Scene, canvas: Canvas, brightness: np.ndarray) -> None:
    """Draw air holes that are dark inside and have a lit lower rim. The brightness is changed in place."""
    most = int(60 * canvas.tiles)
    for _ in range(min(rng.poisson(scene.pores * canvas.tiles), most)):
        x, y = rng.uniform(0, canvas.extent, 2)
        radius = np.minimum(rng.lognormal(-0.3, 0.6), 4.5) * canvas.unit
        reach = int(np.ceil(radius + 2))

        left = max(int(x) - reach, 0)
        top = max(int(y) - reach, 0)
        patch = brightness[top : int(y) + reach + 1, left : int(x) + reach + 1]
        rows = np.arange(top, top + patch.shape[0])[:, None]
        columns = np.arange(left, left + patch.shape[1])
        distance = np.hypot(columns - x, (rows - y) * rng.uniform(0.8, 1.3))
        patch *= 1 - scene.depth * rng.uniform(0.4, 1.2) * np.clip(radius + 0.5 - distance, 0, 1)
        patch *= 1 + 0.15 * np.clip(1 - np.abs(distance - radius - 0.5), 0, 1) * (rows > y)
