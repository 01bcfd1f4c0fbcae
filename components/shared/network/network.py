"""Build a classifier of timm that takes raw tiles. It normalises the tiles itself, so no caller can do this wrongly."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import timm
import torch
from timm.layers import PatchEmbed
from torch import nn

from components.shared.errors import InputError
from components.shared.hashing import file_digest
from components.shared.network.model_info import ModelInfo
from components.shared.network.pretrained import better_normalisation, create_pretrained, draw_natural_images
from components.shared.network.resize import Resize
from components.shared.network.weight_values import check_embeddings
from components.shared.network.weights import check_weights, weights_file
from components.shared.network.weights_metadata import read_metadata

# A new head gets normally distributed weights with this standard deviation, and biases of 0. Every network family then
# starts with a loss near ln 2. With timm's own heads, EfficientNet and MobileNet start with a loss near 5, and their
# first gradients destroy pretrained weights.
HEAD_DEVIATION = 0.01


class Network(nn.Module):
    """A timm classifier (`backbone`), together with the normalisation that it needs.

    `forward` takes RGB images (N, 3, H, W) in 0 to 255, uint8 or floating, with H = W = `input_size`. It returns
    logits (N, 2) for no_crack and crack.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: Any, info: ModelInfo):
        super().__init__()
        self.backbone: Any = backbone  # the type nn.Module does not have the methods of timm's classifiers
        self.info = info
        self.input_size = info.input_size
        self.register_buffer("mean", 255 * torch.tensor(info.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(info.std).view(1, 3, 1, 1), persistent=False)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 images with the mean and standard deviation that the weights expect."""
        return (images.float() - self.mean) / self.std

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, 2)."""
        return self.backbone(self.normalise(images))

    @property
    def resize(self) -> Resize:
        """Return the function that scales a tile to the network's input size."""
        return self.info.resize

    @property
    def heads(self) -> list[nn.Module]:
        """Return the heads: the layers from pooled features to logits. With several heads, the logits are averaged."""
        return find_heads(self.backbone)

    def logits_and_embeddings(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (N, 2) and embeddings (N, D). The embeddings are the input of the first head."""
        received: list[torch.Tensor] = []

        def note(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            received.append(inputs[0].flatten(1))

        with self.heads[0].register_forward_pre_hook(note):
            logits = self(images)
        return logits, received[0]


def describe(
    architecture: str,
    weights: str,
    input_size: int,
    seed: int,
    preprocessing: Mapping[str, Any] = MappingProxyType({}),
    **training: Any,
) -> ModelInfo:
    """Return the description of a network, with the normalisation of timm or of the user. No connection is opened.

    When `build_network` loads the weights, it takes what the weights file says instead of timm's normalisation.

    Args:
        architecture: Name in timm.
        weights: "none", "hub", a file's path or s3://BUCKET/KEY.
        input_size: Height and width in pixels.
        seed: Seed of the random weights. All weights that are not loaded are random.
        preprocessing: What the user set of mean, std and interpolation. A value of None means not set.
        training: Further fields of `ModelInfo`, such as dropout and tuning.

    Raises:
        InputError: timm has no such architecture, or the weights file does not exist.
    """
    check_architecture(architecture)
    check_weights(architecture, weights)

    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    published = timm.get_pretrained_cfg(architecture)
    if published:
        mean, std = published.mean, published.std
    given = {name: value for name, value in preprocessing.items() if value is not None}
    chosen = {"mean": tuple(mean), "std": tuple(std)} | given
    return ModelInfo(
        architecture=architecture,
        weights=weights,
        input_size=input_size,
        **chosen,
        given=tuple(given),
        seed=seed,
        **training,
    )


def check_architecture(architecture: str) -> None:
    """Raise `InputError` if timm has no architecture of this name. The message gives similar names."""
    if not timm.is_model(architecture):
        similar = timm.list_models(f"*{architecture[:6]}*")[:5]
        hint = "list all names with `python -c 'import timm; print(timm.list_models())'`"
        if similar:
            hint = f"similar names: {', '.join(similar)}"
        raise InputError(f'unknown architecture "{architecture}": timm {timm.__version__} does not have it; {hint}')


def build_network(info: ModelInfo, load_weights: bool = True) -> Network:
    """Build the network in its state before fine-tuning. Equal descriptions give networks with equal weights.

    Args:
        info: The description of the network.
        load_weights: If false, the pretrained weights are not loaded. Use false if the caller loads trained weights
            afterwards.

    Raises:
        InputError: The weights cannot be fetched, are not for this architecture, or do not have the sha256 in `info`.
    """
    options: dict = {"num_classes": len(info.classes), "drop_rate": info.dropout}
    if info.stochastic_depth:
        options["drop_path_rate"] = info.stochastic_depth
    published = timm.get_pretrained_cfg(info.architecture)
    if published is not None and published.fixed_input_size:
        options["img_size"] = info.input_size

    if not load_weights or info.weights == "none":
        return Network(_create(info, options), info)

    with weights_file(info.architecture, info.weights, info.weights_sha256) as path:
        info = info.model_copy(update={"weights_sha256": file_digest(path)})
        info = _with_metadata(info, path)
        backbone, resampled = _create_pretrained(info, options, path)
        return Network(backbone, info.model_copy(update={"weights_resampled": resampled}))


def _with_metadata(info: ModelInfo, path: Path) -> ModelInfo:
    """Return the description of a network with what its weights file says about itself.

    Raises:
        InputError: The file says that it has weights of another architecture, or its metadata are not valid.
    """
    try:
        metadata = read_metadata(path)
        # timm's name may end in a tag that names the weights, such as resnet50.a1_in1k.
        if metadata.architecture and metadata.architecture.split(".")[0] != info.architecture.split(".")[0]:
            raise InputError(
                f"the file says that it has weights of {metadata.architecture}; set architecture to "
                f"{metadata.architecture}, or choose another file"
            )
    except InputError as error:
        raise _unusable(info, error) from error

    said = metadata.model_dump(include={"mean", "std", "interpolation"}, exclude=set(info.given), exclude_none=True)
    if metadata.licence:
        said["weights_licence"] = metadata.licence
    return info.model_copy(update=said)


def try_on_tiles(network: Network) -> None:
    """Run a network in eval mode on three clearly different tiles.

    Raises:
        InputError: The network has pretrained weights, and the embeddings show that these weights cannot be used.
        Exception: The network does not support the size of the tiles. timm's networks raise errors of different types.
    """
    size = network.input_size
    black = torch.zeros(1, 3, size, size)
    with torch.inference_mode():
        _, embeddings = network.logits_and_embeddings(255 * torch.cat([draw_natural_images(2, size), black]))

    info = network.info
    if info.weights == "none":
        return
    try:
        check_embeddings(embeddings)
    except InputError as error:
        raise _unusable(info, error) from error


def _unusable(info: ModelInfo, error: InputError) -> InputError:
    return InputError(f'weights "{info.weights}" cannot be used for {info.architecture}: {error}')


def _create(info: ModelInfo, options: dict) -> Any:
    """Create a backbone. Its random weights depend on the network's seed only."""
    with torch.random.fork_rng(devices=[]), _quiet_timm():
        torch.manual_seed(info.seed)
        try:
            backbone = timm.create_model(info.architecture, **options)
        except AssertionError as error:  # patches or windows do not divide the input size
            raise InputError(
                f"{info.architecture} cannot be built for images of {info.input_size} px; choose another input_size"
            ) from error
        _start_small(backbone, len(info.classes))
    _check_patches(backbone, info)
    return backbone


def _check_patches(backbone: Any, info: ModelInfo) -> None:
    """Raise `InputError` if the patches of a transformer do not fill the whole image.

    Without this check, timm would ignore the pixels that belong to no patch.
    """
    for module in backbone.modules():
        if not isinstance(module, PatchEmbed):
            continue
        side = module.patch_size[0]
        smaller = info.input_size - info.input_size % side
        if smaller != info.input_size:
            raise InputError(
                f"{info.architecture} cannot be built for images of {info.input_size} px, because its patches have "
                f"{side} px; set input_size to {smaller} or {smaller + side}"
            )


@contextlib.contextmanager
def _quiet_timm() -> Iterator[None]:
    """Silence timm's warnings. They list all missing tensors of a file, and our error message names the first few."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _start_small(backbone: Any, classes: int) -> None:
    """Set small random weights in the layers that compute the logits."""
    for head in find_heads(backbone):
        for layer in head.modules():
            # A layer that computes the logits has one row of weights per class. The head may contain other layers too.
            if isinstance(layer, nn.Linear | nn.Conv2d) and len(layer.weight) == classes:
                nn.init.normal_(layer.weight, std=HEAD_DEVIATION)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def _create_pretrained(info: ModelInfo, options: dict, path: Path) -> tuple[Any, tuple[str, ...]]:
    """Return a backbone with the weights of a file, and the names of the resampled tensors."""

    def create(source: dict) -> Any:
        if not source:
            return _create(info, options)
        return _create(info, options | {"pretrained": True, "pretrained_cfg_overlay": source})

    try:
        backbone, resampled = create_pretrained(create, path, find_heads)
    except InputError as error:
        raise _unusable(info, error) from error

    expected = better_normalisation(backbone, info.input_size, torch.tensor(info.mean), torch.tensor(info.std))
    if expected is not None:
        raise InputError(
            f'weights "{info.weights}" expect images with {expected}, but {info.architecture} uses mean {info.mean} '
            f"and std {info.std}; choose the architecture that the weights were trained "
            f"with{_sibling_hint(info.architecture)}, or set mean and std"
        )
    return backbone, resampled


def find_heads(backbone: Any) -> list[nn.Module]:
    """Return the heads: the layers from pooled features to logits. With several heads, the logits are averaged."""
    found = backbone.get_classifier()
    return list(found) if isinstance(found, tuple | nn.ModuleList) else [found]


def _sibling_hint(architecture: str) -> str:
    """Return a hint for a message. For "efficientnet_b0", the hint is ", such as tf_efficientnet_b0".

    timm has two variants of some architectures, one from TensorFlow and one from PyTorch. Both variants have tensors
    with the same names and shapes. The hint names the other variant. It is "" if timm has only one variant.
    """
    sibling = architecture.removeprefix("tf_") if architecture.startswith("tf_") else f"tf_{architecture}"
    return f", such as {sibling}" if timm.is_model(sibling) else ""
