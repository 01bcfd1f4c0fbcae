"""A timm classifier that takes raw images. Normalisation is part of the network, so no caller can get it wrong."""

from pathlib import Path
from typing import Any, Literal

import timm
import torch
from pydantic import Field
from torch import nn

from components.shared.config import Config
from components.shared.data.manifest import CLASSES
from components.shared.errors import InputError
from components.shared.hashing import file_digest
from components.shared.network.pretrained import better_normalisation, create_pretrained
from components.shared.network.weights import check_weights, weights_file

# A new head gets weights from N(0, 0.01) and no bias, so that every family starts with a loss near ln 2. timm's own
# heads differ: EfficientNet and MobileNet start near a loss of 5, and their first gradients destroy pretrained weights.
HEAD_DEVIATION = 0.01


class ModelInfo(Config):
    """Everything needed to build a network again, except its trained weights; the contents of `model.json`.

    Attributes:
        architecture: timm name, such as "resnet50".
        classes: Names of the two logits, in their order.
        weights: "none", "hub" (timm's default for the architecture), a file's path or s3://BUCKET/KEY.
        weights_sha256: Checksum of the weights' file; empty for "none", and for "hub" until they are loaded.
        input_size: Height and width in pixels.
        mean: Per RGB channel, on the scale 0 to 1, that the pretrained weights expect.
        std: As mean.
        dropout: Probability before the head.
        stochastic_depth: Share of the blocks that are skipped, at the deepest block.
        tuning: What was trained: "full", "head_only" or "last_N".
        seed: Seeds the weights that are not loaded: the head, and the whole network for "none".
        dataset_digest: Digest of the data set version that it was trained on.
        split_digest: Digest of the split that it was trained on.
    """

    format_version: Literal[1] = 1
    architecture: str
    classes: tuple[str, str] = CLASSES
    weights: str = "none"
    weights_sha256: str = ""
    input_size: int = Field(ge=16)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    tuning: str = "full"
    seed: int = 0
    dataset_digest: str = ""
    split_digest: str = ""


class Network(nn.Module):
    """A timm backbone with its normalisation.

    `forward` takes RGB images (N, 3, H, W) in 0 to 255, uint8 or floating, with H = W = `input_size`. It returns
    logits (N, 2) for no_crack and crack.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, backbone: Any, info: ModelInfo):
        super().__init__()
        self.backbone: Any = backbone  # nn.Module does not know the methods that timm's classifiers share
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
    def heads(self) -> list[nn.Module]:
        """The last layers, from pooled features to logits. Some networks have several and average their logits."""
        return find_heads(self.backbone)

    def logits_and_embeddings(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (N, 2), and embeddings (N, D): the pooled features that the first head receives. One pass."""
        received: list[torch.Tensor] = []

        def note(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            received.append(inputs[0].flatten(1))

        with self.heads[0].register_forward_pre_hook(note):
            logits = self(images)
        return logits, received[0]


def describe(architecture: str, weights: str, input_size: int, seed: int, **training: Any) -> ModelInfo:
    """Look up an architecture and the normalisation of its weights; opens no connection.

    Args:
        architecture: timm name.
        weights: "none", "hub", a file's path or s3://BUCKET/KEY.
        input_size: Height and width in pixels.
        seed: Seeds the weights that are not loaded.
        training: dropout, stochastic_depth, tuning.

    Raises:
        InputError: timm has no such architecture, or the weights file does not exist.
    """
    if not timm.is_model(architecture):
        similar = timm.list_models(f"*{architecture[:6]}*")[:5]
        hint = "list all names with `python -c 'import timm; print(timm.list_models())'`"
        if similar:
            hint = f"similar names: {', '.join(similar)}"
        raise InputError(f'unknown architecture "{architecture}": timm {timm.__version__} does not have it; {hint}')

    check_weights(architecture, weights)

    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    published = timm.get_pretrained_cfg(architecture)
    if published:
        mean, std = published.mean, published.std
    return ModelInfo(
        architecture=architecture,
        weights=weights,
        input_size=input_size,
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        seed=seed,
        **training,
    )


def build_network(info: ModelInfo, load_weights: bool = True) -> Network:
    """Build the network as it is before fine-tuning, the same on every call.

    Args:
        info: What to build.
        load_weights: False skips the pretrained weights, for callers that load trained weights afterwards.

    Raises:
        InputError: The weights cannot be fetched, have another sha256 than the description, or do not fit.
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
        return Network(_create_pretrained(info, options, path), info)


def _create(info: ModelInfo, options: dict) -> Any:
    """Create a backbone whose random weights depend on the network's seed only."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(info.seed)
        try:
            backbone = timm.create_model(info.architecture, **options)
        except AssertionError as error:  # timm raises it if patches or windows do not divide the input size
            raise InputError(
                f"{info.architecture} cannot be built for images of {info.input_size} px; choose another input_size"
            ) from error
        _start_small(backbone, len(info.classes))
    return backbone


def _start_small(backbone: Any, classes: int) -> None:
    """Give the layers that compute the logits small random weights."""
    for head in find_heads(backbone):
        for layer in head.modules():
            # One row of weights per class; a head can also hold layers between the features and these.
            if isinstance(layer, nn.Linear | nn.Conv2d) and len(layer.weight) == classes:
                nn.init.normal_(layer.weight, std=HEAD_DEVIATION)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def _create_pretrained(info: ModelInfo, options: dict, path: Path) -> Any:
    def create(source: dict) -> Any:
        if not source:
            return _create(info, options)
        return _create(info, options | {"pretrained": True, "pretrained_cfg_overlay": source})

    try:
        backbone = create_pretrained(create, path, find_heads)
    except InputError as error:
        raise InputError(f'weights "{info.weights}" are not weights of {info.architecture}: {error}') from error

    expected = better_normalisation(backbone, info.input_size, torch.tensor(info.mean), torch.tensor(info.std))
    if expected is not None:
        raise InputError(
            f'weights "{info.weights}" expect images with {expected}, but {info.architecture} uses mean {info.mean} '
            f"and std {info.std}; choose the architecture that they were trained with{_sibling_hint(info.architecture)}"
        )
    return backbone


def find_heads(backbone: Any) -> list[nn.Module]:
    """Return the last layers, from pooled features to logits. Some networks have several and average their logits."""
    found = backbone.get_classifier()
    return list(found) if isinstance(found, tuple | nn.ModuleList) else [found]


def _sibling_hint(architecture: str) -> str:
    """Name the variant that was ported from TensorFlow or PyTorch, if timm has both; they have the same tensors."""
    sibling = architecture.removeprefix("tf_") if architecture.startswith("tf_") else f"tf_{architecture}"
    return f", such as {sibling}" if timm.is_model(sibling) else ""
