"""Grad-CAM for any timm CNN or transformer: the target layer is found from the network itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from components.shared.network.network import Network

Reshape = Callable[[torch.Tensor], torch.Tensor]
MIN_GRID = 7  # cells


@dataclass(frozen=True)
class Target:
    """The layer whose activations Grad-CAM weighs.

    Attributes:
        name: Of the layer in the backbone, such as "layer4" or "blocks.11.norm1".
        layer: The module.
        reshape: Turns its output into (N, C, h, w).
        grid: h and w.
    """

    name: str
    layer: nn.Module
    reshape: Reshape
    grid: tuple[int, int]


def find_target(network: Network) -> Target:
    """Find the deepest layer that still knows where things are.

    A CNN gives the output of a stage, a transformer the first normalisation of a block: behind it the last block reads
    nothing but the class token, so that the patches' gradients, and with them the map, would be zero. Of the stages it
    is the deepest whose map has at least MIN_GRID cells a side, as the last stage has on tiles of 224 pixels: on
    smaller tiles the last stage of a CNN is too coarse to point at a crack. Where none is as fine, it is the last.

    Raises:
        InputError: The network tells of no such layer.
    """
    backbone: Any = network.backbone
    modules, layers = dict(backbone.named_modules()), {}
    for stage in getattr(backbone, "feature_info", None) or []:
        in_blocks = hasattr(backbone, "patch_embed") and f"{stage['module']}.norm1" in modules
        name = f"{stage['module']}.norm1" if in_blocks else stage["module"]
        if name in modules:
            layers[name] = stage["num_chs"]
    shapes = _output_shapes(network, {name: modules[name] for name in layers})
    found = [_target(network, name, modules[name], shapes[name], layers[name]) for name in reversed(layers)]
    targets = [target for target in found if target is not None]
    if not targets:
        raise InputError(
            f"no layer of {network.info.architecture} is known to Grad-CAM: none of its stages "
            f"({', '.join(layers) or 'it names none'}) gives a map; choose a timm CNN or vision transformer"
        )
    return next((target for target in targets if min(target.grid) >= MIN_GRID), targets[0])


def patch_grid(network: Network) -> tuple[int, int] | None:
    """Rows and columns of the patches in which the network reads an image; None where it tells of none."""
    backbone: Any = network.backbone
    reader = getattr(backbone, "patch_embed", getattr(backbone, "stem", None))
    grid = getattr(reader, "grid_size", None)
    return (int(grid[0]), int(grid[1])) if grid is not None else None


def _target(network: Network, name: str, layer: nn.Module, shape: tuple[int, ...], channels: int) -> Target | None:
    if len(shape) == 4 and shape[1] == channels:
        return Target(name, layer, _as_it_is, (shape[2], shape[3]))
    if len(shape) == 4 and shape[3] == channels:
        return Target(name, layer, _channels_first, (shape[1], shape[2]))
    grid = patch_grid(network)
    if len(shape) == 3 and shape[2] == channels and grid is not None:
        prefix = shape[1] - grid[0] * grid[1]
        # a class token may join later than this layer
        if prefix in (0, getattr(network.backbone, "num_prefix_tokens", 0)):
            return Target(name, layer, _patches(prefix, grid), grid)
    return None


def grad_cam(network: Network, target: Target, images: torch.Tensor, crack: bool, batch_size: int) -> np.ndarray:
    """Map where each image speaks for a class.

    Args:
        network: In eval mode.
        target: From `find_target`.
        images: uint8 (N, 3, H, W).
        crack: The class whose evidence is mapped: crack, or no_crack.
        batch_size: Images in a pass.

    Returns:
        float32 (N, H, W), each map scaled to [0, 1]. A map of zeros: the layer holds nothing in favour of the class.

    Raises:
        InputError: No image's layer has a gradient: it takes no part in the answer. Or a map is not finite.

    Source: Selvaraju et al. 2017, eq. 1 and 2, in the pytorch-grad-cam library, which scales each map by its own
        minimum and maximum and enlarges it bilinearly.
    """
    maps, moved = [], False
    with torch.enable_grad(), GradCAM(network, [target.layer], target.reshape) as cam:
        for batch in images.split(batch_size):
            maps.append(cam(batch, [ClassifierOutputTarget(int(crack))] * len(batch)))
            moved |= any(bool(gradient.any()) for gradient in cam.activations_and_grads.gradients)
    network.zero_grad(set_to_none=True)
    if not moved:
        raise InputError(
            f"Grad-CAM of {network.info.architecture} for {CLASSES[int(crack)]} is zero everywhere: layer "
            f'"{target.name}" has no gradient, so the answer does not depend on it'
        )
    found = np.concatenate(maps).astype(np.float32)
    if not np.isfinite(found).all():
        raise InputError(
            f"Grad-CAM of {network.info.architecture} for {CLASSES[int(crack)]} is not finite; the network's training "
            "diverged: lower the learning rate"
        )
    peaks = found.max(axis=(1, 2), keepdims=True)
    return found / np.where(peaks > 0, peaks, 1)  # the library leaves maps of small gradients below 1


def _output_shapes(network: Network, layers: dict[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def remember(name: str) -> Callable:
        return lambda module, args, output: shapes.update({name: tuple(getattr(output, "shape", ()))})

    handles = [layer.register_forward_hook(remember(name)) for name, layer in layers.items()]
    size = network.input_size
    with torch.inference_mode():
        network(torch.zeros(1, 3, size, size, dtype=torch.uint8, device=network.mean.device))
    for handle in handles:
        handle.remove()
    return {name: shapes.get(name, ()) for name in layers}


def _as_it_is(output: torch.Tensor) -> torch.Tensor:
    return output


def _channels_first(output: torch.Tensor) -> torch.Tensor:
    return output.permute(0, 3, 1, 2)


def _patches(prefix: int, grid: tuple[int, int]) -> Reshape:
    def reshape(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, prefix:].unflatten(1, tuple(grid)).permute(0, 3, 1, 2)

    return reshape
