"""The task of a training, and the record that the training returns."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from components.shared.network.model_info import ModelInfo
from components.train.config import TrainConfig


@dataclass(frozen=True)
class Task:
    """The network, the data and the settings of a training. It can be pickled and sent to other processes.

    Attributes:
        info: The description of the network.
        train: Manifest rows of the training split.
        val: Manifest rows of the validation split.
        tiles: Folder of the fetched data set version.
        config: The settings of the training.
        seed: Seed of the initial weights, the order of the tiles, the augmentation and dropout.
        key: The training's key in the store (run key), under which checkpoints are stored. None: no checkpoints.
        run_id: Id of the MLflow run in which each point of the curves is logged during the training. None: no run.
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
    """What happened during a training, such as its losses and times.

    Attributes:
        precision: "bf16" or "fp32".
        device: "cpu" or "cuda".
        devices: Number of devices, which is also the number of processes.
        steps: Planned number of optimiser steps. Early stopping can end the training earlier.
        parts: Number of parts into which a device's share of a batch was split. It is more than 1 only if memory ran
            out.
        history: One dict per validation, with the keys `step`, `time` (seconds since 1970), `train_loss`, `val_loss`,
            `val_accuracy` and `learning_rate`. The keys `images_per_second` and `data_wait_share` are about the time
            since the previous validation. `training_seconds` and `wait_seconds` are about the time since the start.
        best_step: Number of the optimiser step after which the saved weights were copied.
        images: Number of tiles in all steps together. A tile that was used in several steps counts several times.
        training_seconds: Time of the training steps, without validations.
        wait_seconds: Part of training_seconds in which the device waited for tiles.
        resumed_at: The numbers of the steps after which the training was resumed from a checkpoint.
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
        """Return the number of training tiles per second of `training_seconds`. Return 0 if nothing was trained."""
        return self.images / self.training_seconds if self.training_seconds else 0.0

    @property
    def data_wait_share(self) -> float:
        """Return the share of the training time, 0 to 1, in which the device waited for tiles."""
        return self.wait_seconds / self.training_seconds if self.training_seconds else 0.0
