"""Train one candidate: on every device of the machine, from its last checkpoint, within the memory there is."""

import gc
import os
import re
import signal
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.multiprocessing import ProcessRaisedException

from components.shared.errors import InputError
from components.shared.events import join_step, warn
from components.shared.network.device import count_devices, pick_device, pick_precision
from components.shared.services.store import Store
from components.train.checkpoints import PASSED_ON, Checkpoints, PreemptedError
from components.train.config import TrainConfig
from components.train.loop import Loop
from components.train.task import Task, TrainingRecord

# PyTorch has an error of its own for a GPU's memory only; cuBLAS, cuDNN and the processor's allocator say it in words
_MEMORY = re.compile(r"out of memory|DefaultCPUAllocator|_ALLOC_FAILED|unable to find an engine")


def fit(task: Task, folder: Path) -> TrainingRecord:
    """Train a network, and write it with its best weights by validation loss as a saved model.

    Out of memory, every device's share of a batch is cut into twice as many parts, whose gradients add up to those of
    the same batch, and the training is taken up at its last checkpoint.

    Args:
        task: What to train.
        folder: Gets model.safetensors and model.json.

    Raises:
        InputError: Not even one image fits into the memory; fewer devices are there than wanted.
        PreemptedError: SIGTERM came; what was done is kept.
    """
    config, device = task.config, pick_device(task.config.require_gpu)
    devices = min(count_devices(config.devices), config.batch_size)
    steps, interval = length(config, len(task.train))
    share, parts = -(-config.batch_size // devices), 1
    while True:
        record = TrainingRecord(pick_precision(config.precision, device), device, devices, steps, parts)
        try:
            return _launch(record, task, interval, folder)
        except RuntimeError as error:
            if not _MEMORY.search(str(error)):
                raise
            if parts >= share:
                raise InputError(
                    f"{config.architecture} at {config.input_size} px does not fit into the memory of the {device} "
                    "even with one image at a time; choose a smaller input_size or architecture, or a larger device"
                ) from error
        gc.collect()  # not inside `except`: the error's frames hold the tensors
        torch.cuda.empty_cache()
        parts = min(2 * parts, share)
        warn(
            f"out of memory with {share} images at a time: taken in {parts} parts from here on, whose gradients add up "
            f"to those of the same batch of {config.batch_size}"
        )


def length(config: TrainConfig, images: int) -> tuple[int, int]:
    """Steps in all, and between validations: whole intervals, so that the last step is validated too."""
    steps = config.steps or max(1, int((config.epochs or 1) * images / config.batch_size))
    validations = min(steps, round(1 / config.val_check_interval))
    interval = steps // validations
    return interval * validations, interval


def _launch(record: TrainingRecord, task: Task, interval: int, folder: Path) -> TrainingRecord:
    """Run the loop here, or in one process for each of several devices."""
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
    before = signal.signal(signal.SIGTERM, _pass_on)
    try:
        return fabric.launch(run)
    except ProcessRaisedException as error:
        raise _original(error) from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _pass_on(*_: Any) -> None:
    for process in active_children():
        if process.pid:
            os.kill(process.pid, PASSED_ON)


def _original(error: ProcessRaisedException) -> Exception:
    """The error that ended a process, of which its traceback alone comes through."""
    last = str(error).rpartition("Traceback (most recent call last):\n")[2].rstrip()
    found = re.search(r"^([\w.]+)(?:: (.*))?\Z", last, re.MULTILINE | re.DOTALL)  # behind the indented frames
    if found is None:
        return error
    ours = {kind.__name__: kind for kind in (PreemptedError, InputError)}.get(found[1].rpartition(".")[2])
    return ours(found[2]) if ours else RuntimeError(found[0])


def _run(fabric: Fabric, record: TrainingRecord, task: Task, interval: int, folder: Path) -> TrainingRecord:
    if fabric.world_size > 1:
        join_step(f"train {task.config.candidate}")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS does not repeat itself
    torch.use_deterministic_algorithms(task.config.deterministic)
    torch.backends.cudnn.benchmark = not task.config.deterministic
    kept = Checkpoints(Store(task.config.store), task.key) if task.key else None
    state = kept.newest() if kept else None
    loop = Loop(fabric, task, record, interval, kept if fabric.is_global_zero else None, state)
    loop.run()
    if fabric.is_global_zero:
        loop.save(folder)
    return record
