import copy
import hashlib
import json
import re

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from components.explain import maps, progress_lines
from components.explain.config import ExplainConfig, ShapConfig
from components.explain.image_choice import decide
from components.explain.maps import random_network
from components.explain.run import MEASUREMENTS, PAGE, Tiles, explain_network
from components.shared.data.manifest import make_manifest
from components.shared.data.shards import Member, ShardReader, write_shards
from components.shared.errors import InputError
from components.shared.network.resize import Resize
from components.shared.results.calibration import Calibration
from components.shared.results.measurements import read_measurements

CONFIG = ExplainConfig(
    shown=12,
    measured=12,
    resamples=200,
    precision="fp32",
    candidate="dark",
    road=(80.0,),
    shap=ShapConfig(regions=16, coalitions=64, sensitivity=4),
)
NO_VALIDATION = pd.DataFrame({"sample_id": [], "group_id": [], "label": []})
PLAIN = 3  # of four images the last has no dark cell


def drawn_tile(index: int, masked: bool = True, scale: int = 1) -> Member:
    """Return a grey tile of 64 px with fine bright lines and, in most tiles, one dark cell with soft edges.

    An edge filter marks the lines, not the dark cell.
    """
    rng = np.random.default_rng(index)
    image = np.clip(rng.normal(120, 4, (64, 64, 3)), 0, 255)
    image[:, rng.integers(0, 64, 2)] = 255
    mask = np.zeros((64, 64), np.uint8)
    if index % 4 != PLAIN:
        top, left = 16 * rng.integers(0, 4, 2)
        mask[top : top + 16, left : left + 16] = 255
        image = np.where(mask[..., None] > 0, 50, image)
    image, mask = (np.repeat(np.repeat(part, scale, 0), scale, 1) for part in (image, mask))
    data = cv2.imencode(".png", image.astype(np.uint8))[1].tobytes()
    mask_data = cv2.imencode(".png", mask)[1].tobytes() if masked and mask.any() else None
    return Member(hashlib.sha256(data).hexdigest(), data, ".png", mask_data, ".png")


def make_tiles(folder, masked: bool = True, scale: int = 1) -> Tiles:
    members = [drawn_tile(index, masked, scale) for index in range(40)]
    places = write_shards(members, folder / "shards")
    table = pd.DataFrame([vars(place) for place in places]).assign(
        path="drawn", source="drawn", width=64, height=64, phash="0" * 16
    )
    table["label"] = [int(index % 4 != PLAIN) for index in range(40)]
    table["surface"] = ["wall" if index % 2 else "deck" for index in range(40)]
    table["group_id"] = [f"photo{index // 4}" for index in range(40)]
    table["mask_id"] = table["sample_id"].where(table["mask_offset"].notna(), None)
    return Tiles(make_manifest(table), ShardReader(folder), Resize(64))


def predict(network, tiles: Tiles, deaf_to: int = 0) -> pd.DataFrame:
    """Return the network's answers. In the first `deaf_to` rows, the answer is always a certain "no crack"."""
    table = tiles.rows.reset_index()[["sample_id", "label", "surface", "group_id"]]
    with torch.inference_mode():
        logits = network(tiles.images(table["sample_id"])).double().numpy()
    logits[:deaf_to] = (9, -9)
    return decide(table.assign(logit_0=logits[:, 0], logit_1=logits[:, 1]), Calibration())


def measured_in(folder) -> dict:
    return {row.name: row for row in read_measurements(folder / MEASUREMENTS)}


@pytest.fixture
def explained(dark_network, tmp_path):
    tiles = make_tiles(tmp_path / "version")
    out = tmp_path / "out"
    out.mkdir()
    explain_network(
        dark_network, predict(dark_network, tiles, deaf_to=6), NO_VALIDATION, tiles, Calibration(), CONFIG, 1, out
    )
    return out


