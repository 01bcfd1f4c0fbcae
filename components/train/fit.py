"""Train one candidate on all devices. Resume from the last checkpoint, and split batches if memory runs out."""

import gc
import os
import re
import signal
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch.multiprocessing import ProcessRaisedException

from components.shared.errors import InputError
from components.shared.events import join_step, warn
from components.shared.network.device import count_devices, pick_device, pick_precision
from components.shared.services.store import Store
from components.train.checkpoints import FORWARDED_STOP, Checkpoints, PreemptedError
from components.train.config import TrainConfig
from components.train.loop import Loop
from components.train.task import Task, TrainingRecord

# PyTorch has a special error class only for its own allocator on a GPU. If cuBLAS, cuDNN or the CPU's allocator runs
# out of memory, only the message of the error shows it.
_OUT_OF_MEMORY = re.compile(r"out of memory|DefaultCPUAllocator|_ALLOC_FAILED|unable to find an engine")
_TRACEBACK = "Traceback (most recent call last):\n"


class Length(NamedTuple):
    """The number of optimiser steps of a training, and the number of steps between two validations."""

    steps: int
    interval: int


def fit(task: Task, folder: Path) -> TrainingRecord:
    """Train a network, and write a saved model with the weights that had the lowest validation loss.

    If memory runs out, every device's share of a batch is split into twice as many parts as before, and the training
    resumes from its last checkpoint. The gradients of the parts add up to the gradient of the whole batch.

    Args:
        task: The network, data and settings of the training.
        folder: Folder for model.safetensors, model.json and model.sha256.

    Raises:
        InputError: The memory is too small for a single tile, the training diverged, or there are fewer devices than
            `config.devices`.
        PreemptedError: SIGTERM was received; a checkpoint was written.
    """
    config = task.config
    device = pick_device(config.require_gpu)
    devices = min(count_devices(config.devices), config.batch_size)
    precision = pick_precision(config.precision, device)
    steps, interval = length(config, len(task.train))

    share = -(-config.batch_size // devices)  # rounded up
    parts = 1
    while True:
        record = TrainingRecord(precision, device, devices, steps, parts)
        try:
            return _launch(record, task, interval, folder)
        except RuntimeError as error:
            if not _OUT_OF_MEMORY.search(str(error)):
                raise
            if parts >= share:
                raise InputError(
                    f"{config.architecture} at {config.input_size} px does not fit into the memory of the {device} "
                    "even with one tile at a time; choose a smaller input_size or architecture, or a larger device"
                ) from error

        # We free the memory after the `except` block. Inside the block, the error still refers to the tensors.
        gc.collect()
        torch.cuda.empty_cache()
        parts = min(2 * parts, share)
        warn(
            f"memory ran out with {share} tiles at a time. A device now processes these tiles in {parts} parts and "
            f"adds the gradients of the parts, so a batch still has {config.batch_size} tiles"
        )


def length(config: TrainConfig, images: int) -> Length:
    """Return the length of a training in steps, and the interval between validations.

    The length is rounded down to a multiple of the interval, so that there is a validation after the last step.

    Args:
        config: `epochs` or `steps` gives the length, and `val_check_interval` gives the interval.
        images: Number of tiles in the training split.
    """
    steps = config.steps
    if steps is None:
        steps = max(1, int((config.epochs or 1) * images / config.batch_size))
    validations = min(steps, round(1 / config.val_check_interval))
    interval = steps // validations
    return Length(interval * validations, interval)


def _launch(record: TrainingRecord, task: Task, interval: int, folder: Path) -> TrainingRecord:
    """Run the training in this process or, if there are several devices, in one child process for each device."""
    fabric = Fabric(
        accelerator=record.device,
        devices=record.devices,
        strategy="ddp_spawn" if record.devices > 1 else "auto",
        precision="bf16-mixed" if record.precision == "bf16" else "32-true",
    )
    run = partial(_run, record=record, task=task, interval=interval, folder=folder)
    if record.devices == 1:
        fabric.launch()
        return run(fabric)

    previous = signal.signal(signal.SIGTERM, _forward_stop)
    try:
        return fabric.launch(run)
    except ProcessRaisedException as error:
        raise _original_error(error) from error
    finally:
        signal.signal(signal.SIGTERM, previous)


def _forward_stop(*_: Any) -> None:
    for process in active_children():
        if process.pid:
            os.kill(process.pid, FORWARDED_STOP)


def _original_error(error: ProcessRaisedException) -> Exception:
    """Return the error that ended a child process. We build it again from the text of the traceback in `error`."""
    last_traceback = str(error).rpartition(_TRACEBACK)[2].rstrip()
    # The frames of a traceback are indented. The line with the error is not indented.
    found = re.search(r"^([\w.]+)(?:: (.*))?\Z", last_traceback, re.MULTILINE | re.DOTALL)
    if found is None:
        return error

    name = found[1].rpartition(".")[2]
    for kind in (PreemptedError, InputError):
        if name == kind.__name__:
            return kind(found[2])
    return RuntimeError(found[0])


def _run(fabric: Fabric, record: TrainingRecord, task: Task, interval: int, folder: Path) -> TrainingRecord:
    """Train in this process. Only the first process writes the saved model."""
    config = task.config
    if fabric.world_size > 1:
        join_step(f"train {config.candidate}")

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS is not deterministic
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic

    checkpoints = Checkpoints(Store(config.store), task.key) if task.key else None
    state = checkpoints.newest() if checkpoints else None
    if not fabric.is_global_zero:
        checkpoints = None

    loop = Loop(fabric, task, record, interval, checkpoints, state)
    loop.run()
    if fabric.is_global_zero:
        loop.save(folder)
    return record
