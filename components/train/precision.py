"""Measure which precision trains faster on this type of machine, and store the result for later runs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch.nn import functional as F

from components.shared.events import log
from components.shared.hashing import digest
from components.shared.network.device import count_devices, pick_precision
from components.shared.network.model_info import ModelInfo
from components.shared.network.network import build_network
from components.shared.services.records import read_record, write_record
from components.shared.services.store import DamagedObjectError, MissingObjectError, Store
from components.train.config import TrainConfig
from components.train.frozen_layers import freeze, set_training
from components.train.optimizer import make_optimizer

PRECISIONS = ("bf16", "fp32")
MEASURED_STEPS = 3
# On a CPU, a step with a whole batch can take many seconds. This number of tiles is enough to compare two precisions.
MAX_TILES_ON_A_CPU = 16
PROCESSORS = Path("/proc/cpuinfo")

# A function of configuration, network and device. It returns a dict: precision -> seconds per step.
Measure = Callable[[TrainConfig, ModelInfo, str], dict[str, float]]


@dataclass(frozen=True)
class Choice:
    """The result of a measurement: which precision trains faster, bf16 or fp32.

    Attributes:
        precision: The precision that trains faster.
        seconds_per_step: Precision -> shortest measured time of a training step, in seconds.
        where: The circumstances of the measurement, such as the machine and the network.
    """

    precision: Literal["bf16", "fp32"]
    seconds_per_step: dict[str, float]
    where: dict[str, str | int]


def stored_precision(config: TrainConfig, info: ModelInfo, device: str, store: Store) -> str | None:
    """Return the precision of the training if it is known. Return None if it must be measured.

    The precision is known in three cases: the configuration names it, the device has no hardware for bf16 (then the
    precision is fp32), or an earlier run on the same type of machine has measured which precision is faster.
    """
    if config.precision != "auto":
        return config.precision
    if pick_precision("auto", device) == "fp32":
        return "fp32"

    name = _name(config, info, device)
    try:
        return read_record(store, name, Choice, "it is measured again").precision
    except MissingObjectError:
        return None
    except DamagedObjectError as error:
        log.warning("%s", error)
        return None


def measure_precision(
    config: TrainConfig, info: ModelInfo, device: str, store: Store, measure: Measure | None = None
) -> Literal["bf16", "fp32"]:
    """Measure the time of a few training steps in bf16 and in fp32, and store which one is faster.

    A later run can reuse this training only with the same precision, because the run key depends on the precision. So
    we store which precision is faster, and later runs read it with `stored_precision`.

    Args:
        config: Batch size, devices, and which layers are trained.
        info: The network. Its pretrained weights are not loaded, because they do not change the speed.
        device: "cpu" or "cuda".
        store: The store in which the result and the measured times are written.
        measure: Function that measures the times. None means `seconds_per_step`.

    Returns:
        The faster precision.
    """
    seconds = (measure or seconds_per_step)(config, info, device)
    faster: Literal["bf16", "fp32"] = "bf16" if seconds["bf16"] < seconds["fp32"] else "fp32"
    log.info(
        "precision auto: a step takes %.3f s in bf16 and %.3f s in fp32; training in %s",
        seconds["bf16"],
        seconds["fp32"],
        faster,
    )

    choice = Choice(faster, seconds, _circumstances(config, info, device))
    write_record(store, _name(config, info, device), choice)
    return faster


def seconds_per_step(config: TrainConfig, info: ModelInfo, device: str) -> dict[str, float]:
    """Measure training steps on random tiles. Return a dict: precision -> shortest time of a step, in seconds.

    We do one step in each precision in turn. So if another program uses the machine, both precisions become slower. If
    a GPU's memory is too small, fewer tiles are used.

    Raises:
        torch.OutOfMemoryError: Not even one tile fits into the memory.
    """
    tiles = _tiles(config, device)
    while True:
        try:
            return _time_steps(config, info, device, tiles)
        except torch.OutOfMemoryError:
            if tiles == 1:
                raise
        finally:
            torch.cuda.empty_cache()  # the training, which may run in other processes, needs this memory
        tiles //= 2


def _time_steps(config: TrainConfig, info: ModelInfo, device: str, tiles: int) -> dict[str, float]:
    """Return a dict: precision -> shortest time of a step, in seconds. A step uses `tiles` random tiles."""
    network = build_network(info, load_weights=False).to(memory_format=torch.channels_last).to(device)
    freeze(network, config.tuning)
    set_training(network)
    optimizer = make_optimizer(network, config)

    images = torch.randint(0, 256, (tiles, 3, info.input_size, info.input_size), dtype=torch.uint8, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(tiles, device=device) % 2

    seconds = dict.fromkeys(PRECISIONS, float("inf"))
    for turn in range(1 + MEASURED_STEPS):
        for precision in PRECISIONS:
            started = _now(device)
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                logits = network(images)
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            # We do not count the first turn, in which PyTorch also chooses algorithms and fills caches.
            if turn > 0:
                seconds[precision] = min(seconds[precision], _now(device) - started)
    return seconds


def _tiles(config: TrainConfig, device: str) -> int:
    """Return the number of tiles in each training step of the measurement.

    The number is a device's share of a batch. On a CPU, it is at most `MAX_TILES_ON_A_CPU`, so that the measurement
    does not take too long.
    """
    share = max(1, config.batch_size // count_devices(config.devices))
    return share if device == "cuda" else min(share, MAX_TILES_ON_A_CPU)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _name(config: TrainConfig, info: ModelInfo, device: str) -> str:
    return f"precision/{digest(_circumstances(config, info, device))}.json"


def _circumstances(config: TrainConfig, info: ModelInfo, device: str) -> dict[str, str | int]:
    """Return all facts on which the measurement can depend. The digest of these facts names the stored result."""
    return {
        "machine": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "architecture": info.architecture,
        "input_size": info.input_size,
        "tiles": _tiles(config, device),
        "tuning": config.tuning,
    }


def _processor() -> str:
    """Return the name of the processor, or "" if Linux does not know the name."""
    lines = PROCESSORS.read_text().splitlines() if PROCESSORS.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else ""
