"""Draw Grad-CAM maps for the families of networks in grad_cam_families.py."""

from dataclasses import dataclass

import numpy as np
import torch
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from components.shared.network.grad_cam_families import Target
from components.shared.network.network import Network

# The methods weight the activations of a layer differently. Grad-CAM uses the mean gradient of each channel. HiResCAM
# and LayerCAM use the gradient of each cell, so their maps of early layers are finer.
CAM_METHODS = {"Grad-CAM": GradCAM, "HiResCAM": HiResCAM, "LayerCAM": LayerCAM}


@dataclass(frozen=True)
class Cam:
    """The kind of a class activation map: a layer, and a method that weights the activations of this layer.

    Attributes:
        target: The layer.
        method: A name in CAM_METHODS.
    """

    target: Target
    method: str = "Grad-CAM"


def grad_cam(network: Network, cam: Cam, images: torch.Tensor, crack: bool, batch_size: int) -> np.ndarray:
    """Return a map for each image. The map is high where the network sees evidence for a class.

    Args:
        network: The network, in eval mode.
        cam: Layer and method.
        images: uint8 (N, 3, H, W).
        crack: True for a map of the class crack, False for a map of the class no_crack.
        batch_size: Number of images in a forward pass.

    Returns:
        float32 (N, H, W), each map scaled to [0, 1]. A map of zeros means that the layer has no evidence for the class.

    Raises:
        InputError: A map is not finite, or the layer's gradient is zero for all images. With a zero gradient, the
            answer does not depend on the layer.

    Source: Selvaraju et al. 2017, eq. 1 and 2 (Grad-CAM); Draelos and Carin 2020 (HiResCAM); Jiang et al. 2021
        (LayerCAM). All are in the pytorch-grad-cam library, which scales each map by its own minimum and maximum and
        enlarges it bilinearly.
    """
    parts = []
    has_gradient = False
    weigh = CAM_METHODS[cam.method]
    with torch.enable_grad(), weigh(network, [cam.target.layer], cam.target.reshape) as library:
        for batch in images.split(batch_size):
            parts.append(library(batch, [ClassifierOutputTarget(int(crack))] * len(batch)))
            has_gradient |= any(bool(gradient.any()) for gradient in library.activations_and_grads.gradients)
    network.zero_grad(set_to_none=True)

    explained = f"{cam.method} of {network.info.architecture} for {CLASSES[int(crack)]}"
    if not has_gradient:
        raise InputError(
            f'{explained} is zero everywhere: layer "{cam.target.name}" has no gradient, so the '
            "network's answer does not depend on this layer; train the network again, or choose another architecture"
        )
    maps = np.concatenate(parts).astype(np.float32)
    if not np.isfinite(maps).all():
        raise InputError(f"{explained} has NaN or infinite values, because the training diverged; lower learning_rate")

    # If the gradients are small, the highest value in the library's map is below 1. So we scale the map again.
    peaks = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(peaks > 0, peaks, 1)
