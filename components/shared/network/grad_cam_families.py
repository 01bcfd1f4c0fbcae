"""Find the layers of a network that Grad-CAM can use, and convert their output to a map.

To add a family of networks, write a function like `_channels_first` that reads the output of this family. Then add the
function to FAMILIES.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from components.shared.errors import InputError
from components.shared.network.network import Network

Reshape = Callable[[torch.Tensor], torch.Tensor]
Grid = tuple[int, int]  # rows and columns
MIN_GRID_SIDE = 7


@dataclass(frozen=True)
class Reading:
    """How a layer's output is converted to a map.

    Attributes:
        reshape: Function that converts the output to (N, C, rows, columns).
        grid: Number of rows and columns.
    """

    reshape: Reshape
    grid: Grid


@dataclass(frozen=True)
class Target:
    """A layer whose activations Grad-CAM uses.

    Attributes:
        name: Name of the layer in the backbone, such as "layer4" or "blocks.11.norm1".
        layer: The layer's module.
        reshape: Function that converts the layer's output to (N, C, rows, columns).
        grid: Number of rows and columns.
    """

    name: str
    layer: nn.Module
    reshape: Reshape
    grid: Grid


def _channels_first(network: Network, shape: tuple[int, ...], channels: int) -> Reading | None:
    """Read the output (N, C, rows, columns) of ResNet, EfficientNet and others. Return None for other shapes."""
    if len(shape) != 4 or shape[1] != channels:
        return None
    return Reading(lambda output: output, (shape[2], shape[3]))


def _channels_last(network: Network, shape: tuple[int, ...], channels: int) -> Reading | None:
    """Read the output (N, rows, columns, C) of Swin and other window transformers. Return None for other shapes."""
    if len(shape) != 4 or shape[3] != channels:
        return None
    return Reading(lambda output: output.permute(0, 3, 1, 2), (shape[1], shape[2]))


def _patch_tokens(network: Network, shape: tuple[int, ...], channels: int) -> Reading | None:
    """Read the output (N, tokens, C) of ViT, DeiT, CaiT, Mixer and others. Return None for other shapes.

    Some of these networks have class tokens before the patch tokens.
    """
    grid = patch_grid(network)
    if len(shape) != 3 or shape[2] != channels or grid is None:
        return None
    rows, columns = grid
    prefix = shape[1] - rows * columns
    # Some networks add the class token only after this layer. Then all tokens of this layer are patch tokens.
    if prefix not in (0, getattr(network.backbone, "num_prefix_tokens", 0)):
        return None
    return Reading(lambda tokens: tokens[:, prefix:].unflatten(1, grid).permute(0, 3, 1, 2), grid)


FAMILIES = (_channels_first, _channels_last, _patch_tokens)


def patch_grid(network: Network) -> Grid | None:
    """Return the grid of a network that divides an image into patches: the numbers of rows and columns.

    Return None if the network does not use patches.
    """
    backbone: Any = network.backbone
    patch_reader = getattr(backbone, "patch_embed", getattr(backbone, "stem", None))
    grid = getattr(patch_reader, "grid_size", None)
    if grid is None:
        return None
    rows, columns = grid
    return int(rows), int(columns)


def find_targets(network: Network) -> list[Target]:
    """Find all layers that Grad-CAM can read, the deepest first.

    For a CNN, these layers are its stages. For a patch transformer, they are the first normalisation of each block. We
    do not use later layers of a block. After the first normalisation of the last block, the network uses only the class
    token, so the patches have no gradient in later layers.

    Raises:
        InputError: The network has no layer that Grad-CAM can read.
    """
    modules = dict(network.backbone.named_modules())
    channels = _layers_of_stages(network, modules)
    shapes = _output_shapes(network, {name: modules[name] for name in channels})

    targets = []
    for name in reversed(channels):
        reading = _read(network, shapes[name], channels[name])
        if reading is not None:
            targets.append(Target(name, modules[name], reading.reshape, reading.grid))
    if not targets:
        stages = ", ".join(channels) or "timm lists none"
        raise InputError(
            f"Grad-CAM cannot read any layer of {network.info.architecture}: none of its stages ({stages}) gives a "
            "map; choose another timm CNN or vision transformer"
        )
    return targets


def find_target(network: Network, preferred: str = "") -> Target:
    """Find the deepest layer whose map is fine enough: at least MIN_GRID_SIDE cells on each side.

    On images of 224 pixels, the map of the last stage of a CNN is fine enough. On smaller tiles, this map is too coarse
    to show where a crack is. If no layer has a map that is fine enough, the deepest layer is used.

    Args:
        network: The network whose layers are searched.
        preferred: Name of a layer. If Grad-CAM can read this layer, it is used, even if its map is not fine enough.

    Raises:
        InputError: The network has no layer that Grad-CAM can read.
    """
    targets = find_targets(network)
    for target in targets:
        if target.name == preferred:
            return target
    for target in targets:
        if min(target.grid) >= MIN_GRID_SIDE:
            return target
    return targets[0]


def _layers_of_stages(network: Network, modules: dict[str, nn.Module]) -> dict[str, int]:
    """Return the layers that Grad-CAM may use, one for each stage, in the network's order: name -> channels."""
    backbone: Any = network.backbone
    channels = {}
    for stage in getattr(backbone, "feature_info", None) or []:
        name = stage["module"]
        first_normalisation = f"{name}.norm1"
        if hasattr(backbone, "patch_embed") and first_normalisation in modules:
            name = first_normalisation
        if name in modules:
            channels[name] = stage["num_chs"]
    return channels


def _output_shapes(network: Network, layers: dict[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each layer's output for one image; () if the output is not a tensor."""
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(layers, ())

    def remember(name: str) -> Callable:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            shapes[name] = tuple(getattr(output, "shape", ()))

        return hook

    handles = [layer.register_forward_hook(remember(name)) for name, layer in layers.items()]
    size = network.input_size
    black = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=network.mean.device)
    with torch.inference_mode():
        network(black)
    for handle in handles:
        handle.remove()
    return shapes


def _read(network: Network, shape: tuple[int, ...], channels: int) -> Reading | None:
    for family in FAMILIES:
        reading = family(network, shape, channels)
        if reading is not None:
            return reading
    return None