def test_a_network_that_looks_at_the_crack_beats_the_edge_filter(explained):
    found = measured_in(explained)
    assert found["grad_cam.pointing_game"].value == 1
    assert (
        found["grad_cam.pointing_game_over_edge_filter"].value > 0
    )  # 4 of 12 images are too few for an interval above 0
    assert found["grad_cam.energy_inside"].value > 0.5
    assert found["grad_cam.energy_ratio"].value == pytest.approx(16 * found["grad_cam.energy_inside"].value, rel=1e-6)
    assert found["random_map.energy_ratio"].value == pytest.approx(1, abs=0.3)
    assert found["grad_cam.deletion_auc_over_edge_filter"].low > 0
    assert found["grad_cam.insertion_auc_over_random_map"].low > 0
    assert found["grad_cam.noise_stability"].value > 0.8
    assert abs(found["grad_cam.random_weights_similarity"].value) < 0.5
    assert found["grad_cam.empty"].value == 0
    assert all(row.split == "robustness" for row in found.values())
    assert {row.n for row in found.values() if not row.name.startswith("shortcut")} == {12, CONFIG.shap.sensitivity}
    assert "Grad-CAM is <strong>measurably better than a plain edge filter" in (explained / PAGE).read_text()


def test_shap_is_measured_like_grad_cam_and_with_other_settings(explained):
    found = measured_in(explained)
    grad_cam = {name.removeprefix("grad_cam.") for name in found if name.startswith("grad_cam.")}
    shap = {name.removeprefix("shap.") for name in found if name.startswith("shap.")}
    assert grad_cam - shap == {"empty"}
    assert shap - grad_cam == {"baseline_similarity", "coalitions_similarity", "hidden_p_crack"}
    assert found["shap.pointing_game"].value > 0.9  # a superpixel may reach a little beyond the cell
    assert found["shap.energy_inside_over_edge_filter"].low > 0
    assert found["shap.deletion_auc_over_random_map"].low > 0
    assert found["shap.baseline_similarity"].n == 4
    assert found["shap.hidden_p_crack"].n == 12
    assert 0 < found["shap.coalitions_similarity"].value <= 1
    assert found["shap.pointing_game"].high <= 1
    assert "SHAP is measurably better than a plain edge filter" in (explained / PAGE).read_text()


def test_sanity_checks_are_also_made_for_baseline_maps(explained):
    found, page = measured_in(explained), (explained / PAGE).read_text()
    assert found["edge_filter.random_weights_similarity"].value == pytest.approx(
        1
    )  # the edge filter does not use the network
    assert abs(found["random_map.random_weights_similarity"].value) < 0.3
    assert abs(found["random_map.noise_stability"].value) < 0.3
    assert found["shap.noise_stability"].value > found["shap.random_weights_similarity"].value
    assert found["shap.noise_stability"].n == CONFIG.shap.sensitivity
    row = page[page.index("<td") :].split("noise stability")[1].split("</tr>")[0]
    assert row.count("<td") == 4
    assert "<li><em>noise stability</em>: rank correlation of two maps: one of the tile, one of the tile with a" in page


def test_a_random_network_has_no_head_of_zeros(dark_network, monkeypatch):
    """Many timm heads start at zero. Such a network gives every image the same answer, so it has no useful map."""
    blank = copy.deepcopy(dark_network)
    blank.backbone.head.weight.data.zero_()
    monkeypatch.setattr(maps, "build_network", lambda info: blank)
    assert random_network(dark_network, 3).backbone.head.weight.abs().min() > 0


def test_a_small_split_is_explained_with_a_warning(dark_network, tmp_path, caplog):
    tiles = make_tiles(tmp_path / "version")
    few = predict(dark_network, tiles).head(8)
    explain_network(dark_network, few, NO_VALIDATION, tiles, Calibration(), CONFIG, 1, tmp_path)
    assert "explanations of dark: The robustness split has only 8 tiles" in caplog.text
    page = (tmp_path / PAGE).read_text()
    assert "of the 8 tiles" in page
    assert "With fewer than 30 tiles, all numbers are imprecise" in page
    assert measured_in(tmp_path)["grad_cam.insertion_auc"].n == few["label"].sum()


