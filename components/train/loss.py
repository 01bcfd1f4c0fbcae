"""Compute the training loss: cross-entropy with label smoothing and class weights."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from components.train.config import TrainConfig


class Loss(nn.Module):
    """The cross-entropy with label smoothing, summed over tiles.

    If a batch is split into parts, the losses of the parts add up to the loss of the batch.

    If class weights are used, the rarer class has the larger weight: the weight of a class is proportional to
    1 / (number of its training tiles). The mean weight of all training tiles is 1.

    Args:
        config: The label smoothing, and whether there are class weights.
        labels: Labels of the training split, 0 or 1.
    """

    class_weights: torch.Tensor | None

    def __init__(self, config: TrainConfig, labels: np.ndarray):
        super().__init__()
        self.label_smoothing = config.label_smoothing

        class_weights = None
        if config.class_balance == "weights":
            counts = np.bincount(labels, minlength=2)
            class_weights = torch.tensor(counts.sum() / (2 * counts), dtype=torch.float32)
        self.register_buffer("class_weights", class_weights)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of logits (N, 2) and labels (N,), in nats, summed over the N tiles."""
        return F.cross_entropy(
            logits.float(), labels, weight=self.class_weights, label_smoothing=self.label_smoothing, reduction="sum"
        )
