"""Train one candidate: Lightning drives, the best weights by validation loss are kept."""

import logging
import math
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import LRSchedulerConfigType, OptimizerLRSchedulerConfig
from torch.nn import functional as F

from components.shared.checkpoint import save_network
from components.shared.dataset import TileDataset, TrainingSampler, loader
from components.shared.model import ModelInfo, Network, build_network
from components.shared.runtime import log, pick_device, pick_precision, progress
from components.shared.transforms import build_augmentation
from components.train.config import TrainConfig


@dataclass
class TrainingRecord:
    """What happened during a training.

    Attributes:
        history: One entry per validation: step, train_loss, val_loss, val_accuracy, learning_rate.
        best_step: Optimiser steps done when the kept weights were taken.
        steps: Optimiser steps in all.
        images_per_second: Training images a second, validations left out.
        precision: "bf16" or "fp32".
        device: "cpu" or "cuda".
        seconds: Wall time of the fit.
    """

    precision: str
    device: str
    steps: int
    history: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    images_per_second: float = 0.0
    seconds: float = 0.0


class CrackClassifier(pl.LightningModule):
    """The network with its loss and optimiser."""

    class_weights: torch.Tensor | None

    def __init__(self, network: Network, config: TrainConfig, steps: int, class_weights: torch.Tensor | None):
        super().__init__()
        self.network, self.config, self.steps = network, config, steps
        self.register_buffer("class_weights", class_weights, persistent=False)
        if config.freeze == "backbone":
            network.requires_grad_(False)
            network.head.requires_grad_(True)

    def on_train_batch_start(self, *_) -> None:
        """Keep a frozen backbone's normalisation and dropout layers from moving."""
        if self.config.freeze == "backbone":
            self.network.eval()
            self.network.head.train()

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """Return the batch's loss."""
        images, labels = batch
        logits = self.network(images.to(memory_format=torch.channels_last))
        return F.cross_entropy(
            logits.float(), labels, weight=self.class_weights, label_smoothing=self.config.label_smoothing
        )

    def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> None:
        """Add the batch to the epoch's mean loss (without smoothing or weights, in nats) and accuracy."""
        images, labels = batch
        logits = self.network(images.to(memory_format=torch.channels_last)).float()
        self.log("val_loss", F.cross_entropy(logits, labels), on_epoch=True, batch_size=len(labels))
        accuracy = (logits.argmax(1) == labels).float().mean()
        self.log("val_accuracy", accuracy, on_epoch=True, batch_size=len(labels))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over what is trainable; no weight decay on biases and normalisation, as timm does."""
        trainable = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trainable if p.ndim > 1], "weight_decay": self.config.weight_decay},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.config.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": LRSchedulerConfigType(scheduler=schedule, interval="step")}

    def _rate(self, step: int) -> float:
        warmup = int(self.config.warmup * self.steps)
        if step < warmup:
            return (step + 1) / warmup
        if self.config.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, self.steps - warmup)))


class BestWeights(pl.Callback):
    """Keeps the weights with the lowest validation loss, the curves, and tells how far the training is."""

    def __init__(self, network: Network, record: TrainingRecord):
        self.network, self.record = network, record
        self.best_loss = math.inf
        self.weights: dict[str, torch.Tensor] = {}
        self.losses: list[torch.Tensor] = []
        self.training_seconds = 0.0
        self.images = 0
        self._resumed = 0.0

    def on_train_start(self, *_) -> None:
        """Start the clock."""
        self._resumed = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs, batch, batch_idx: int
    ) -> None:
        """Collect the loss and report progress."""
        self.losses.append(outputs["loss"].detach())
        self.images += len(batch[1])
        if trainer.global_step % 5 == 0 or trainer.global_step == self.record.steps:
            seen = self.record.history
            accuracy = f", validation accuracy {seen[-1]['val_accuracy']:.3f}" if seen else ""
            progress(trainer.global_step, self.record.steps, f"steps{accuracy}")

    def on_validation_start(self, trainer: pl.Trainer, *_) -> None:
        """Stop the clock while validating."""
        if not trainer.sanity_checking:
            self.training_seconds += time.perf_counter() - self._resumed

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Record the curves' next point; keep the weights where they are the best so far."""
        entry = {
            "step": trainer.global_step,
            "train_loss": float(torch.stack(self.losses).mean()) if self.losses else math.nan,
            "val_loss": float(trainer.callback_metrics["val_loss"]),
            "val_accuracy": float(trainer.callback_metrics["val_accuracy"]),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
        }
        self.losses.clear()
        self.record.history.append(entry)
        log.info("%s", ", ".join(f"{key} {value:.5g}" for key, value in entry.items()))
        if entry["val_loss"] < self.best_loss:
            self.best_loss, self.record.best_step = entry["val_loss"], trainer.global_step
            self.weights = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
        self._resumed = time.perf_counter()


def fit(
    info: ModelInfo, train: pd.DataFrame, val: pd.DataFrame, tiles: Path, config: TrainConfig, seed: int
) -> tuple[Network, TrainingRecord]:
    """Train a network and return it with its best weights, on the CPU.

    Args:
        info: The network to build.
        train: Manifest rows of the training split.
        val: Manifest rows of the validation split.
        tiles: Folder of the fetched data set version.
        config: How to train.
        seed: Decides initial weights, order of the images and augmentation: the same inputs give the same weights.
    """
    device = pick_device(config.require_gpu)
    steps, interval = _length(config, len(train))
    record = TrainingRecord(precision=pick_precision(config.precision, device), device=device, steps=steps)
    pl.seed_everything(seed, workers=True, verbose=False)
    network = build_network(info).to(memory_format=torch.channels_last)
    module = CrackClassifier(network, config, steps, _class_weights(train, config))
    best = BestWeights(network, record)
    sampler = TrainingSampler(len(train), steps * config.batch_size, seed)
    augmented = TileDataset(train, tiles, info.input_size, build_augmentation(config.augment))
    plain = TileDataset(val, tiles, info.input_size)
    started = time.perf_counter()
    _trainer(record, interval, best).fit(
        module,
        loader(augmented, config.batch_size, sampler, config.workers),
        loader(plain, 4 * config.batch_size, workers=0),
    )
    record.seconds = time.perf_counter() - started
    record.images_per_second = best.images / best.training_seconds
    network.load_state_dict(best.weights)
    return network.cpu().eval(), record


def _length(config: TrainConfig, images: int) -> tuple[int, int]:
    """Steps in all, and between validations: whole intervals, so that the last step is validated too."""
    steps = config.steps or max(1, int((config.epochs or 1) * images / config.batch_size))
    validations = min(steps, round(1 / config.val_check_interval))
    interval = steps // validations
    return interval * validations, interval


def _trainer(record: TrainingRecord, interval: int, best: BestWeights) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    return pl.Trainer(
        accelerator="gpu" if record.device == "cuda" else "cpu",
        devices=1,
        max_epochs=1,  # the sampler's one pass holds all epochs
        val_check_interval=interval,
        precision="bf16-mixed" if record.precision == "bf16" else "32-true",
        callbacks=[best],
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _class_weights(train: pd.DataFrame, config: TrainConfig) -> torch.Tensor | None:
    if config.class_weights == "none":
        return None
    counts = np.bincount(train["label"], minlength=2)
    return torch.tensor(counts.sum() / (2 * counts), dtype=torch.float32)


def save_trained(network: Network, folder: Path, dataset_digest: str, split_digest: str) -> None:
    """Write the trained network with the digests of what it was trained on."""
    network.info = network.info.model_copy(update={"dataset_digest": dataset_digest, "split_digest": split_digest})
    save_network(network, folder)
