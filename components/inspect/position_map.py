"""Draw the positions of photos as an SVG that works offline."""

import math
from dataclasses import dataclass
from pathlib import Path

from components.inspect.findings import CRACK, NEEDS_REVIEW, NO_CRACK, NO_DATA
from components.shared.page import templates

TEMPLATES = Path(__file__).parent / "templates"
WIDTH, LARGEST_HEIGHT, MARGIN = 900, 600, 40  # SVG units
METRES_PER_DEGREE = 111_320  # of latitude
SMALLEST_EXTENT = 1.0  # metres
COLOURS = {CRACK: "#c62828", NEEDS_REVIEW: "#e09c14", NO_CRACK: "#7d8a96", NO_DATA: "#c9d1d8"}


@dataclass(frozen=True)
class MapPoint:
    """A photo on the map: its position in degrees, its triage, its title, and the HTML anchor of the photo's card."""

    longitude: float
    latitude: float
    triage: str
    title: str
    anchor: str


def draw_map(places: list[MapPoint]) -> str:
    """Return an SVG that shows the places. `places` must not be empty.

    Distances are exact only near the middle of the map (equirectangular projection).
    """
    middle = sum(place.latitude for place in places) / len(places)
    east = [place.longitude * METRES_PER_DEGREE * math.cos(math.radians(middle)) for place in places]
    north = [place.latitude * METRES_PER_DEGREE for place in places]

    wide = max(max(east) - min(east), SMALLEST_EXTENT)
    high = max(max(north) - min(north), SMALLEST_EXTENT)
    scale = min((WIDTH - 2 * MARGIN) / wide, (LARGEST_HEIGHT - 2 * MARGIN) / high)
    height = round(high * scale + 3 * MARGIN)

    points = []
    # Cracks are drawn last, so that no other point hides them.
    order = sorted(zip(places, east, north, strict=True), key=lambda item: -list(COLOURS).index(item[0].triage))
    for place, x, y in order:
        points.append(
            {
                "x": round(MARGIN + (x - min(east)) * scale, 1),
                "y": round(MARGIN + (max(north) - y) * scale, 1),
                "colour": COLOURS[place.triage],
                "title": place.title,
                "anchor": place.anchor,
            }
        )

    length = _round_length(WIDTH / 4 / scale)
    bar = {"x": MARGIN, "y": height - MARGIN / 2, "length": round(length * scale, 1), "text": _length_text(length)}
    return templates(TEMPLATES).get_template("map.html").render(width=WIDTH, height=height, points=points, bar=bar)


def _round_length(largest: float) -> float:
    """Return the largest round length up to `largest`, in metres. Round lengths are 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(largest))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= largest)


def _length_text(metres: float) -> str:
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
