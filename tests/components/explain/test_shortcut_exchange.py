import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from components.explain.shortcut_exchange import (
    IRRELEVANT_PROPERTIES,
    Tile,
    choose_exchanged,
    measure_exchanges,
    with_border,
    with_colour_cast,
    with_compression,
    with_sharpness,
)
from components.explain.shortcut_page import add_shortcuts
from components.shared.network.model_info import ModelInfo
from components.shared.network.network import Network
from components.shared.page import Page
from components.shared.results.calibration import Calibration

SIZE = 64


class Looks(nn.Module):
    """A network that looks only at the pixels in `where`. It answers "crack" if these pixels are dark."""

    def __init__(self, where: torch.Tensor):
        super().__init__()
        self.where = nn.Parameter(where / where.sum())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        grey = (images.mean(dim=1) * self.where).sum(dim=(1, 2))
        return torch.stack([10 * grey, -10 * grey], dim=1)


def looking_at(border: bool) -> Network:
    where = torch.zeros(SIZE, SIZE)
    where[24:40, 24:40] = 1
    if border:
        where[:] = 0
        where[:4], where[-4:], where[:, :4], where[:, -4:] = 1, 1, 1, 1
    info = ModelInfo(architecture="test_resnet", input_size=SIZE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return Network(Looks(where), info).eval()


def drawn(label: int, number: int) -> bytes:
    """Return a tile as PNG. A tile with a crack has a dark middle and also a dark border."""
    pixels = np.clip(np.random.default_rng(number).normal(170, 6, (SIZE, SIZE, 3)), 0, 255)
    if label:
        inside = pixels[6:-6, 6:-6].copy()
        pixels -= 90
        pixels[6:-6, 6:-6] = inside
        pixels[24:40, 24:40] -= 90
    return cv2.imencode(".png", np.clip(pixels, 0, 255).astype(np.uint8))[1].tobytes()


@pytest.fixture(scope="module")
def site():
    """Prediction rows of 48 tiles of 12 photos, and their files."""
    labels = np.arange(48) % 2
    files = {f"t{number}": drawn(int(labels[number]), number) for number in range(48)}
    rows = pd.DataFrame({"sample_id": list(files), "label": labels, "group_id": [f"p{n // 4}" for n in range(48)]})
    return rows, files


def measured(network, rows, files, count=24):
    chosen = choose_exchanged(rows, count, seed=1)
    found = measure_exchanges(network, Calibration(), chosen, files.__getitem__, batch_size=16, resamples=200)
    return found, {row.name: row for row in found}


def test_a_network_that_looks_at_the_border_is_found_and_one_that_looks_at_the_crack_is_not(site, tmp_path):
    rows, files = site
    cheating, found = measured(looking_at(border=True), rows, files)
    assert found["shortcut_pull_border"].low > 0.5
    assert found["shortcut_flips_border"].value > 0.9
    assert found["shortcut_data_border"].value == 1
    for name in set(IRRELEVANT_PROPERTIES) - {"border"}:
        assert abs(found[f"shortcut_pull_{name}"].value) < 0.1

    honest, found = measured(looking_at(border=False), rows, files)
    assert abs(found["shortcut_pull_border"].value) < 0.05
    assert found["shortcut_data_border"].value == 1  # the border alone predicts the label
    assert found["shortcut_data_jpeg_quality"].value == 0.5

    for name, numbers in (("cheating", cheating), ("honest", honest)):
        page = Page(name)
        add_shortcuts(page, numbers)
        page.write(tmp_path / f"{name}.html")
    assert "uses an irrelevant property as a shortcut: border" in (tmp_path / "cheating.html").read_text()
    assert "No shortcut was found." in (tmp_path / "honest.html").read_text()


def test_partners_are_of_the_right_class_and_from_other_photos(site):
    rows, _ = site
    chosen = choose_exchanged(rows, 20, seed=3)
    assert chosen["label"].value_counts().to_dict() == {0: 10, 1: 10}
    of = rows.set_index("sample_id")
    for row in chosen.itertuples():
        assert of.loc[row.other, "label"] != row.label == of.loc[row.alike, "label"]
        assert row.group_id not in (of.loc[row.other, "group_id"], of.loc[row.alike, "group_id"])

    one_photo = choose_exchanged(rows.assign(group_id="p"), 20, seed=3)
    assert one_photo.empty
    assert measure_exchanges(looking_at(True), Calibration(), one_photo, {}.__getitem__, 16, 200) == []


def test_each_exchange_changes_its_property_only():
    rng = np.random.default_rng(0)
    tile = Tile(rng.integers(90, 160, (SIZE, SIZE, 3)).astype(np.uint8), None)
    red = cv2.GaussianBlur(tile.pixels, (0, 0), 3) + np.array([40, 0, -40])
    red = np.clip(red, 0, 255).astype(np.uint8)
    other = Tile(red, None)

    bordered = with_border(tile, other)
    assert (bordered[5:-5, 5:-5] == tile.pixels[5:-5, 5:-5]).all()
    assert (bordered[:5] == other.pixels[:5]).all()

    warm = Tile(with_colour_cast(tile, other), None)
    assert IRRELEVANT_PROPERTIES["colour_cast"].number(warm) == pytest.approx(
        IRRELEVANT_PROPERTIES["colour_cast"].number(other), abs=0.02
    )
    assert warm.pixels.mean() == pytest.approx(tile.pixels.mean(), abs=1)

    soft = Tile(with_sharpness(tile, other), None)
    assert IRRELEVANT_PROPERTIES["sharpness"].number(soft) < 0.4 * IRRELEVANT_PROPERTIES["sharpness"].number(tile)
    assert soft.pixels.mean() == pytest.approx(tile.pixels.mean(), abs=1)

    assert with_compression(tile, other) is tile.pixels  # not a JPEG file
    jpeg = Tile.of(cv2.imencode(".jpg", other.pixels, [cv2.IMWRITE_JPEG_QUALITY, 10])[1].tobytes())
    assert np.abs(with_compression(tile, jpeg).astype(int) - tile.pixels).mean() > 3
