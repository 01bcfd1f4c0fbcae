"""Tiles per second of a training, compared with what the device could do and with timm's own loader.

    make bench-train

One run measures four things on one machine, at one precision and in channels_last:

(a) the training loop of components/train, from shards to optimiser steps;
(b) the same network on a fixed batch that is already on the device, which is the ceiling;
(c) timm's `create_loader` with its training transforms, on the same tiles as files in folders, and a plain loop;
(d) as (b), with only the head trained, as `tuning: head_only` does.

(a) and (c) clip long gradients, as timm's script does with `--clip-grad`; (b) and (d) do not.

The contestants take short turns in rounds, each round in another order. While a contestant waits for its turn, its
workers still decode batches. The clock of a turn starts only after these batches are used up. The results are ratios
within a round, because other work on the machine affects all turns of a round alike. We print the median of the ratios
with its 95 % interval.

Before that, it measures decoding and augmenting alone, ours and timm's. This shows how many processors a device of a
given speed needs.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import pandas as pd
import timm.data
import torch
from lightning_fabric import Fabric
from scipy.stats import quantile_test
from timm.utils import dispatch_clip_grad
from torch.nn import functional as F

from components.ingest.sources.synthetic import draw_dataset
from components.shared.data.shards import Member, write_shards
from components.shared.network.device import pick_device, pick_precision
from components.shared.network.network import build_network, describe
from components.shared.network.resize import Resize
from components.shared.network.tiles import TileDataset
from components.train.augmentation import build_augmentation
from components.train.config import PAPER_AUGMENTATION, TrainConfig
from components.train.frozen_layers import freeze, set_training
from components.train.loop import Loop
from components.train.task import Task, TrainingRecord

NETWORKS = ("resnet50", "vit_base_patch16_224")
CONTESTANTS = ("ours", "ceiling", "timms", "head_only")
# With fewer rounds, a median does not have a 95 % interval.
FEWEST_ROUNDS = 6
FLIPS = ({"HorizontalFlip": {}}, {"VerticalFlip": {}})
AUGMENT = (*FLIPS, *PAPER_AUGMENTATION)
# The same with Albumentations' own transforms for colour and noise.
STOCK_NAMES = {"FastColorJitter": "ColorJitter", "FastGaussNoise": "GaussNoise"}
STOCK_AUGMENT = [
    {STOCK_NAMES.get(name, name): arguments} for transform in AUGMENT for name, arguments in transform.items()
]
DRAWN_TILES = 192
TILE_SIZE = 256  # pixels, as in SDNET2018


def draw_tiles(folder: Path, count: int) -> pd.DataFrame:
    """Write `count` tiles as shards, and as files in class folders; return manifest rows. DRAWN_TILES tiles differ."""
    drawn = []
    for tile in draw_dataset(DRAWN_TILES, seed=1, size=TILE_SIZE):
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(tile.image, cv2.COLOR_RGB2BGR))[1].tobytes()
        drawn.append((tile.label, jpeg))

    members, labels = [], []
    for number in range(count):
        label, jpeg = drawn[number % DRAWN_TILES]
        path = folder / "files" / str(label) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg)
        members.append(Member(f"{number:05d}", jpeg, ".jpg"))
        labels.append(label)

    places = write_shards(iter(members), folder / "version" / "shards")
    return pd.DataFrame(place.__dict__ for place in places).assign(label=labels)


class Plan(NamedTuple):
    """The device, the tiles' size in pixels, the batch size, and the measured steps of a turn."""

    device: str
    size: int
    batch: int
    steps: int


