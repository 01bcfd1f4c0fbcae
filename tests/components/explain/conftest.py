"""A network whose answer is known: it calls dark cells a crack."""

import pytest
import torch
from torch import nn

from components.shared.network.network import ModelInfo, Network


class DarkPatches(nn.Module):
    """Sixteen cells; the crack logit grows with the darkness of the dark cells, the other logit is its opposite."""

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
    """Takes images of 64 px; answers crack if a cell of 16 px is dark on a middle grey image."""
    info = ModelInfo(architecture="test_resnet", input_size=64, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return Network(DarkPatches(64), info).eval()


@pytest.fixture
def dark_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Eight grey images (8, 3, 64, 64) uint8, each with one dark cell, and masks (8, 64, 64) bool of that cell."""
    images = torch.full((8, 3, 64, 64), 128, dtype=torch.uint8)
    masks = torch.zeros((8, 64, 64), dtype=torch.bool)
    for index in range(8):
        top, left = 16 * (index % 4), 16 * ((3 * index + 1) % 4)
        masks[index, top : top + 16, left : left + 16] = True
    return torch.where(masks[:, None], torch.tensor(20, dtype=torch.uint8), images), masks
