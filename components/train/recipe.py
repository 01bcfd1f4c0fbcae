"""The recipe: what is trained, at which rate, towards which loss."""

import math
import os
import shutil

import numpy as np
import torch
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.nn import functional as F

from components.shared.errors import InputError
from components.shared.network.network import ModelInfo, Network, build_network, describe
from components.train.config import TrainConfig


def describe_network(config: TrainConfig, seed: int) -> ModelInfo:
    """Return what is to be trained; opens no connection.

    Raises:
        InputError: timm knows no such architecture, or the weights file is not there.
    """
    return describe(
        config.architecture,
        config.weights,
        config.input_size,
        seed,
        dropout=config.dropout,
        stochastic_depth=config.stochastic_depth,
        tuning=config.tuning,
    )


def rehearse(info: ModelInfo, config: TrainConfig) -> None:
    """Build a network as the training will, and show it an image: what cannot be fails before any data is fetched.

    Raises:
        InputError: The weights cannot be had or do not fit, timm cannot build, cut or run the network as asked for, or
            there is nothing to compile it with.
    """
    if config.compile and not has_compiler():
        raise InputError(
            "compile is set, but there is no C compiler, which Triton needs: unset it, or install one (apt-get install "
            "gcc libc6-dev); the project's container image is without, images/Dockerfile says why and what to do"
        )
    try:
        network = build_network(info).eval()
        freeze(network, config.tuning)
        make_optimizer(network, config)
        with torch.inference_mode():
            network.logits_and_embeddings(torch.zeros(1, 3, info.input_size, info.input_size, dtype=torch.uint8))
    except InputError:
        raise
    except Exception as error:  # timm's networks differ in what they lack, and in how they say so
        asked = ", ".join(
            f"{name} {getattr(config, name)}"
            for name in ("input_size", "tuning", "layer_decay", "dropout", "stochastic_depth")
        )
        cause = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{config.architecture} cannot be trained with {asked}: {cause}; leave out what it cannot do, or choose "
            "another architecture"
        ) from error


def has_compiler() -> bool:
    """Whether Triton, through which `torch.compile` reaches a GPU, finds what it builds its launchers with."""
    return bool(os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang"))


def freeze(network: Network, tuning: str) -> None:
    """Leave only those parameters trainable that `tuning` names.

    Args:
        network: Is changed.
        tuning: "full", "head_only", or "last_N": the N blocks before the head, as timm counts them, and the head.
    """
    network.requires_grad_(tuning == "full")
    for head in network.heads:
        head.requires_grad_(True)
    if tuning.startswith("last_"):
        blocks = group_parameters(network.backbone, network.backbone.group_matcher(coarse=False), reverse=True)
        first = max(blocks.values()) - int(tuning.removeprefix("last_"))
        if first < 0:
            raise InputError(f"tuning is {tuning}: {network.info.architecture} has {max(blocks.values())} blocks")
        for name, parameter in network.backbone.named_parameters():
            parameter.requires_grad_(blocks[name] >= first)


def set_training(network: Network) -> None:
    """Put what is trained into training mode, and all the rest into eval mode.

    A frozen block thus keeps its normalisation statistics, and drops nothing. Autograd leaves it out by itself, since
    nothing in it or before it requires a gradient.
    """
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def make_optimizer(network: Network, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over what is trainable; no weight decay on biases, normalisation and position embeddings, as timm does."""
    spared = network.backbone.no_weight_decay() if hasattr(network.backbone, "no_weight_decay") else ()
    groups = param_groups_layer_decay(
        network.backbone, config.weight_decay, spared, layer_decay=config.layer_decay
    )  # each group bears "lr_scale"
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def clip(optimizer: torch.optim.Optimizer, longest: float) -> None:
    """Let the optimiser's next step take gradients that are together longer than this as cut to it.

    The fused AdamW divides gradients by `grad_scale` as it reads them, as PyTorch's scaler for fp16 has it do: one pass
    over them all less than `torch.nn.utils.clip_grad_norm_` takes. A norm that is not finite makes the weights so, and
    the next validation says it.
    """
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    optimizer.grad_scale = (norm / longest).clamp(min=1)  # type: ignore[attr-defined]
    optimizer.found_inf = torch.zeros_like(norm)  # type: ignore[attr-defined]


def set_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int, steps: int) -> None:
    """Set the learning rate of a step, each layer's by its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step, steps) * group["lr_scale"]


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Learning rate of a step, counted from 0, of `steps`: linear warm-up, then constant or half a cosine to 0."""
    return config.learning_rate * _relative_rate(config, step, steps)


def _relative_rate(config: TrainConfig, step: int, steps: int) -> float:
    warmup = int(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


class Loss(nn.Module):
    """Cross-entropy with label smoothing, summed over images, so that parts of a batch add up to the batch.

    Class weights are the inverse frequencies in the training split, 1 on average over its images.
    """

    weights: torch.Tensor | None

    def __init__(self, config: TrainConfig, labels: np.ndarray):
        super().__init__()
        self.smoothing = config.label_smoothing
        counts = np.bincount(labels, minlength=2)
        weights = torch.tensor(counts.sum() / (2 * counts), dtype=torch.float32)
        self.register_buffer("weights", weights if config.class_balance == "weights" else None)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the sum over the images, nats."""
        return F.cross_entropy(
            logits.float(), labels, weight=self.weights, label_smoothing=self.smoothing, reduction="sum"
        )