class Contest:
    """The loops of one network on one device, each ready to take steps."""

    def __init__(
        self,
        architecture: str,
        device: str,
        size: int,
        batch: int,
        rows: pd.DataFrame,
        folder: Path,
        is_compiled: bool = False,
    ):
        self.device = device
        self.batch = batch
        self.bf16 = pick_precision("auto", device) == "bf16"

        config = TrainConfig(
            architecture=architecture, weights="none", steps=10**6, batch_size=batch, input_size=size, augment=AUGMENT,
            compile=is_compiled,
        )  # fmt: skip
        info = describe(architecture, "none", size, 1)
        task = Task(info, rows, rows, folder / "version", config, seed=1)
        fabric = Fabric(accelerator=device, devices=1, precision="bf16-mixed" if self.bf16 else "32-true")
        fabric.launch()
        record = TrainingRecord("bf16" if self.bf16 else "fp32", device, 1, config.steps or 0)
        self.loop = Loop(fabric, task, record, interval=10**6, checkpoints=None, state=None)
        set_training(self.loop.network)
        self.workers = self.loop.batches.num_workers
        self.prefetched_batches = self.workers * (self.loop.batches.prefetch_factor or 0)
        self.batches = iter(self.loop.batches)

        self.plain = build_network(info).to(device, memory_format=torch.channels_last).train()
        if is_compiled:
            self.plain.compile()
        self.optimizer = torch.optim.AdamW(self.plain.parameters(), fused=True)

        images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
        self.fixed_images = images.to(memory_format=torch.channels_last)
        self.fixed_labels = torch.arange(batch, device=device) % 2
        self.batches_from_files = endless(timms_loader(folder / "files", size, batch, self.workers, device))

    def ours(self) -> None:
        """(a) the training loop of components/train."""
        self.loop.advance(self.batches)

    def ceiling(self) -> None:
        """(b) the network on a fixed batch."""
        self._step(self.plain, self.fixed_images, self.fixed_labels)

    def head_only(self) -> None:
        """(d) as (b); `turn` has frozen everything but the head."""
        self._step(self.plain, self.fixed_images, self.fixed_labels)

    def timms(self) -> None:
        """(c) timm's loader and a plain loop."""
        images, labels = next(self.batches_from_files)
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        self._step(self.plain.backbone, images, labels, self.loop.config.clip_norm)

    def turn(self, name: str, steps: int) -> float:
        """Take some steps to warm up, then measure `steps` steps. Return the tiles per second of the measured steps."""
        freeze(self.plain, "head_only" if name == "head_only" else "full")
        set_training(self.plain)
        step = getattr(self, name)
        unmeasured = 1 + (self.prefetched_batches if name in ("ours", "timms") else 0)
        for _ in range(unmeasured):
            step()

        started = self._now()
        for _ in range(steps):
            step()
        return self.batch * steps / (self._now() - started)

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _step(
        self, network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, clip_norm: float | None = None
    ) -> None:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            logits = network(images)
        F.cross_entropy(logits.float(), labels, label_smoothing=0.1).backward()
        if clip_norm:
            dispatch_clip_grad(network.parameters(), clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def timms_loader(files: Path, size: int, batch: int, workers: int, device: str) -> Iterable:
    """Return timm's batches of a folder's files, each file once, as timm's training script makes them."""
    return timm.data.create_loader(
        timm.data.create_dataset("", root=str(files)),
        input_size=(3, size, size),
        batch_size=batch,
        is_training=True,
        color_jitter=0.2,
        vflip=0.5,
        num_workers=workers,
        pin_memory=device == "cuda",
        device=torch.device(device),
        persistent_workers=workers > 0,
    )


def endless(batches: Iterable) -> Iterator:
    """Repeat all batches for ever."""
    while True:
        yield from batches


def race(contest: Contest, steps: int, minutes: float) -> pd.DataFrame:
    """Return the tiles per second of every contestant, a row per round, until the time is up."""
    rounds: list[dict[str, float]] = []
    deadline = time.monotonic() + 60 * minutes
    while len(rounds) < FEWEST_ROUNDS or time.monotonic() < deadline:
        first = len(rounds) % len(CONTESTANTS)
        order = CONTESTANTS[first:] + CONTESTANTS[:first]
        rounds.append({name: contest.turn(name, steps) for name in order})
    return pd.DataFrame(rounds)


def with_interval(ratios: pd.Series) -> str:
    """Return the median of ratios with its 95 % interval, from order statistics."""
    interval = quantile_test(ratios, p=0.5).confidence_interval()
    return f"{ratios.median():.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def bench(architecture: str, plan: Plan, minutes: float) -> None:
    """Print the results of one network on one device."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = draw_tiles(Path(scratch), 50 * plan.batch)
        contest = Contest(architecture, plan.device, plan.size, plan.batch, rows, Path(scratch))
        rates = race(contest, plan.steps, minutes)

    ours, ceiling, timms = rates["ours"], rates["ceiling"], rates["timms"]
    precision = "bf16" if contest.bf16 else "fp32"
    print(
        f"{plan.device} {architecture} {plan.size} px, batch {plan.batch}, {precision}, "
        f"{contest.workers} workers, {len(rates)} rounds of {plan.steps} steps:\n"
        f"  (a) ours end to end {ours.median():.1f} tiles/s, (b) ceiling {ceiling.median():.1f}, "
        f"(c) timm from files {timms.median():.1f}\n"
        f"  (a)/(b) {with_interval(ours / ceiling)}   (a)/(c) {with_interval(ours / timms)}   "
        f"(d)/(b) {with_interval(rates['head_only'] / ceiling)}",
        flush=True,
    )


def bench_decoding(size: int, rounds: int = 40, images: int = 32) -> None:
    """Print how many tiles one process decodes and augments per second of processor time, without a network.

    We measure processor time, because it does not contain the other work on the machine.
    """
    with tempfile.TemporaryDirectory() as scratch:
        rows = draw_tiles(Path(scratch), DRAWN_TILES)
        version = Path(scratch) / "version"
        contestants = {
            "ours": TileDataset(rows, version, Resize(size), build_augmentation(AUGMENT)),
            "stock": TileDataset(rows, version, Resize(size), build_augmentation(STOCK_AUGMENT)),
            "timms": timms_loader(Path(scratch) / "files", size, images, 0, "cpu").dataset,
        }
        rates = pd.DataFrame(index=range(rounds), columns=list(contestants), dtype=float)

        for turn, name in itertools.product(range(rounds), contestants):
            tiles = contestants[name]
            numbers = range(turn * images, (turn + 1) * images)
            started = time.process_time()
            for number in numbers:
                index = number % DRAWN_TILES
                _ = tiles[index] if name == "timms" else tiles[index, number]
            rates.loc[turn, name] = images / (time.process_time() - started)
    print(
        f"decoding and augmenting alone, {TILE_SIZE} to {size} px, one process: ours {rates['ours'].median():.0f} "
        f"tiles/s, with Albumentations' stock transforms {rates['stock'].median():.0f}, timm "
        f"{rates['timms'].median():.0f}; ours/timm {with_interval(rates['ours'] / rates['timms'])}, stock/timm "
        f"{with_interval(rates['stock'] / rates['timms'])}",
        flush=True,
    )


def main() -> None:
    """Bench the CPU, and the GPU if there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--minutes", type=float, default=3, help="of each network on each device")
    options = parser.parse_args()

    # Both as a training does: cuDNN's choice of algorithms, and the memory that the process keeps.
    torch.backends.cudnn.benchmark = True
    pick_device()

    plans = [Plan("cpu", size=128, batch=8, steps=3)]
    if torch.cuda.is_available():
        plans.append(Plan("cuda", size=224, batch=128, steps=40))
    bench_decoding(size=224)
    for plan in plans:
        for architecture in options.networks:
            bench(architecture, plan, options.minutes)
    if len(plans) == 1:
        print("GPU: not run, because PyTorch sees none on this machine")


if __name__ == "__main__":
    main()
