"""Which precision trains faster on this machine: measured once, then remembered in the store."""

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
from components.shared.network.network import ModelInfo, build_network
from components.shared.services.records import read_record, write_record
from components.shared.services.store import Store
from components.train.config import TrainConfig
from components.train.frozen_layers import freeze, set_training
from components.train.optimizer import make_optimizer

PRECISIONS = ("bf16", "fp32")
MEASURED_STEPS = 3
# Enough for a ratio on a CPU, where a step of a whole batch can take many seconds.
MOST_TILES_ON_A_CPU = 16
PROCESSORS = Path("/proc/cpuinfo")

WAY_OUT_OF_DAMAGE = "delete it, and the next training measures again"

# From configuration, network and device to seconds per step, by precision.
Measure = Callable[[TrainConfig, ModelInfo, str], dict[str, float]]


@dataclass(frozen=True)
class Choice:
    """The precision that was chosen, the shortest time of a step in each, and what decides which is faster."""

    precision: Literal["bf16", "fp32"]
    seconds_per_step: dict[str, float]
    where: dict[str, str | int]


def stored_precision(config: TrainConfig, info: ModelInfo, device: str, store: Store) -> str | None:
    """Return the precision that the training will have, if nothing has to be measured for that; else None.

    That is the one given, fp32 on a device without bf16 in hardware, or what an earlier run on such a machine chose.
    """
    if config.precision != "auto":
        return config.precision
    if pick_precision("auto", device) == "fp32":
        return "fp32"

    name = _name(config, info, device)
    return read_record(store, name, Choice, WAY_OUT_OF_DAMAGE).precision if store.exists(name) else None


def measure_precision(
    config: TrainConfig, info: ModelInfo, device: str, store: Store, measure: Measure | None = None
) -> Literal["bf16", "fp32"]:
    """Time a few training steps in bf16 and in fp32, and remember the faster one.

    The choice decides the run key, so later runs must repeat it: they read it with `stored_precision`.

    Args:
        config: Batch size, devices and what is trained.
        info: The network. Its pretrained weights are not loaded, because they do not change the speed.
        device: "cpu" or "cuda".
        store: Gets the choice and the measured times.
        measure: How to measure; None for `seconds_per_step`.
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
    """Return the shortest time of a few training steps on random tiles, by precision.

    The precisions take turns, so that other work on the machine slows both down. If a GPU's memory is too small, fewer
    tiles are measured.

    Raises:
        torch.OutOfMemoryError: Not even one tile fits.
    """
    tiles = _tiles(config, device)
    while True:
        try:
            return _time_steps(config, info, device, tiles)
        except torch.OutOfMemoryError:
            if tiles == 1:
                raise
        finally:
            torch.cuda.empty_cache()  # the training, which may run in other processes, needs the memory
        tiles //= 2


def _time_steps(config: TrainConfig, info: ModelInfo, device: str, tiles: int) -> dict[str, float]:
    """Return the shortest time of a step by precision, on so many random tiles."""
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

            # The first turn also chooses algorithms and fills caches.
            if turn > 0:
                seconds[precision] = min(seconds[precision], _now(device) - started)
    return seconds


def _tiles(config: TrainConfig, device: str) -> int:
    """Tiles in a measured step: a device's share of a batch, on a CPU not more than a few."""
    share = max(1, config.batch_size // count_devices(config.devices))
    return share if device == "cuda" else min(share, MOST_TILES_ON_A_CPU)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _name(config: TrainConfig, info: ModelInfo, device: str) -> str:
    return f"precision/{digest(_circumstances(config, info, device))}.json"


def _circumstances(config: TrainConfig, info: ModelInfo, device: str) -> dict[str, str | int]:
    """Return what decides which precision is faster."""
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
    """Return the processor's name, empty where Linux does not give it."""
    lines = PROCESSORS.read_text().splitlines() if PROCESSORS.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else ""
