"""Read pretrained weights from a file, check them, and load them into a network of timm.

If the head is new, timm raises no error even if tensors outside the head are missing in the file. The missing tensors
keep their random values. So we check the file ourselves. The checks find files that are damaged, files of another
architecture, and weights that expect another normalisation.
"""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import nn

from components.shared.errors import InputError
from components.shared.network.weight_values import check_values, shown_names

Tensors = dict[str, torch.Tensor]
# A function that takes timm's options for the source of the weights (a dict). It returns a backbone with these weights.
Create = Callable[[dict], Any]

# If more than this share of the numbers in a file stays unused, the file belongs to a larger architecture.
LARGEST_UNUSED_SHARE = 0.05
_BATCH_NORM_STATISTICS = ("running_mean", "running_var")

# Name -> means and standard deviations per channel that published weights expect.
NORMALISATIONS = {
    "ImageNet's mean and std": (torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])),
    "mean 0.5 and std 0.5": (torch.full((3,), 0.5), torch.full((3,), 0.5)),
    "mean 0 and std 1": (torch.zeros(3), torch.ones(3)),
}
# Limits for the result of `_misfit`, which is the natural logarithm of a ratio of variances. The results for any two
# normalisations differ by at least 1.4.
FITS_BELOW = 0.6
MISFITS_ABOVE = 0.9


def read_weights(path: Path) -> Tensors:
    """Read a weights file (safetensors, a state dict of PyTorch, or npz) and return a dict: name -> tensor.

    Raises:
        InputError: The file is not a weights file, it is damaged, or its values cannot be those of a trained network.
            The message gives only the cause. The caller adds the name of the file.
    """
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if not start:
        raise InputError("the file is empty; download it again")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputError("the file is a web page, probably an error page; download the weights again")
    if start.startswith(b"version https://git-lfs"):
        raise InputError('the file is a pointer of Git LFS; fetch its content with "git lfs pull"')

    tensors = _read_tensors(path)
    check_values(tensors)
    return tensors


