import re

import numpy as np
import pandas as pd
import pytest
from torch import nn

from components.explain.cam_choice import CamChoice
from components.explain.conclusion import conclusion
from components.explain.config import ShapConfig
from components.explain.intervals import MeanInterval
from components.explain.page import _gallery, shap_remark
from components.explain.panels import Panel, draw_panel
from components.shared.network.grad_cam import Cam
from components.shared.network.grad_cam_families import Target
from components.shared.results.measurements import Measurement


def chosen(low: float | None = 0.1) -> CamChoice:
    """Return a `CamChoice`. Its gain over a random map is 0.2, with an interval from `low` to 0.3."""
    return CamChoice(CAM, tiles=12, gain=MeanInterval(0.2, low, 0.3))


def rows(method: str = "shap", **gains: tuple[float, float]) -> dict[str, Measurement]:
    """Return measurements. `gains` maps a metric to the interval of its difference: `method` minus edge filter."""
    found = {}
    for name, (low, high) in gains.items():
        found[f"{method}.{name}"] = Measurement("", 0.5)
        found[f"edge_filter.{name}"] = Measurement("", 0.5 - (low + high) / 2)
        found[f"{method}.{name}_over_edge_filter"] = Measurement("", (low + high) / 2, low=low, high=high)
    return found


CAM = Cam(Target("layer", nn.Identity(), lambda output: output, (8, 8)))
BETTER, WORSE, SIMILAR = (0.1, 0.3), (-0.3, -0.1), (-0.1, 0.1)


@pytest.mark.parametrize(
    ("gains", "claim", "good"),
    [
        (
            {"pointing_game": BETTER, "insertion_auc": BETTER},
            "is **measurably better than a plain edge filter** in pointing game and insertion AUC.",
            True,
        ),
        (
            {"pointing_game": SIMILAR, "insertion_auc": BETTER},
            "is **measurably better than a plain edge filter** in insertion AUC. In the other measures, no difference "
            "could be measured.",
            True,
        ),
        (
            {"pointing_game": SIMILAR, "insertion_auc": SIMILAR},
            "is **not measurably better than a plain edge filter**.",
            False,
        ),
        (
            {"insertion_auc": BETTER, "deletion_auc": WORSE},
            "is better than a plain edge filter in insertion AUC, but worse in deletion AUC, so **do not rely on its "
            "maps**.",
            False,
        ),
        (
            {"deletion_auc": WORSE, "insertion_auc": SIMILAR},
            "is **worse than a plain edge filter** in deletion AUC. In the other measures, no difference could be "
            "measured.",
            False,
        ),
    ],
)
def test_the_verdict_compares_with_the_edge_filter(gains, claim, good):
    text, found = conclusion(rows(**gains), "shap", chosen())
    assert text.startswith(f"SHAP {claim}\n\n")
    assert found is good
    assert text.count("worse than the edge filter") == list(gains.values()).count(WORSE)


def test_the_verdict_compares_the_numbers():
    text, _ = conclusion(rows(pointing_game=WORSE, deletion_auc=BETTER), "shap", chosen())
    assert "- Pointing game: 0.500, worse than the edge filter (0.700)." in text
    assert "- Deletion AUC: 0.500, better than the edge filter (0.300; lower is better)." in text


def test_maps_that_are_not_more_faithful_than_random_maps_are_not_called_good():
    found = rows("grad_cam", insertion_auc=BETTER, pointing_game=SIMILAR)
    text, good = conclusion(found, "grad_cam", chosen(low=-0.1))
    assert text.startswith("Grad-CAM is measurably better than a plain edge filter in insertion AUC, but **do not rely")
    assert "No Grad-CAM map of this network is measurably more faithful than a random map." in text
    assert not good
    assert conclusion(found, "grad_cam", chosen())[1]
    assert conclusion(rows(insertion_auc=BETTER), "shap", chosen(low=-0.1))[1]


@pytest.mark.parametrize(("agreement", "good"), [(0.91, True), (0.42, False)])
def test_shap_maps_from_too_few_coalitions_are_not_called_good(agreement, good):
    found = rows(insertion_auc=BETTER) | {"shap.coalitions_similarity": Measurement("", agreement)}
    text, is_good = conclusion(found, "shap", chosen())
    assert is_good is good
    assert ("do not rely on its maps" in text) is not good
    assert ("There are too few coalitions to trust single regions" in text) is not good


def test_the_conclusion_counts_empty_maps():
    found = rows(insertion_auc=BETTER) | {"shap.empty": Measurement("", 0.25)}
    assert "On 25% of the cracked tiles, the map is empty." in conclusion(found, "shap", chosen())[0]


