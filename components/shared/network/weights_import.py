"""Convert a weights file of another program to safetensors with timm's names of the tensors, and with metadata.

Two ways lead to timm's names. If the names are timm's with a prefix, such as `model.` in a checkpoint of Lightning, the
prefix is removed. Otherwise, tensors are matched by position, if the order, the shapes and the last parts of the names
(weight, bias, running_mean, running_var) are those of timm.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import timm
from safetensors.torch import save_file

from components.shared.atomic_file import atomic_file
from components.shared.errors import InputError
from components.shared.network.model_info import ModelInfo
from components.shared.network.network import build_network, check_architecture, describe, find_heads, try_on_tiles
from components.shared.network.pretrained import Tensors, difference, read_weights
from components.shared.network.weights_metadata import WeightsMetadata, read_metadata

KINDS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Imported:
    """The result of an import.

    Attributes:
        info: The description of a network with these weights.
        tensors: Number of tensors in the written file.
        way: How the names were found, in words.
    """

    info: ModelInfo
    tensors: int
    way: str


def import_weights(
    source: Path, target: Path, metadata: WeightsMetadata, input_size: int, prefix: str | None = None
) -> Imported:
    """Convert a weights file, check the result as a training does, and write it.

    Args:
        source: A state dict of PyTorch, a checkpoint of Lightning, or safetensors.
        target: The safetensors file to write. It is complete, or it is not written.
        metadata: What the new file says about itself. If it has no mean and std, the new file has those of timm.
        input_size: Height and width of the tiles that the network is tried on, pixels.
        prefix: The prefix of the names in the file; None: it is found.

    Raises:
        InputError: The file cannot be read, does not fit the architecture, or its values cannot be those of a trained
            network. Or `target` cannot be written.
    """
    architecture = metadata.architecture
    check_architecture(architecture)
    if target.suffix != ".safetensors":
        raise InputError(f'the file to write is "{target}"; its name must end in .safetensors')

    with atomic_file(target) as unfinished, tempfile.TemporaryDirectory() as scratch:
        try:
            if read_metadata(source).architecture:
                raise InputError("the file was imported before; set weights to this file")
            tensors, way = _renamed(read_weights(source), architecture, prefix, source.suffix != ".safetensors")
        except InputError as error:
            raise InputError(f'"{source}" cannot be imported as {architecture}: {error}') from error

        converted = Path(scratch) / "weights.safetensors"
        given = {"mean": metadata.mean, "std": metadata.std, "interpolation": metadata.interpolation}
        expected = describe(architecture, "none", input_size, 0, given)
        complete = metadata.model_copy(update={"mean": expected.mean, "std": expected.std})
        save_file(tensors, converted, complete.texts())
        info = _checked(converted, source, architecture, input_size)
        shutil.copyfile(converted, unfinished)
    return Imported(info, len(tensors), way)


def _checked(converted: Path, source: Path, architecture: str, input_size: int) -> ModelInfo:
    """Make the checks of a training. An error names the file of the user, not the converted file."""
    try:
        network = build_network(describe(architecture, str(converted), input_size, seed=0)).eval()
        try_on_tiles(network)
    except InputError as error:
        raise InputError(str(error).replace(str(converted), str(source))) from error
    return network.info


def _renamed(found: Tensors, architecture: str, prefix: str | None, is_ordered: bool) -> tuple[Tensors, str]:
    """Return the tensors with timm's names, and how the names were found."""
    network = timm.create_model(architecture)
    heads = find_heads(network)
    head_prefixes = tuple(f"{name}." for name, module in network.named_modules() if module in heads)
    expected = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    backbone = {name: tensor for name, tensor in expected.items() if not name.startswith(head_prefixes)}

    prefixes = _prefixes(backbone, found) if prefix is None else [prefix]
    if len(prefixes) > 1:
        shown = ", ".join(f'"{each}"' for each in prefixes)
        raise InputError(f"the file has several sets of weights, under the prefixes {shown}; choose one with --prefix")
    if prefixes and not any(name.startswith(prefixes[0]) for name in found):
        raise InputError(f'no name in the file begins with "{prefix}", the value of --prefix; leave --prefix out')
    if prefixes:
        return _without_prefix(found, prefixes[0]), f'by the names under the prefix "{prefixes[0]}"'

    floating = {name: tensor for name, tensor in found.items() if tensor.is_floating_point()}
    for candidates in (expected, backbone):
        if is_ordered and _same_order(candidates, floating, head_prefixes):
            copies = [tensor.contiguous().clone() for tensor in floating.values()]
            return dict(zip(candidates, copies, strict=True)), "by the order and the shapes of the tensors"
    raise InputError(difference(backbone, floating) or "the tensors do not have the names of timm")


def _prefixes(expected: Tensors, found: Tensors) -> list[str]:
    """Return the prefixes under which the file has all expected names. The prefix "" means timm's own names."""
    first = next(iter(expected))
    prefixes = []
    for name in found:
        prefix = name.removesuffix(first)
        is_prefix = name.endswith(first) and prefix in ("", f"{prefix.rstrip('.')}.")
        if is_prefix and all(f"{prefix}{other}" in found for other in expected):
            prefixes.append(prefix)
    return prefixes


def _without_prefix(found: Tensors, prefix: str) -> Tensors:
    tensors = {}
    for name, tensor in found.items():
        if name.startswith(prefix):
            # The copy has memory of its own. Safetensors refuses tensors that share memory.
            tensors[name.removeprefix(prefix)] = tensor.contiguous().clone()
    return tensors


def _same_order(expected: Tensors, found: Tensors, head_prefixes: tuple[str, ...]) -> bool:
    """Return whether two lists of tensors agree in shapes and kinds. A head may have another number of classes."""
    if len(expected) != len(found):
        return False
    for (name, tensor), (other_name, other) in zip(expected.items(), found.items(), strict=True):
        kind, other_kind = name.rpartition(".")[2], other_name.rpartition(".")[2]
        if other_kind in KINDS and kind in KINDS and kind != other_kind:
            return False
        same_shape = tensor.shape == other.shape
        is_head = name.startswith(head_prefixes) and tensor.shape[1:] == other.shape[1:]
        if not (same_shape or is_head):
            return False
    return True
