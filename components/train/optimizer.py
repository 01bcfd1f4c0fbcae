"""Make the optimiser, set its learning rate at each step, and clip gradients."""

import math

import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from components.shared.network.network import Network
from components.train.config import TrainConfig


def make_optimizer(network: Network, config: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW over the trainable parameters.

    As in timm, weight decay does not apply to biases, normalisation layers or position embeddings.
    """
    spared = ()
    if hasattr(network.backbone, "no_weight_decay"):
        spared = network.backbone.no_weight_decay()

    # Each group has an "lr_scale", the factor for the learning rate of its layer.
    groups = param_groups_layer_decay(network.backbone, config.weight_decay, spared, layer_decay=config.layer_decay)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int, steps: int) -> None:
    """Set the learning rate of each layer for a step: the step's learning rate times the layer's factor."""
    rate = learning_rate(config, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def learning_rate(config: TrainConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step.

    It rises linearly in the warm-up. After that, it is constant or falls to 0 as a cosine.

    Args:
        config: The highest rate, the warm-up and the schedule.
        step: Number of optimiser steps that were done before this step.
        steps: Number of optimiser steps in the whole training.
    """
    warmup_steps = int(config.warmup * steps)
    if step < warmup_steps:
        return config.learning_rate * ((step + 1) / warmup_steps)

    if config.schedule == "constant":
        return config.learning_rate

    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return config.learning_rate * (0.5 * (1 + math.cos(math.pi * progress)))


def clip_gradients(optimizer: torch.optim.Optimizer, largest_norm: float) -> None:
    """Limit the Euclidean norm of the gradient to `largest_norm`.

    If the norm is larger, the optimiser scales the gradient down during its next step: the fused AdamW divides
    gradients by `grad_scale` while it reads them. PyTorch's scaler for fp16 uses the same field. We do not use
    `torch.nn.utils.clip_grad_norm_`, because it needs one more pass over all gradients.

    If the norm is NaN or infinite, the weights also become NaN or infinite. The next validation then reports an error.
    """
    gradients = []
    for group in optimizer.param_groups:
        gradients += [parameter.grad for parameter in group["params"] if parameter.grad is not None]

    norm = nn.utils.get_total_norm(gradients)
    optimizer.grad_scale = (norm / largest_norm).clamp(min=1)  # type: ignore[attr-defined]
    optimizer.found_inf = torch.zeros_like(norm)  # type: ignore[attr-defined]
