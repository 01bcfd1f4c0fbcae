"""What a training is told, and what it tells."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from components.shared.network.network import ModelInfo
from components.train.config import TrainConfig


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and how; it can be pickled, for trainings in several processes.

    Attributes:
        info: The network.
        train: Manifest rows of the training split.
        val: Manifest rows of the validation split.
        tiles: Folder of the fetched data set version.
        seed: Decides initial weights, order of the images, augmentation and dropout.
        key: Run key, under which checkpoints are kept; None keeps none.
        run_id: MLflow run that gets the curves as they grow; None for none.
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
        devices: Processes, each with a device of its own.
        steps: Optimiser steps planned; early stopping may end before.
        parts: Micro-batches that a device's share of a batch was split into, for want of memory.
        history: One entry per validation: step, time (seconds since 1970), train_loss, val_loss, val_accuracy,
            learning_rate; images_per_second and data_wait_share since the one before it; training_seconds and
            wait_seconds so far.
        best_step: Optimiser steps done when the kept weights were taken.
        images: Images trained on.
        training_seconds: Time of the training steps, validations left out.
        wait_seconds: Part of it in which the device waited for images.
        resumed_at: Steps at which the training was taken up again.
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
        """Training images a second, validations left out."""
        return self.images / self.training_seconds if self.training_seconds else 0.0

    @property
    def data_wait_share(self) -> float:
        """Share of the training time in which the device waited for images."""
        return self.wait_seconds / self.training_seconds if self.training_seconds else 0.0
