import numpy as np
import pytest

from components.explain.gallery import conclusion, draw_panel
from components.shared.measurements import Measurement


def rows(pointing: tuple[float, float], insertion: tuple[float, float]) -> dict[str, Measurement]:
    """Measurements with the given intervals of the differences from the edge filter."""
    found = {}
    for name, (low, high) in (("pointing_game", pointing), ("insertion_auc", insertion)):
        found[f"grad_cam.{name}"] = Measurement("", 0.5)
        found[f"edge_filter.{name}"] = Measurement("", 0.5 - (low + high) / 2)
        found[f"grad_cam.{name}_over_edge_filter"] = Measurement("", (low + high) / 2, low=low, high=high)
    return found


@pytest.mark.parametrize(
    ("pointing", "insertion", "good"),
    [
        ((0.1, 0.3), (0.1, 0.3), True),
        ((-0.1, 0.3), (0.1, 0.3), True),
        ((-0.3, -0.1), (0.1, 0.3), False),
        ((-0.1, 0.1), (-0.1, 0.1), False),
        ((-0.3, -0.1), (-0.3, -0.1), False),
    ],
)
def test_an_explanation_no_better_than_the_edge_filter_is_called_so(pointing, insertion, good):
    text, found = conclusion(rows(pointing, insertion))
    assert found is good
    assert ("no more than a plain edge filter" in text) is not good
    assert ("(worse)" in text) is (pointing[1] < 0)


def test_the_panel_shows_the_image_untouched_and_the_outline_on_the_map():
    image = np.full((40, 40, 3), 100, np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    evidence = np.zeros((40, 40))
    evidence[30, 30] = 1
    panel = draw_panel(image, {1: evidence, 0: np.zeros((40, 40))}, mask)
    assert panel.caption == "image, for crack, nothing for no crack"
    assert panel.picture.shape == (40, 80, 3)
    assert (panel.picture[:, :40] == image).all()
    green = (panel.picture[:, 40:] == (64, 255, 64)).all(axis=2)
    assert green.sum() == 36
    assert (panel.picture[5, 45] == image[5, 5]).all()
    assert (panel.picture[30, 70] != image[30, 30]).any()
