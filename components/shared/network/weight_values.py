"""Check that pretrained weights have values that are possible in a trained network."""

from collections.abc import Callable

import torch

from components.shared.errors import InputError

NAMES_SHOWN = 3
# Limits for the standard deviation of the values of one tensor. In trained networks, it is between 1e-4 and 10.
SMALLEST_SPREAD = 1e-6
LARGEST_SPREAD = 1e3
# If the embeddings of clearly different tiles differ less than this, relative to their length, they are the same within
# the precision of float32.
SMALLEST_DIFFERENCE = 1e-6
# Embeddings of trained networks have values up to about 100.
LARGEST_EMBEDDING = 1e6


def check_values(tensors: dict[str, torch.Tensor]) -> None:
    """Check the values of a weights file.

    Args:
        tensors: Name -> tensor. Tensors of integers are not checked.

    Raises:
        InputError: Values are NaN, infinite, constant, too small or too large. Or the normalisation layers have
            impossible statistics or weights. The message gives only the cause.
    """
    floating = {name: tensor.float() for name, tensor in tensors.items() if tensor.is_floating_point()}
    weights = {name: tensor for name, tensor in floating.items() if _is_matrix(name, tensor)}
    variances = {name: tensor for name, tensor in floating.items() if name.endswith("running_var")}
    scales = {name: tensor for name, tensor in floating.items() if name.endswith(".weight") and tensor.ndim == 1}

    _refuse_if("values are NaN or infinite", floating, lambda tensor: not tensor.isfinite().all())
    _refuse_if("all values are the same", weights, lambda tensor: bool(tensor.min() == tensor.max()))
    _refuse_if("variances are negative", variances, lambda tensor: bool((tensor < 0).any()))
    _refuse_if("all variances are 0", variances, lambda tensor: not tensor.any())
    # The initial weights of some networks are 0 in the last normalisation layer of each block, but not in all layers.
    if not any(tensor.any() for tensor in scales.values()):
        _refuse("all weights of the normalisation layers are 0", list(scales))

    _refuse_if(
        f"values have a standard deviation above {LARGEST_SPREAD:g}",
        weights,
        lambda tensor: tensor.std().item() > LARGEST_SPREAD,
    )
    # Weight decay can make a few tensors of a trained network tiny, but not most of them.
    too_small = [name for name, tensor in weights.items() if tensor.std().item() < SMALLEST_SPREAD]
    if 2 * len(too_small) > len(weights):
        _refuse(f"values have a standard deviation below {SMALLEST_SPREAD:g}", too_small)


def check_embeddings(embeddings: torch.Tensor) -> None:
    """Check the embeddings that a network with pretrained weights computed from clearly different tiles.

    Args:
        embeddings: Floating, (tiles, D).

    Raises:
        InputError: An embedding has a value that is NaN, infinite or too large, or all embeddings are almost the same.
            The message gives only the cause.
    """
    embeddings = embeddings.double()
    largest = embeddings.abs().max().item()
    if not largest < LARGEST_EMBEDDING:
        raise InputError(
            f"the network's embeddings have values up to {largest:.3g}, but every value must be below "
            f"{LARGEST_EMBEDDING:g}; use another file"
        )

    difference = (embeddings - embeddings[0]).norm(dim=1).max()
    if difference <= SMALLEST_DIFFERENCE * embeddings.norm(dim=1).max():
        raise InputError("the network has the same embedding for clearly different tiles; use another file")


def shown_names(names: list[str]) -> str:
    """Return the first few names, and the number of the remaining names."""
    shown = ", ".join(names[:NAMES_SHOWN])
    rest = len(names) - NAMES_SHOWN
    return shown if rest <= 0 else f"{shown} and {rest} more"


def _is_matrix(name: str, tensor: torch.Tensor) -> bool:
    return name.endswith(".weight") and tensor.ndim > 1 and tensor.numel() > 1


def _refuse_if(cause: str, tensors: dict[str, torch.Tensor], is_wrong: Callable[[torch.Tensor], bool]) -> None:
    _refuse(cause, [name for name, tensor in tensors.items() if is_wrong(tensor)])


def _refuse(cause: str, names: list[str]) -> None:
    if names:
        raise InputError(f"{cause} in {shown_names(names)}; use another file")
