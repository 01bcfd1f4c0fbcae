"""One device's share of a training, step by step.

Everything but the state of `Loop.state` is a function of the seed and the step: the images of a batch, their
augmentation, the learning rate, and the random numbers of dropout and stochastic depth, which are seeded anew for every
step. A training taken up at a checkpoint therefore goes on exactly as if it had never stopped.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from timm.layers import convert_sync_batchnorm
from timm.utils import ModelEmaV3
from torch.nn import functional as F

from components.shared.errors import InputError
from components.shared.events import log, progress
from components.shared.network.checkpoint import save_network
from components.shared.network.network import Network, build_network
from components.shared.network.tiles import TileDataset, loader
from components.train.augmentation import build_augmentation
from components.train.batches import TrainingBatches
from components.train.checkpoints import Checkpoints, PreemptedError, StopSignal
from components.train.mlflow_record import record_point
from components.train.recipe import Loss, clip, freeze, learning_rate, make_optimizer, set_rate, set_training
from components.train.task import Task, TrainingRecord


class Loop:
    """Network, optimiser and data of one device, and what is done with them.

    Args:
        fabric: Device, precision and the other processes.
        task: What to train.
        record: Is filled.
        interval: Steps between validations.
        kept: Where the training is kept, and taken up; None for every process but the first of several.
        state: From `Checkpoints.newest`, the same in every process; None for a training from the start.
    """

    def __init__(
        self,
        fabric: Fabric,
        task: Task,
        record: TrainingRecord,
        interval: int,
        kept: Checkpoints | None,
        state: dict | None,
    ):
        self.fabric, self.task, self.config, self.interval, self.kept = fabric, task, task.config, interval, kept
        self.record = record
        self.step = 0
        self.loss_sum = torch.zeros((), device=fabric.device)
        self.best: dict[str, torch.Tensor] = {}
        self.network = build_network(task.info, load_weights=state is None).to(memory_format=torch.channels_last)
        freeze(self.network, self.config.tuning)
        if fabric.world_size > 1 and record.device == "cuda":
            self.network.backbone = convert_sync_batchnorm(self.network.backbone)
        labels = task.train["label"].to_numpy()
        self.loss = Loss(self.config, labels).to(fabric.device)
        self.network.to(fabric.device)
        optimizer = make_optimizer(self.network, self.config)
        self.ema = ModelEmaV3(self.network, self.config.ema, use_warmup=True) if self.config.ema else None
        if state is not None:
            self._restore(state, optimizer)
        if self.config.compile:
            self.network.compile()
        self.module, self.optimizer = fabric.setup(self.network, optimizer)
        self._load_data(labels)

    def _load_data(self, labels: np.ndarray) -> None:
        task, share = self.task, (self.fabric.global_rank, self.fabric.world_size)
        size, workers, batch = task.info.input_size, self.config.workers, self.config.batch_size
        balanced = self.config.class_balance == "sampling"
        batches = TrainingBatches(labels, batch, self.record.steps, task.seed, self.step, balanced, share)
        augmented = TileDataset(task.train, task.tiles, size, build_augmentation(self.config.augment))
        self.batches = loader(augmented, batches, workers, share[1])
        plain = TileDataset(task.val.iloc[share[0] :: share[1]], task.tiles, size)  # each image on one device only
        part = max(1, batch // (share[1] * self.record.parts))  # what fits with gradients fits without
        self.val = loader(plain, part, workers, share[1])

    def run(self) -> None:
        """Train to the end.

        Raises:
            PreemptedError: SIGTERM came; what was done is kept.
        """
        set_training(self.network)
        with StopSignal(passed_on=self.fabric.world_size > 1).watched() as stop:
            batches, kept_at = iter(self.batches), time.monotonic()
            while not self._finished():
                if self._due():
                    self._validate(stop)
                else:
                    self.advance(batches)
                if self.kept and (stop.came or time.monotonic() - kept_at > 60 * self.config.checkpoint_minutes):
                    self.kept.save(self.step, self.state())
                    kept_at = time.monotonic()
                if self.kept and stop.came:
                    self.kept.wait()
                    raise PreemptedError(f"stopped by SIGTERM after step {self.step}; run again, it goes on from there")
        if self.kept:
            self.kept.wait()

    def _finished(self) -> bool:
        """Whether all steps are done and validated, or the last validations brought nothing better."""
        fruitless = (self.step - self.record.best_step) // self.interval
        hopeless = self.config.patience is not None and bool(self.best) and fruitless >= self.config.patience
        return not self._due() and (hopeless or self.step >= self.record.steps)

    def _due(self) -> bool:
        """Whether the weights, as they are now, are to be validated."""
        validated = self.record.history[-1]["step"] if self.record.history else 0
        return self.step % self.interval == 0 and self.step > validated

    def advance(self, batches: Iterator) -> None:
        """One step on the next batch, timed."""
        started = time.perf_counter()
        images, labels = next(batches)
        self.record.wait_seconds += time.perf_counter() - started
        self.train_on(images, labels)
        if self._due():
            self.loss_sum.item()  # waits for the device, so that the clock tells the truth
        self.record.training_seconds += time.perf_counter() - started
        self.record.images += self.config.batch_size
        if self.fabric.is_global_zero and (self.step % 5 == 0 or self.step == self.record.steps):
            known = self.record.history
            accuracy = f", validation accuracy {known[-1]['val_accuracy']:.3f}" if known else ""
            progress(self.step, self.record.steps, f"steps{accuracy}")

    def train_on(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """One optimiser step on this device's share of a batch, in as many parts as memory asks for."""
        set_rate(self.optimizer, self.config, self.step, self.record.steps)
        seed = np.random.SeedSequence([self.task.seed, self.step, self.fabric.global_rank])
        torch.manual_seed(int(seed.generate_state(1)[0]))
        images = images.to(self.fabric.device, non_blocking=True)
        labels = labels.to(self.fabric.device, non_blocking=True)
        parts = list(zip(images.chunk(self.record.parts), labels.chunk(self.record.parts), strict=True))
        share = self.config.batch_size / self.fabric.world_size  # gradients are averaged over the devices
        losses = torch.zeros_like(self.loss_sum)
        for number, part in enumerate(parts, 1):
            with self.fabric.no_backward_sync(self.module, enabled=number < len(parts)):
                loss = self.loss(self.module(part[0]), part[1])
                self.fabric.backward(loss / share)
            losses += loss.detach()
        self.loss_sum += self._summed(losses)  # at every step: the first device's checkpoint is everyone's
        if self.config.clip_norm:
            clip(self.optimizer.optimizer, self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.network, step=self.step)

    def _summed(self, value: torch.Tensor) -> torch.Tensor:
        """The value summed over all devices, in place. Fabric's sum begins with a barrier, and a GPU stands still."""
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(value)
        return value

    def _validate(self, stop: StopSignal) -> None:
        """Record the curves' next point; keep the weights where they are the best so far."""
        network = self.network if self.ema is None else self.ema.module
        network.eval()
        sums = self._over_validation(network, stop)
        set_training(self.network)
        if sums is None:
            return
        point = self._point(*self._summed(sums).tolist())
        if not math.isfinite(point["val_loss"]):
            raise InputError(
                f"the validation loss after step {self.step} is {point['val_loss']}: the training has diverged; lower "
                f"learning_rate ({self.config.learning_rate}), or raise warmup ({self.config.warmup})"
            )
        best = min((point["val_loss"] for point in self.record.history), default=math.inf)
        self.record.history.append(point)
        self.loss_sum.zero_()
        if point["val_loss"] < best:
            self.record.best_step = self.step
            self.best = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        if self.fabric.is_global_zero:
            log.info("%s", ", ".join(f"{key} {value:.5g}" for key, value in point.items() if key != "time"))
            if self.task.run_id:
                record_point(self.task.run_id, point)

    def _point(self, loss: float, right: float) -> dict[str, float]:
        """The curves' next point; `loss` and `right` answers are summed over the validation images."""
        images, seen = len(self.task.val), self.interval * self.config.batch_size
        last = self.record.history[-1] if self.record.history else {"training_seconds": 0.0, "wait_seconds": 0.0}
        seconds = self.record.training_seconds - last["training_seconds"]
        return {
            "step": self.step,
            "time": time.time(),
            "train_loss": float(self.loss_sum) / seen,
            "val_loss": loss / images,
            "val_accuracy": right / images,
            "learning_rate": learning_rate(self.config, self.step - 1, self.record.steps),
            "images_per_second": seen / seconds,
            "data_wait_share": (self.record.wait_seconds - last["wait_seconds"]) / seconds,
            "training_seconds": self.record.training_seconds,
            "wait_seconds": self.record.wait_seconds,
        }

    def _over_validation(self, network: Network, stop: StopSignal) -> torch.Tensor | None:
        """Return loss and right answers on this device's share, summed, (2,) float64.

        None where SIGTERM came, which a device alone may heed: the next start makes up for it.
        """
        sums = torch.zeros(2, dtype=torch.float64, device=self.fabric.device)
        with torch.inference_mode(), self.fabric.autocast():
            for batch in self.val:
                if stop.came and self.kept and self.fabric.world_size == 1:
                    return None
                images, labels = (tensor.to(self.fabric.device, non_blocking=True) for tensor in batch)
                logits = network(images).float()
                loss = F.cross_entropy(logits, labels, reduction="sum")
                sums += torch.stack([loss, (logits.argmax(1) == labels).sum()])
        return sums

    def state(self) -> dict:
        """Everything that a training taken up again must know: tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "best": self.best,
            "weights_sha256": self.network.info.weights_sha256,
            "loss_sum": self.loss_sum,
            "record": asdict(self.record),
        }

    def _restore(self, state: dict, optimizer: torch.optim.Optimizer) -> None:
        self.step, self.best = state["step"], state["best"]
        self.network.load_state_dict(state["network"])
        self.network.info = self.network.info.model_copy(update={"weights_sha256": state["weights_sha256"]})
        optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.loss_sum += state["loss_sum"].to(self.fabric.device)
        for name in ("history", "best_step", "images", "training_seconds", "wait_seconds", "resumed_at"):
            setattr(self.record, name, state["record"][name])
        self.record.resumed_at.append(self.step)
        log.info("taken up again after step %d of %d", self.step, self.record.steps)

    def save(self, folder: Path) -> None:
        """Write the network with its best weights."""
        self.network.load_state_dict(self.best)
        save_network(self.network, folder)