def test_every_shown_image_has_its_panel(explained):
    panels = sorted(explained.glob("*.png"))
    page = (explained / PAGE).read_text()
    assert len(panels) == 12
    assert page.count("<figure class=") == 12
    wrong = [path for path in panels if "_wrong_" in path.name]
    assert 0 < len(wrong) <= 4
    assert cv2.imread(str(panels[0])).shape[0] == 64
    for verdict in ("right", "wrong"):
        assert len(re.findall(rf'<figure class="{verdict} ', page)) == sum(f"_{verdict}_" in p.name for p in panels)


def test_an_empty_map_is_named_and_not_drawn(explained):
    """The network finds no evidence for "no crack", so Grad-CAM is empty. The image is plain, so SHAP is empty."""
    page = (explained / PAGE).read_text()
    assert "tile, Grad-CAM for no crack is empty, SHAP is empty" in page
    plain = next(path for path in explained.glob("*_right_*_no_crack.png"))
    assert cv2.imread(str(plain)).shape == (64, 64, 3)


def test_the_same_seed_gives_the_same_numbers(explained, dark_network, tmp_path):
    tiles, again = make_tiles(tmp_path / "version2"), tmp_path / "again"
    again.mkdir()
    explain_network(
        dark_network, predict(dark_network, tiles, deaf_to=6), NO_VALIDATION, tiles, Calibration(), CONFIG, 1, again
    )
    first, second = ({name: row.value for name, row in measured_in(out).items()} for out in (explained, again))
    assert first == pytest.approx(second, abs=1e-6)
    assert (again / PAGE).read_bytes() == (explained / PAGE).read_bytes()


def test_without_masks_only_faithfulness_is_measured(dark_network, tmp_path):
    tiles = make_tiles(tmp_path, masked=False)
    explain_network(
        dark_network, predict(dark_network, tiles), NO_VALIDATION, tiles, Calibration(), CONFIG, 1, tmp_path
    )
    found = measured_in(tmp_path)
    assert np.isnan(found["grad_cam.pointing_game"].value)
    assert found["grad_cam.pointing_game"].note == "none of the measured tiles has a mask"
    assert found["grad_cam.insertion_auc_over_edge_filter"].low > 0
    assert "The network answered all tiles of the gallery correctly" in (tmp_path / PAGE).read_text()


def test_without_cracks_the_page_says_that_nothing_was_measured(dark_network, tmp_path):
    tiles = make_tiles(tmp_path)
    decided = predict(dark_network, tiles)
    explain_network(
        dark_network, decided[decided["label"] == 0], NO_VALIDATION, tiles, Calibration(), CONFIG, 1, tmp_path
    )
    found = measured_in(tmp_path)
    assert all(np.isnan(row.value) and "has no cracked tile" in row.note for row in found.values())
    assert "could not be measured" in (tmp_path / PAGE).read_text()


def test_images_larger_than_the_networks_input_are_explained_at_its_size(dark_network, tmp_path):
    tiles = make_tiles(tmp_path, scale=3)
    explain_network(
        dark_network, predict(dark_network, tiles), NO_VALIDATION, tiles, Calibration(), CONFIG, 1, tmp_path
    )
    assert measured_in(tmp_path)["grad_cam.pointing_game"].value == 1
    assert cv2.imread(str(next(tmp_path.glob("*_right_*_crack.png")))).shape[0] == 64


