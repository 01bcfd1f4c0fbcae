"""Provide photos, and a network whose answers are known, because it calls dark cells a crack."""

import numpy as np
import pytest
import torch
from torch import nn

from components.ingest.sources.synthetic_photo import draw_photo
from components.shared.network.model_info import ModelInfo
from components.shared.network.network import Network


class DarkPatches(nn.Module):
    """Divides an image into sixteen cells. The logit of crack grows with the darkness of dark cells.

    The logit of no_crack is minus the logit of crack.
    """

    def __init__(self, size: int):
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(3, 2, size // 4, stride=size // 4), nn.ReLU())
        self.head = nn.Linear(2, 2)
        self.feature_info = [{"module": "stage", "num_chs": 2, "reduction": size // 4}]
        with torch.no_grad():
            conv = self.stage[0]
            conv.weight.copy_(torch.stack([-torch.ones_like(conv.weight[0]), torch.zeros_like(conv.weight[0])]))
            conv.weight /= conv.weight[0].numel()
            conv.bias.copy_(torch.tensor([-0.2, 1.0]))
            self.head.weight.copy_(torch.tensor([[-80.0, 0.0], [80.0, 0.0]]))
            self.head.bias.copy_(torch.tensor([1.0, -1.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.stage(images).mean(dim=(2, 3)))


@pytest.fixture
def dark_network() -> Network:
    """Return a network for images of 64 px. It answers crack if a cell of 16 px is dark in a grey image."""
    info = ModelInfo(architecture="test_resnet", input_size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return Network(DarkPatches(64), info).eval()


@pytest.fixture
def dark_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Return eight grey images, uint8 (8, 3, 64, 64), with one dark cell, and the masks of these cells, bool."""
    images = torch.full((8, 3, 64, 64), 128, dtype=torch.uint8)
    masks = torch.zeros((8, 64, 64), dtype=torch.bool)
    for index in range(8):
        top, left = 16 * (index % 4), 16 * ((3 * index + 1) % 4)
        masks[index, top : top + 16, left : left + 16] = True
    return torch.where(masks[:, None], torch.tensor(20, dtype=torch.uint8), images), masks


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """Three photos of 800 x 600 pixels."""
    return [draw_photo(number, seed=5, width=800, height=600).image for number in (1, 2, 3)]
