"""Run the training on one device, step by step.

A training that resumes from a checkpoint gives exactly the same weights as a training without a stop. The checkpoint
contains the state that `Loop.state` returns. Everything else depends only on the seed and the step: the tiles of a
batch, their augmentation, the learning rate, and the random numbers of dropout and stochastic depth.
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
from components.shared.network.network import Network, build_network
from components.shared.network.saved_network import save_network
from components.shared.network.tiles import TileDataset, loader
from components.train.augmentation import build_augmentation
from components.train.batches import TrainingBatches
from components.train.checkpoints import Checkpoints, PreemptedError, StopSignal
from components.train.frozen_layers import freeze, set_training
from components.train.loss import Loss
from components.train.mlflow_record import record_point
from components.train.optimizer import clip_gradients, learning_rate, make_optimizer, set_learning_rate
from components.train.task import Task, TrainingRecord

STEPS_BETWEEN_PROGRESS = 5
# A resumed training takes these fields of its TrainingRecord from the checkpoint. The other fields describe the machine
# on which it runs now.
RESUMED_FIELDS = ("history", "best_step", "images", "training_seconds", "wait_seconds", "resumed_at")


class Loop:
    """Trains and validates a network on one device.

    Args:
        fabric: Lightning's object that manages the device, the precision and the other processes.
        task: The network, data and settings of the training.
        record: The object in which `run` records what happens.
        interval: Number of steps between validations.
        checkpoints: The object that writes the checkpoints. None: this process writes no checkpoints. In a training
            with several processes, only the first process writes them.
        state: The state from `Checkpoints.newest`, which is the same in every process. None: start from step 0.
    """

    def __init__(
        self,
        fabric: Fabric,
        task: Task,
        record: TrainingRecord,
        interval: int,
        checkpoints: Checkpoints | None,
        state: dict | None,
    ):
        self.fabric = fabric
        self.task = task
        self.config = task.config
        self.record = record
        self.interval = interval
        self.checkpoints = checkpoints

        self.step = 0
        self.loss_sum = torch.zeros((), device=fabric.device)
        self.best_weights: dict[str, torch.Tensor] = {}

        self.network = build_network(task.info, load_weights=state is None).to(memory_format=torch.channels_last)
        freeze(self.network, self.config.tuning)
        if fabric.world_size > 1 and record.device == "cuda":
            self.network.backbone = convert_sync_batchnorm(self.network.backbone)
        self.network.to(fabric.device)

        self.loss = Loss(self.config, task.train["label"].to_numpy()).to(fabric.device)
        optimizer = make_optimizer(self.network, self.config)
        self.ema = ModelEmaV3(self.network, self.config.ema, use_warmup=True) if self.config.ema else None

        if state is not None:
            self._restore(state, optimizer)
        if self.config.compile:
            self.network.compile()
        self.module, self.optimizer = fabric.setup(self.network, optimizer)
        self._load_data()

    def _load_data(self) -> None:
        task, config = self.task, self.config
        device, devices = self.fabric.global_rank, self.fabric.world_size

        order = TrainingBatches(
            task.train["label"].to_numpy(),
            config.batch_size,
            self.record.steps,
            task.seed,
            start=self.step,
            balanced=config.class_balance == "sampling",
            share=(device, devices),
        )
        augmented = TileDataset(task.train, task.tiles, self.network.resize, build_augmentation(config.augment))
        self.batches = loader(augmented, order, config.workers, devices)

        # Each device validates a part of the tiles. Validation needs no gradients. So if a number of tiles fits
        # into the memory in training, it also fits here.
        rows_of_this_device = task.val.iloc[device::devices]
        not_augmented = TileDataset(rows_of_this_device, task.tiles, self.network.resize)
        val_batch_size = max(1, config.batch_size // (devices * self.record.parts))
        self.val_batches = loader(not_augmented, val_batch_size, config.workers, devices)

    def run(self) -> None:
        """Train to the end.

        Raises:
            PreemptedError: SIGTERM was received, and a checkpoint was written.
            InputError: The training diverged.
        """
        set_training(self.network)
        with StopSignal(forwarded=self.fabric.world_size > 1).watched() as stop:
            batches = iter(self.batches)
            last_checkpoint = time.monotonic()

            while not self._finished():
                if self._validation_is_due():
                    self._validate(stop)
                else:
                    self.advance(batches)

                if self.checkpoints is None:
                    continue
                minutes = (time.monotonic() - last_checkpoint) / 60
                if stop.received or minutes > self.config.checkpoint_minutes:
                    self.checkpoints.save(self.step, self.state())
                    last_checkpoint = time.monotonic()
                if stop.received:
                    self.checkpoints.wait()
                    raise PreemptedError(
                        f"SIGTERM stopped the training after step {self.step}; run the training again, and it "
                        "resumes after this step"
                    )

        if self.checkpoints:
            self.checkpoints.wait()

    def _finished(self) -> bool:
        """Return whether the training is finished.

        It is finished if all steps are done and validated. It can also be finished early: if `patience` is 3, the
        training ends after 3 validations in a row without a new lowest loss.
        """
        if self._validation_is_due():
            return False

        validations_since_best = (self.step - self.record.best_step) // self.interval
        patience = self.config.patience
        stops_early = patience is not None and bool(self.best_weights) and validations_since_best >= patience
        return stops_early or self.step >= self.record.steps

    def _validation_is_due(self) -> bool:
        last_validated = self.record.history[-1]["step"] if self.record.history else 0
        return self.step % self.interval == 0 and self.step > last_validated

    def advance(self, batches: Iterator) -> None:
        """Take one step on the next batch, and measure its time."""
        started = time.perf_counter()
        images, labels = next(batches)
        self.record.wait_seconds += time.perf_counter() - started

        self.train_on(images, labels)
        if self._validation_is_due():
            self.loss_sum.item()  # waits until the device has finished, so that the time includes its work
        self.record.training_seconds += time.perf_counter() - started
        self.record.images += self.config.batch_size
        self._show_progress()

    def _show_progress(self) -> None:
        is_last = self.step == self.record.steps
        if not self.fabric.is_global_zero or not (is_last or self.step % STEPS_BETWEEN_PROGRESS == 0):
            return
        text = "steps"
        if self.record.history:
            text += f", validation accuracy {self.record.history[-1]['val_accuracy']:.3f}"
        progress(self.step, self.record.steps, text)

    def train_on(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Take one optimiser step on this device's share of a batch.

        The share is processed in `record.parts` parts, and their gradients are added. There are several parts if the
        memory is too small for the whole share.

        Args:
            images: (N, 3, H, W) uint8, on any device.
            labels: (N,) int64, on any device.
        """
        set_learning_rate(self.optimizer, self.config, self.step, self.record.steps)
        self._seed_this_step()

        images = images.to(self.fabric.device, non_blocking=True)
        labels = labels.to(self.fabric.device, non_blocking=True)
        image_parts = images.chunk(self.record.parts)
        label_parts = labels.chunk(self.record.parts)
        share = self.config.batch_size / self.fabric.world_size  # Fabric averages the gradients over the devices
        losses = torch.zeros_like(self.loss_sum)

        for number, (part, part_labels) in enumerate(zip(image_parts, label_parts, strict=True), 1):
            is_last = number == len(image_parts)
            with self.fabric.no_backward_sync(self.module, enabled=not is_last):
                loss = self.loss(self.module(part), part_labels)
                self.fabric.backward(loss / share)
            losses += loss.detach()
        # We sum the loss over the devices at every step: all devices resume from the checkpoint of the first device, so
        # this checkpoint must contain the sum.
        self.loss_sum += self._summed_over_devices(losses)

        if self.config.clip_norm:
            clip_gradients(self.optimizer.optimizer, self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.network, step=self.step)

    def _seed_this_step(self) -> None:
        """Seed the random numbers of dropout and stochastic depth from the training's seed, the step and the device."""
        seed = np.random.SeedSequence([self.task.seed, self.step, self.fabric.global_rank])
        torch.manual_seed(int(seed.generate_state(1)[0]))

    def _summed_over_devices(self, value: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over all devices, in place. Return it. Fabric has a method for this, but it makes a GPU wait."""
        if self.fabric.world_size > 1:
            torch.distributed.all_reduce(value)
        return value

    def _validate(self, stop: StopSignal) -> None:
        """Validate, and record the next point of the curves. If the loss is the lowest so far, copy the weights."""
        network = self.network if self.ema is None else self.ema.module
        network.eval()
        sums = self._sums_over_validation(network, stop)
        set_training(self.network)
        if sums is None:
            return

        loss_sum, correct = self._summed_over_devices(sums).tolist()
        point = self._point(loss_sum, correct)
        if not math.isfinite(point["val_loss"]):
            raise InputError(
                f"the validation loss after step {self.step} is {point['val_loss']}: the training has diverged; lower "
                f"learning_rate ({self.config.learning_rate}), or raise warmup ({self.config.warmup})"
            )

        lowest_loss = min((point["val_loss"] for point in self.record.history), default=math.inf)
        self.record.history.append(point)
        self.loss_sum.zero_()
        if point["val_loss"] < lowest_loss:
            self.record.best_step = self.step
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}

        if self.fabric.is_global_zero:
            log.info("%s", ", ".join(f"{key} {value:.5g}" for key, value in point.items() if key != "time"))
            if self.task.run_id:
                record_point(self.task.run_id, point)

    def _sums_over_validation(self, network: Network, stop: StopSignal) -> torch.Tensor | None:
        """Return the summed loss and the number of correct answers on this device's tiles, (2,) float64.

        Return None if SIGTERM was received. Only a training on a single device stops here. It repeats the validation
        after its restart.
        """
        may_stop = self.checkpoints is not None and self.fabric.world_size == 1
        sums = torch.zeros(2, dtype=torch.float64, device=self.fabric.device)

        with torch.inference_mode(), self.fabric.autocast():
            for images, labels in self.val_batches:
                if may_stop and stop.received:
                    return None
                images = images.to(self.fabric.device, non_blocking=True)
                labels = labels.to(self.fabric.device, non_blocking=True)

                logits = network(images).float()
                loss = F.cross_entropy(logits, labels, reduction="sum")
                correct = (logits.argmax(1) == labels).sum()
                sums += torch.stack([loss, correct])
        return sums

    def _point(self, loss_sum: float, correct: float) -> dict[str, float]:
        """Return the next point of the curves: losses, accuracy, speed and times.

        `loss_sum` is the sum of the losses over all validation tiles. `correct` is the number of right answers.
        """
        record = self.record
        images_since_last = self.interval * self.config.batch_size
        seconds, wait_seconds = record.training_seconds, record.wait_seconds
        if record.history:
            seconds -= record.history[-1]["training_seconds"]
            wait_seconds -= record.history[-1]["wait_seconds"]

        return {
            "step": self.step,
            "time": time.time(),
            "train_loss": float(self.loss_sum) / images_since_last,
            "val_loss": loss_sum / len(self.task.val),
            "val_accuracy": correct / len(self.task.val),
            "learning_rate": learning_rate(self.config, self.step - 1, record.steps),
            "images_per_second": images_since_last / seconds,
            "data_wait_share": wait_seconds / seconds,
            "training_seconds": record.training_seconds,
            "wait_seconds": record.wait_seconds,
        }

    def state(self) -> dict:
        """Return everything that a resumed training needs, as nested dicts and lists of tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "best": self.best_weights,
            "weights_sha256": self.network.info.weights_sha256,
            "loss_sum": self.loss_sum,
            "record": asdict(self.record),
        }

    def _restore(self, state: dict, optimizer: torch.optim.Optimizer) -> None:
        self.step = state["step"]
        self.best_weights = state["best"]
        self.network.load_state_dict(state["network"])
        self.network.info = self.network.info.model_copy(update={"weights_sha256": state["weights_sha256"]})
        optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.loss_sum += state["loss_sum"].to(self.fabric.device)

        for name in RESUMED_FIELDS:
            setattr(self.record, name, state["record"][name])
        self.record.resumed_at.append(self.step)
        log.info("resumed after step %d of %d", self.step, self.record.steps)

    def save(self, folder: Path) -> None:
        """Write the network with its best weights to a folder."""
        self.network.load_state_dict(self.best_weights)
        save_network(self.network, folder)
