"""Draw all maps of an image. Two methods explain the network, and two baselines do not use the network."""

import numpy as np
import torch
from torch import nn

from components.explain.baselines import edge_maps, random_maps
from components.explain.config import ExplainConfig
from components.explain.faithfulness import blurred
from components.explain.kernel_shap import find_regions, kernel_shap, margin_of
from components.shared.network.grad_cam import Cam, grad_cam
from components.shared.network.network import Network, build_network

GRAD_CAM, SHAP = "grad_cam", "shap"
RANDOM, EDGES = "random_map", "edge_filter"
METHODS = (GRAD_CAM, SHAP)
BASELINES = (RANDOM, EDGES)
# Some weights of a random network are zero. We replace them by random weights with this standard deviation.
ZERO_WEIGHTS_SPREAD = 0.02


def draw_maps(
    network: Network,
    cam: Cam,
    images: torch.Tensor,
    shap_images: int,
    config: ExplainConfig,
    seed: int,
    draw: int = 0,
) -> dict[str, np.ndarray]:
    """Draw the maps that explain the class crack: for each image, one map from each method and each baseline.

    Args:
        network: In eval mode.
        cam: Layer and method of the Grad-CAM map.
        images: uint8 (N, 3, H, W), on the network's device.
        shap_images: Only the first `shap_images` images get a KernelSHAP map, because it takes more time than the other
            maps.
        config: Gives the regions, the coalitions and the blur.
        seed: Seed of the coalitions and the random maps.
        draw: A number that is added to the seed of the random maps, to get other random maps.

    Returns:
        Name of the map -> float32 (N, H, W). The KernelSHAP map is (min(shap_images, N), H, W), and its values can be
        below 0.
    """
    size = network.input_size
    pixels = images.permute(0, 2, 3, 1).cpu().numpy()
    first = images[:shap_images]
    hidden = blurred(first, config.blur * size)
    return {
        GRAD_CAM: grad_cam(network, cam, images, True, config.batch_size),
        SHAP: explain_signed(network, first, hidden, config, seed),
        RANDOM: random_maps(len(images), size, cam.target.grid, seed + draw),
        EDGES: edge_maps(pixels),
    }


def explain_signed(
    network: Network, images: torch.Tensor, hidden: torch.Tensor, config: ExplainConfig, seed: int
) -> np.ndarray:
    """Return KernelSHAP maps, float32 (N, H, W).

    A region with a value above 0 makes P(crack) higher, and a region with a value below 0 makes P(crack) lower.

    Args:
        network: In eval mode.
        images: uint8 (N, 3, H, W), on the network's device.
        hidden: uint8 (N, 3, H, W), the pixels that replace hidden regions.
        config: Gives the regions and the coalitions.
        seed: Seed of the coalitions.
    """
    margin = margin_of(network, config.precision)
    regions = find_regions(network, images, config.shap.regions)
    return kernel_shap(margin, images, hidden, regions, config.shap.coalitions, config.batch_size, seed)


def random_network(network: Network, seed: int) -> Network:
    """Return a network of the same architecture with random weights.

    In some networks of timm, all weights of the head start at zero. Such a network gives the same answer to all images.
    So we replace these weights by random weights too.
    """
    random = build_network(network.info.model_copy(update={"weights": "none", "seed": seed})).eval()
    generator = torch.Generator().manual_seed(seed)
    for weights in random.parameters():
        if weights.ndim > 1 and not weights.any():
            nn.init.normal_(weights, std=ZERO_WEIGHTS_SPREAD, generator=generator)
    return random.to(network.mean.device).to(memory_format=torch.channels_last)