def test_blurred_tiles_matter_only_for_the_measures_that_use_a_blur():
    hidden = {"shap.hidden_p_crack": Measurement("", 0.8)}
    text, good = conclusion(rows("grad_cam", insertion_auc=BETTER, road=BETTER) | hidden, "grad_cam", chosen())
    assert "even completely blurred tiles a crack" in text
    assert good
    assert not conclusion(rows("grad_cam", insertion_auc=BETTER, road=SIMILAR) | hidden, "grad_cam", chosen())[1]


@pytest.mark.parametrize(("p_crack", "told"), [(0.1, False), (0.8, True)])
def test_the_page_warns_about_a_network_that_calls_hidden_images_cracks(p_crack, told):
    found = rows(insertion_auc=BETTER) | {"shap.hidden_p_crack": Measurement("", p_crack)}
    text, good = conclusion(found, "shap", chosen())
    assert (f"even completely blurred tiles a crack (mean P(crack) {p_crack:.2f})" in text) is told
    assert good is not told


@pytest.mark.parametrize(
    ("agreement", "told"),
    [(0.91, r"So there are enough coalitions\.$"), (0.42, r"too few coalitions to trust single regions")],
)
def test_the_gallery_says_how_many_coalitions_a_map_uses_and_whether_they_are_enough(agreement, told):
    measured = [Measurement("shap.coalitions_similarity", agreement, low=0.3, high=0.95, n=3)]
    text = shap_remark(ShapConfig(regions=25, coalitions=64), measured)
    assert "Each SHAP map has about 25 regions. It uses 64 coalitions (sets of regions)." in text
    assert "we computed a second map from 32 new coalitions (number of cracked tiles: 3)." in text
    assert f"The rank correlation of the two maps is {agreement:.4f} [0.300" in text
    assert re.search(told, text)


def test_a_single_group_shows_no_difference():
    found = rows(insertion_auc=BETTER)
    found["shap.insertion_auc_over_edge_filter"] = Measurement("", 0.2)
    assert "is **not measurably better than a plain edge filter**." in conclusion(found, "shap", chosen())[0]


def test_the_panel_shows_the_image_untouched_and_the_outline_on_the_maps():
    image = np.full((40, 40, 3), 100, np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    evidence = np.zeros((40, 40))
    evidence[30, 30] = 1
    panel = draw_panel(image, {1: evidence, 0: np.zeros((40, 40))}, np.zeros((40, 40)), mask)
    assert panel.caption == "tile, Grad-CAM for crack, Grad-CAM for no crack is empty, SHAP is empty, mask"
    assert panel.image.shape == (40, 120, 3)
    assert (panel.image[:, :40] == image).all()
    green = (panel.image[:, 40:80] == (64, 255, 64)).all(axis=2)
    assert green.sum() == 36
    assert (panel.image[5, 45] == image[5, 5]).all()
    assert (panel.image[30, 70] != image[30, 30]).any()
    assert (panel.image[:, 80:] > 0).all(axis=2).sum() == mask.sum()


def test_red_is_evidence_for_a_crack_and_blue_against():
    signed = np.zeros((40, 40))
    signed[:, :10], signed[:, 30:] = 0.4, -0.2
    panel = draw_panel(np.full((40, 40, 3), 100, np.uint8), {}, signed, None)
    assert panel.caption == "tile, SHAP"
    drawn = panel.image[:, 40:].astype(int)
    assert (drawn[:, :10, 0] > drawn[:, :10, 2] + 50).all()
    assert (drawn[:, 30:, 2] > drawn[:, 30:, 0] + 50).all()
    assert (drawn[:, 10:30] == 100).all()


def test_a_combination_of_filters_without_images_says_so():
    rows = pd.DataFrame(
        {
            "right": [True, False],
            "surface": ["deck", "wall"],
            "score": [0.9, 0.1],
            "label": [1, 1],
            "decision": [1, 0],
            "reason": ["confident and right", "confident and wrong"],
        }
    )
    panels = [Panel(np.zeros((4, 4, 3), np.uint8), "image")] * 2
    rules = re.findall(r"\.gallery-cnn((?::has\(\S+:checked\))+) \.nothing", _gallery(rows, panels, "cnn"))
    empty = {frozenset(re.findall(r'value="([\w-]+)"', rule)) for rule in rules}
    assert frozenset({"score-middle"}) in empty
    assert frozenset({"right", "surface-wall"}) in empty
    assert frozenset({"wrong", "surface-deck"}) in empty
    assert not any(choice <= {"right", "surface-deck", "score-high"} for choice in empty)
    assert not any(choice <= {"wrong", "surface-wall", "score-low"} for choice in empty)