def test_logits_that_are_not_finite_are_an_error_and_leave_no_panels(dark_network, tmp_path):
    tiles = make_tiles(tmp_path)
    decided = predict(dark_network, tiles)
    with torch.no_grad():
        dark_network.backbone.head.bias[1] = torch.nan
    with pytest.raises(
        InputError, match=r"gives NaN or infinite answers, so no map can be computed. The training diverged"
    ):
        explain_network(dark_network, decided, NO_VALIDATION, tiles, Calibration(), CONFIG, 1, tmp_path)
    assert not list(tmp_path.glob("*.png"))


def test_too_few_coalitions_for_the_regions_are_refused():
    with pytest.raises(ValueError, match="coalitions is 40, but it must be at least 50, twice the value of regions"):
        ShapConfig(regions=25, coalitions=40)


def progress_notes(path) -> list[str]:
    events = [json.loads(line) for line in path.read_text().splitlines()]
    return [event["note"] for event in events if event["event"] == "progress"]


def test_every_stage_reports_progress_while_the_network_works(dark_network, tmp_path, monkeypatch):
    """Calls of the random network count too. A line is printed once the configured seconds have passed."""
    monkeypatch.setenv("CRACK_EVENTS", str(tmp_path / "events"))
    monkeypatch.setattr(progress_lines, "SECONDS_BETWEEN_LINES", 0)
    tiles = make_tiles(tmp_path / "version")
    decided = predict(dark_network, tiles)
    explain_network(dark_network, decided.head(20), decided.tail(20), tiles, Calibration(), CONFIG, 1, tmp_path)
    notes = progress_notes(tmp_path / "events")
    for stage in ("choosing the layer of Grad-CAM", "drawing explanations", "measuring explanations"):
        assert stage in notes
        lines = [note for note in notes if note.startswith(f"{stage}: ")]
        assert len(lines) >= 5
        assert re.search(r": the network has classified [\d,]+ images$", lines[-1])
    assert notes[-1] == "writing the page"
    assert progress_lines.SECONDS_BETWEEN_LINES < 20


def test_lines_are_some_seconds_apart(dark_network, tmp_path, monkeypatch):
    monkeypatch.setenv("CRACK_EVENTS", str(tmp_path / "events"))
    clock = iter(np.arange(0, 1000, 4.0))
    monkeypatch.setattr(progress_lines.time, "monotonic", lambda: next(clock))
    with progress_lines.progress_lines(stages=1) as lines, torch.inference_mode():
        lines.stage("looking")
        for _ in range(9):
            dark_network(torch.zeros((2, 3, 64, 64), dtype=torch.uint8))
    dark_network(torch.zeros((2, 3, 64, 64), dtype=torch.uint8))
    notes = progress_notes(tmp_path / "events")
    assert notes[0] == "looking"
    assert 2 <= len(notes) <= 4
    assert notes[1] == "looking: the network has classified 6 images"


def test_the_page_shows_which_layer_was_chosen_and_on_which_images(dark_network, tmp_path, caplog):
    tiles = make_tiles(tmp_path / "version")
    decided = predict(dark_network, tiles)
    explain_network(dark_network, decided.head(20), decided.tail(20), tiles, Calibration(), CONFIG, 1, tmp_path)
    page = (tmp_path / PAGE).read_text()
    assert "tried on 12 cracked tiles of the validation split" in page
    assert '<td class="short">HiResCAM</td>' in page
    assert "measurably more faithful" not in page
    assert "no layer gives a Grad-CAM map" not in caplog.text


def test_the_page_and_a_warning_say_if_no_layer_is_faithful(dark_network, tmp_path, caplog):
    """The images have no dark cells, which this network looks for, so its maps are empty."""
    tiles = make_tiles(tmp_path / "version")
    decided = predict(dark_network, tiles)
    bright = decided[decided["label"] == 0].assign(label=1)
    explain_network(dark_network, decided, bright, tiles, Calibration(), CONFIG, 1, tmp_path)
    assert "No Grad-CAM map is measurably more faithful than a random map" in (tmp_path / PAGE).read_text()
    assert "no layer gives a Grad-CAM map that is measurably more faithful than a random map" in caplog.text