def _read_tensors(path: Path) -> Tensors:
    no_state_dict = (
        "the file does not contain a state dict (tensors by name); save it again with "
        "torch.save(model.state_dict(), FILE)"
    )
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays}
        found = load_state_dict(str(path))
    except (SafetensorError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise InputError(_reading_error(error)) from error
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(no_state_dict) from error

    tensors = {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise InputError(no_state_dict)
    return tensors


def _reading_error(error: Exception) -> str:
    if not isinstance(error.__cause__, UnpicklingError):
        return f"the file is damaged or incomplete; download it again ({str(error).splitlines()[0][:120]})"
    if "Unsupported globals" in str(error):  # timm lists the objects that PyTorch refused
        return (
            "the file contains Python objects that could run code; save it again from PyTorch with "
            "torch.save(model.state_dict(), FILE)"
        )
    return "the file does not have a known format of weights; give safetensors or a state dict of PyTorch"


def create_pretrained(
    create: Create, path: Path, find_heads: Callable[[Any], list[nn.Module]]
) -> tuple[Any, tuple[str, ...]]:
    """Create a backbone with the weights of a file. Only the head is new.

    Args:
        create: Function that creates the backbone. Its argument is a dict of timm's options for the weights. If the
            dict is empty, the weights are random.
        path: The weights file.
        find_heads: Function that returns the head modules of a backbone.

    Returns:
        The backbone, and the names of the tensors that timm resampled because they were made for another input size.

    Raises:
        InputError: The file cannot be used for this architecture. The message gives the cause only.
    """
    tensors = read_weights(path)
    random = create({})
    heads = find_heads(random)
    head_prefixes = tuple(f"{name}." for name, module in random.named_modules() if module in heads)
    expected = _without_head(random.state_dict(), head_prefixes)
    found = _without_head(tensors, head_prefixes)

    # If the file uses other names, timm converts them. Then we cannot know which tensors are not used.
    has_all_names = all(name in found for name in expected)
    unused = [name for name in found if name not in expected and "aux" not in name.lower()]
    if has_all_names and _count(found, unused) > LARGEST_UNUSED_SHARE * _count(found, list(found)):
        raise InputError(difference(expected, found))

    try:
        backbone = create(_source(path, tensors))
        not_loaded = [name for name in _not_loaded(backbone, create, path, tensors) if name in expected]
    except (OSError, RuntimeError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise InputError(difference(expected, found) or str(error).splitlines()[0]) from error
    if not_loaded:
        raise InputError(
            difference(expected, found) or f"the file lacks {shown_names(not_loaded)}. Use weights of this architecture"
        )
    resampled = [name for name in expected if name in found and expected[name].numel() != found[name].numel()]
    return backbone, tuple(resampled)


def _without_head(tensors: Tensors, head_prefixes: tuple[str, ...]) -> Tensors:
    """Return the floating-point tensors outside the head."""
    return {
        name: tensor
        for name, tensor in tensors.items()
        if tensor.is_floating_point() and not name.startswith(head_prefixes)
    }


def _source(path: Path, tensors: Tensors) -> dict:
    if path.suffix == ".npz":
        return {"file": str(path), "custom_load": True}
    return {"state_dict": dict(tensors)}


def _not_loaded(backbone: Any, create: Create, path: Path, tensors: Tensors) -> list[str]:
    """Return the parameters and BatchNorm statistics that did not come from the file.

    timm converts names and shapes when it loads a file. So names alone do not show which parameters came from the file.
    We load the same weights a second time, with 1 added to each value. If a parameter is the same both times, it did
    not come from the file.
    """
    shifted = {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    with tempfile.TemporaryDirectory() as scratch:
        shifted_path = Path(scratch) / path.name
        if path.suffix == ".npz":
            arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in shifted.items()}
            np.savez(shifted_path, **arrays)
        other = create(_source(shifted_path, shifted)).state_dict()

    parameters = {name for name, _ in backbone.named_parameters()}
    return [
        name
        for name, tensor in backbone.state_dict().items()
        if (name in parameters or name.endswith(_BATCH_NORM_STATISTICS)) and torch.equal(tensor, other[name])
    ]


def difference(expected: Tensors, found: Tensors) -> str:
    """Describe how a file's names and shapes differ from those of the architecture. Return "" if they are equal."""
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    reshaped = [name for name in expected if name in found and found[name].shape != expected[name].shape]

    parts = []
    if missing:
        parts.append(f"the file lacks {shown_names(missing)}")
    if unexpected:
        parts.append(f"the file has {shown_names(unexpected)}, which the architecture does not have")
    if reshaped and not missing:
        first = reshaped[0]
        shapes = f"{first} is {tuple(found[first].shape)} in the file and {tuple(expected[first].shape)} in the network"
        parts.append(f"shapes differ in {shown_names(reshaped)}: {shapes}")
    return f"{'; '.join(parts)}. Use weights of this architecture" if parts else ""


def _count(tensors: Tensors, names: list[str]) -> int:
    return sum(tensors[name].numel() for name in names)


class _FirstBatchNormReachedError(Exception):
    """An exception that ends a forward pass early."""


def better_normalisation(backbone: Any, size: int, mean: torch.Tensor, std: torch.Tensor) -> str | None:
    """Return the normalisation that the pretrained weights expect, if it clearly differs from the given normalisation.

    The first BatchNorm of a network stores the variance that its inputs had during the pretraining. This variance is
    proportional to 1 / std^2. We run the network on random images that resemble natural images, and measure the
    variance of the BatchNorm's inputs. Then we compare the measured variance with the stored variance. If the network
    has no BatchNorm, we cannot find the expected normalisation.

    Args:
        backbone: The backbone with the pretrained weights; it is not changed.
        size: Height and width of the network's input images, pixels.
        mean: Given mean per channel, on the scale 0 to 1, float32 (3,).
        std: Given standard deviation per channel, on the same scale, float32 (3,).

    Returns:
        A key of `NORMALISATIONS`; None if the given normalisation may be right or cannot be checked.
    """
    images = draw_natural_images(4, size)
    if abs(_misfit(backbone, images, mean, std)) < MISFITS_ABOVE:
        return None
    for name, (other_mean, other_std) in NORMALISATIONS.items():
        if abs(_misfit(backbone, images, other_mean, other_std)) < FITS_BELOW:
            return name
    return None


def _misfit(backbone: Any, images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> float:
    """Return the median of ln(variance on the images / stored variance) over the channels of the first BatchNorm.

    The result is 0 if the backbone has no BatchNorm.
    """
    ratios: list[torch.Tensor] = []

    def compare(module: nn.BatchNorm2d, inputs: tuple[torch.Tensor, ...]) -> None:
        mean, remembered = module.running_mean, module.running_var
        # In a network that was never trained, all means are 0.
        if mean is not None and remembered is not None and bool(mean.any()):
            variance = inputs[0].var((0, 2, 3))
            ratios.append(torch.log((variance + module.eps) / (remembered + module.eps)))
        raise _FirstBatchNormReachedError

    modules = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [module.register_forward_pre_hook(compare) for module in modules]
    was_training = backbone.training
    with contextlib.suppress(_FirstBatchNormReachedError), torch.inference_mode():
        if hooks:
            backbone.eval()((images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))
    for hook in hooks:
        hook.remove()
    backbone.train(was_training)
    return ratios[0].median().item() if ratios else 0.0


def draw_natural_images(count: int, size: int) -> torch.Tensor:
    """Return random images, float32 (count, 3, size, size), with values from 0 to 1.

    The images have ImageNet's mean and standard deviation, and a spectrum that falls as 1 / f.

    Source: Field 1987, Relations between the statistics of natural images and the response properties of cortical
    cells.
    """
    generator = torch.Generator().manual_seed(1)
    rows = torch.fft.fftfreq(size)[:, None]
    columns = torch.fft.rfftfreq(size)[None]
    frequency = torch.sqrt(rows**2 + columns**2).clamp(min=1 / size)

    noise = torch.randn(count, 4, size, size, generator=generator)
    fields = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency, s=(size, size))
    fields = (fields - fields.mean((0, 2, 3), keepdim=True)) / fields.std((0, 2, 3), keepdim=True)

    # The channels of natural images are strongly correlated. So each channel is the sum of a field that all channels
    # share and a weaker field of its own.
    channels = 0.95 * fields[:, :1] + 0.3 * fields[:, 1:]
    mean, std = NORMALISATIONS["ImageNet's mean and std"]
    return (channels * std.view(1, 3, 1, 1) + mean.view(1, 3, 1, 1)).clamp(0, 1)
