"""All maps of an image: both methods, and the two baselines that know nothing of the network."""

import numpy as np
import torch
from torch import nn

from components.explain.baselines import edge_maps, random_maps
from components.explain.config import ExplainConfig
from components.explain.faithfulness import blurred
from components.explain.grad_cam import find_target, grad_cam
from components.explain.kernel_shap import find_regions, kernel_shap, margin_of
from components.shared.network.network import Network, build_network

GRAD_CAM, SHAP = METHODS = ("grad_cam", "shap")
RANDOM, EDGES = BASELINES = ("random_map", "edge_filter")


def draw_maps(
    network: Network, images: torch.Tensor, tried: int, config: ExplainConfig, seed: int, draw: int = 0
) -> dict[str, np.ndarray]:
    """Map images for the class crack by both methods and both baselines.

    Args:
        network: In eval mode.
        images: uint8 (N, 3, H, W), on its device.
        tried: Of the first how many there is a KernelSHAP, which costs most.
        config: Regions, coalitions, blur.
        seed: Of the coalitions and the random maps.
        draw: Which of the seed's random maps.

    Returns:
        Name -> float32 (N, H, W); of KernelSHAP (min(tried, N), H, W), signed.
    """
    target, size = find_target(network), network.input_size
    first = images[:tried]
    return {
        GRAD_CAM: grad_cam(network, target, images, True, config.batch_size),
        SHAP: explain_signed(network, first, blurred(first, config.blur * size), config, seed),
        RANDOM: random_maps(len(images), size, target.grid, seed + draw),
        EDGES: edge_maps(images.permute(0, 2, 3, 1).cpu().numpy()),
    }


def explain_signed(
    network: Network, images: torch.Tensor, hidden: torch.Tensor, config: ExplainConfig, seed: int
) -> np.ndarray:
    """KernelSHAP of images as the configuration says: float32 (N, H, W), above 0 for crack."""
    margin, regions = margin_of(network, config.precision), find_regions(network, images, config.shap.regions)
    return kernel_shap(margin, images, hidden, regions, config.shap.coalitions, config.batch_size, seed)


def random_network(network: Network, seed: int) -> Network:
    """The network before it learnt anything, also where timm starts heads at zero: those answer alike to all images."""
    random = build_network(network.info.model_copy(update={"weights": "none", "seed": seed})).eval()
    generator = torch.Generator().manual_seed(seed)
    for weights in random.parameters():
        if weights.ndim > 1 and not weights.any():
            nn.init.normal_(weights, std=0.02, generator=generator)
    return random.to(network.mean.device).to(memory_format=torch.channels_last)
