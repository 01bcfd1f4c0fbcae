"""Does Lightning's Trainer resume exactly? It decides why components/train has a loop of its own.

A LightningModule and Trainer train a small network: once without a stop, and three times with one. The stops are
a kill, SIGTERM in a step and SIGTERM in a validation. Each interrupted training then resumes from its last checkpoint.
The study prints after which steps there was a validation, and a digest of the weights.

The help that Trainer needs for this is part of the study: a sampler that starts at the step of the checkpoint and keeps
its length, a seed for each step, and the callback that writes a checkpoint on SIGTERM.

    python tests/studies/study_trainer.py
"""

import hashlib
import logging
import os
import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import timm
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler, TensorDataset

STEPS, INTERVAL, BATCH, TRAINED, VALIDATED = 12, 4, 8, 64, 160


class Batches(Sampler):
    """Batches that depend on the step only. Trainer counts from 0, so the length does not depend on the start."""

    def __init__(self, start: int):
        self.start = start

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, STEPS):
            yield np.random.default_rng([1, step]).permutation(TRAINED)[:BATCH].tolist()


class Module(pl.LightningModule):
    """A small network with dropout, which may be stopped.

    Args:
        stop: Where the training is stopped: "kill" or "step" (before the step `at`), "validation" (after it), or "".
        at: Number of optimiser steps before the stop.
    """

    def __init__(self, stop: str, at: int):
        super().__init__()
        torch.manual_seed(1)
        self.network = timm.create_model("test_resnet", num_classes=2, drop_rate=0.3)
        self.stop, self.at = stop, at
        self.validated_after: list[int] = []

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        """Return the loss of a batch."""
        if self.stop == "kill" and self.global_step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.stop == "step" and self.global_step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        torch.manual_seed(1000 + self.global_step)
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        """Compute the loss of a batch."""
        if self.stop == "validation" and self.global_step == self.at and index == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        self.log("val_loss", F.cross_entropy(self.network(batch[0]), batch[1]))

    def on_validation_end(self) -> None:
        """Note that a validation is complete."""
        self.validated_after.append(self.global_step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def tiles(count: int) -> TensorDataset:
    """Return random tiles."""
    generator = torch.Generator().manual_seed(count)
    return TensorDataset(torch.rand(count, 3, 32, 32, generator=generator), torch.arange(count) % 2)


def train(folder: Path, stop: str = "", at: int = -1, checkpoint: Path | None = None) -> None:
    """Train until the end or the stop, and print what happened."""
    module = Module(stop, at)
    start = torch.load(checkpoint, weights_only=True)["global_step"] if checkpoint else 0
    writers = [ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1)]
    writers.append(OnExceptionCheckpoint(folder, "stopped"))
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=STEPS, val_check_interval=INTERVAL, num_sanity_val_steps=0, logger=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, callbacks=writers,
    )  # fmt: skip
    batches = DataLoader(tiles(TRAINED), batch_sampler=Batches(start)), DataLoader(tiles(VALIDATED), BATCH)
    try:
        trainer.fit(module, *batches, ckpt_path=checkpoint)
    except SystemExit as error:
        print(f"  stopped by {type(error).__name__} after step {module.global_step}")

    values = b"".join(tensor.numpy().tobytes() for tensor in module.network.state_dict().values())
    digest = hashlib.sha256(values).hexdigest()[:12]
    print(
        f"  steps {start} to {module.global_step}, validated after {module.validated_after}, weights {digest}",
        flush=True,
    )


def main() -> None:
    """Train without a stop, and with each kind of stop."""
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    with tempfile.TemporaryDirectory() as scratch:
        print("without a stop")
        train(Path(scratch) / "whole")
        for stop, at in (("kill", 6), ("step", 6), ("validation", 8)):
            print(f"{stop}, stopped at step {at}", flush=True)
            folder = Path(scratch) / stop
            if (child := os.fork()) == 0:
                train(folder, stop, at)
                os._exit(0)
            os.waitpid(child, 0)

            newest = max(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
            print(f"  resumed from {newest.name}", flush=True)
            train(Path(scratch) / "resumed" / stop, checkpoint=newest)


if __name__ == "__main__":
    main()
