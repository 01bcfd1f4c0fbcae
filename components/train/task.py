"""What a training gets, and what it returns."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from components.shared.network.network import ModelInfo
from components.train.config import TrainConfig


@dataclass(frozen=True)
class Task:
    """What is trained, on what data, and how. It can be pickled, for trainings in several processes.

    Attributes:
        info: The network.
        train: Manifest rows of the training split.
        val: Manifest rows of the validation split.
        tiles: Folder of the fetched data set version.
        config: How to train.
        seed: Decides initial weights, order of the tiles, augmentation and dropout.
        key: Run key, under which checkpoints are stored; None for no checkpoints.
        run_id: MLflow run that gets each point of the curves during the training; None for none.
    """

    info: ModelInfo
    train: pd.DataFrame
    val: pd.DataFrame
    tiles: Path
    config: TrainConfig
    seed: int
    key: str | None = None
    run_id: str | None = None


@dataclass
class TrainingRecord:
    """What happened during a training.

    Attributes:
        precision: "bf16" or "fp32".
        device: "cpu" or "cuda".
        devices: Number of processes, each with a device of its own.
        steps: Optimiser steps planned; early stopping can end the training before.
        parts: Micro-batches that a device's share of a batch was split into because memory ran out.
        history: One entry per validation: step, time (seconds since 1970), train_loss, val_loss, val_accuracy,
            learning_rate; images_per_second and data_wait_share since the entry before; training_seconds and
            wait_seconds so far.
        best_step: Optimiser steps done when the weights that are saved were taken.
        images: Tiles trained on, with repetitions.
        training_seconds: Time of the training steps, without validations.
        wait_seconds: Part of it in which the device waited for tiles.
        resumed_at: Steps at which the training was resumed.
    """

    precision: str
    device: str
    devices: int
    steps: int
    parts: int = 1
    history: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    images: int = 0
    training_seconds: float = 0.0
    wait_seconds: float = 0.0
    resumed_at: list[int] = field(default_factory=list)

    @property
    def images_per_second(self) -> float:
        """Training tiles per second, without validations."""
        return self.images / self.training_seconds if self.training_seconds else 0.0

    @property
    def data_wait_share(self) -> float:
        """Share of the training time in which the device waited for tiles."""
        return self.wait_seconds / self.training_seconds if self.training_seconds else 0.0
