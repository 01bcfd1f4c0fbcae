"""The outline of a finding is a polygon that a map program accepts."""

import numpy as np
from scipy import ndimage

from components.inspect.crack_map import blend
from components.inspect.findings import join_into_findings
from components.inspect.tile_grid import make_grid


def area(polygon: tuple[tuple[float, float], ...]) -> float:
    """Return the area of a polygon. It is positive if the corners run counter-clockwise and y points upwards."""
    x, y = (np.array(polygon) * (1, -1)).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def test_a_region_of_any_form_has_an_outline_with_an_area():
    grid = make_grid(300, 200, 32, 0.5)
    rng = np.random.default_rng(1)
    smallest = np.inf
    for _ in range(30):
        p_crack = rng.uniform(size=grid.shape)
        # A threshold just below the largest answer gives regions of a single cell.
        threshold = float(np.sort(p_crack.ravel())[-3]) - 0.001
        crack_map = blend(grid, p_crack)
        findings = join_into_findings(crack_map, grid, p_crack, np.zeros(grid.shape), threshold, 0.7)
        assert len(findings) >= ndimage.label(crack_map.p_crack >= threshold, np.ones((3, 3)))[1]
        for finding in findings:
            assert len(finding.polygon) >= 3
            assert area(finding.polygon) > 0
            smallest = min(smallest, area(finding.polygon))
    assert smallest <= crack_map.vertical.step * crack_map.horizontal.step
