"""Images per second of a training, beside what the device could do and what timm's own loader does.

    make bench-train

In one run on one machine, at one precision and in channels_last: (a) the training loop of components/train, from shards
to optimiser steps; (b) the same network on a fixed batch that already lies on the device, the ceiling; (c) timm's
`create_loader` with its training transforms on the same tiles as files in folders, and a plain loop, which cuts long
gradients as timm's script does with `--clip-grad` and as (a) does by default, but (b) does not; and (b) again with the
head alone trained, as `tuning: head_only` does. They take short turns, round after round, each round in another
order; a turn's clock starts when the batches are used up that were decoded while others had their turn. What counts are
the ratios within a round, which other work on the machine hits alike: their median, and its 95 % interval.

Before that, decoding and augmenting alone, ours and timm's: how many processors a device of a given speed needs.
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
from components.shared.network.tiles import TileDataset
from components.train.augmentation import build_augmentation
from components.train.config import AugmentConfig, TrainConfig
from components.train.loop import Loop
from components.train.recipe import freeze, set_training
from components.train.task import Task, TrainingRecord

NETWORKS = ("resnet50", "vit_base_patch16_224")
ROUNDS = 6  # at least: of fewer, a median has no 95 % interval
AUGMENT = AugmentConfig(flip=True)
DRAWN, TILE = 192, 256  # the tiles of SDNET2018 have 256 px


def draw_tiles(folder: Path, count: int) -> pd.DataFrame:
    """Write tiles, some of them again and again, as shards and as files in a folder by class; return manifest rows."""
    drawn = [
        (tile.label, cv2.imencode(".jpg", cv2.cvtColor(tile.image, cv2.COLOR_RGB2BGR))[1].tobytes())
        for tile in draw_dataset(DRAWN, seed=1, size=TILE)
    ]
    tiles = [drawn[number % DRAWN] for number in range(count)]
    for number, (label, data) in enumerate(tiles):
        path = folder / "files" / str(label) / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    members = (Member(f"{number:05d}", data, ".jpg") for number, (_, data) in enumerate(tiles))
    places = write_shards(members, folder / "version" / "shards")
    return pd.DataFrame(place.__dict__ for place in places).assign(label=[label for label, _ in tiles])


class Plan(NamedTuple):
    """Images (pixels, number) of a batch on a device, and counted steps of a turn."""

    device: str
    size: int
    batch: int
    steps: int


class Contest:
    """The loops of one network on one device, each ready to take steps."""

    def __init__(self, architecture: str, device: str, size: int, batch: int, rows: pd.DataFrame, folder: Path):
        self.device, self.batch, self.size = device, batch, size
        self.bf16 = pick_precision("auto", device) == "bf16"
        config = TrainConfig(
            architecture=architecture, weights="none", steps=10**6, batch_size=batch, input_size=size, augment=AUGMENT
        )  # fmt: skip
        info = describe(architecture, "none", size, 1)
        task = Task(info, rows, rows, folder / "version", config, seed=1)
        fabric = Fabric(accelerator=device, devices=1, precision="bf16-mixed" if self.bf16 else "32-true")
        fabric.launch()
        record = TrainingRecord("bf16" if self.bf16 else "fp32", device, 1, config.steps or 0)
        self.loop = Loop(fabric, task, record, interval=10**6, kept=None, state=None)
        set_training(self.loop.network)
        self.workers = self.loop.batches.num_workers
        self.decoded = self.workers * (self.loop.batches.prefetch_factor or 0)  # batches, of ours and of timm's
        self.batches = iter(self.loop.batches)
        self.plain = build_network(info).to(device, memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.AdamW(self.plain.parameters(), fused=True)
        images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
        self.fixed = images.to(memory_format=torch.channels_last), torch.arange(batch, device=device) % 2
        self.files = endless(timms_loader(folder / "files", size, batch, self.workers, device))

    def ours(self) -> None:
        """(a)"""
        self.loop.advance(self.batches)

    def ceiling(self) -> None:
        """(b)"""
        self._step(self.plain, *self.fixed)

    def head_only(self) -> None:
        """As (b); of the head alone, for which `turn` freezes the rest."""
        self._step(self.plain, *self.fixed)

    def timms(self) -> None:
        """(c)"""
        images, labels = next(self.files)
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        self._step(self.plain.backbone, images, labels, self.loop.config.clip_norm)

    def turn(self, name: str, steps: int) -> float:
        """Images a second of some steps, after others that are not counted."""
        freeze(self.plain, "head_only" if name == "head_only" else "full")
        set_training(self.plain)
        step = getattr(self, name)
        for _ in range(1 + self.decoded * (name in ("ours", "timms"))):
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
        self, network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, longest: float | None = None
    ) -> None:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            logits = network(images)
        F.cross_entropy(logits.float(), labels, label_smoothing=0.1).backward()
        if longest:
            dispatch_clip_grad(network.parameters(), longest)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def timms_loader(files: Path, size: int, batch: int, workers: int, device: str) -> Iterable:
    """timm's batches of a folder's files, once through, as its training script makes them."""
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
    """All batches again and again."""
    while True:
        yield from batches


def race(contest: Contest, steps: int, minutes: float) -> pd.DataFrame:
    """Images a second of every contestant, a row per round, until the time is up."""
    names = ["ours", "ceiling", "timms", "head_only"]
    rounds: list[dict[str, float]] = []
    deadline = time.monotonic() + 60 * minutes
    while len(rounds) < ROUNDS or time.monotonic() < deadline:
        first = len(rounds) % len(names)
        rounds.append({name: contest.turn(name, steps) for name in names[first:] + names[:first]})
    return pd.DataFrame(rounds)


def spoken(ratios: pd.Series) -> str:
    """The median of ratios with its 95 % interval, by order statistics."""
    interval = quantile_test(ratios, p=0.5).confidence_interval()
    return f"{ratios.median():.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def bench(architecture: str, plan: Plan, minutes: float) -> None:
    """Print the figures of one network on one device."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = draw_tiles(Path(scratch), 50 * plan.batch)
        contest = Contest(architecture, plan.device, plan.size, plan.batch, rows, Path(scratch))
        rates = race(contest, plan.steps, minutes)
    a, b, c = rates["ours"], rates["ceiling"], rates["timms"]
    print(
        f"{plan.device} {architecture} {plan.size} px, batch {plan.batch}, {'bf16' if contest.bf16 else 'fp32'}, "
        f"{contest.workers} workers, {len(rates)} rounds of {plan.steps} steps:\n"
        f"  (a) ours end to end {a.median():.1f} images/s, (b) ceiling {b.median():.1f}, "
        f"(c) timm from files {c.median():.1f}\n"
        f"  (a)/(b) {spoken(a / b)}   (a)/(c) {spoken(a / c)}   head_only/full {spoken(rates['head_only'] / b)}",
        flush=True,
    )


def bench_decoding(size: int, rounds: int = 40, images: int = 32) -> None:
    """Print how many images a second one process decodes and augments, with no network beside it."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = draw_tiles(Path(scratch), DRAWN)
        ours = TileDataset(rows, Path(scratch) / "version", size, build_augmentation(AUGMENT))
        timms = timms_loader(Path(scratch) / "files", size, images, 0, "cpu").dataset
        rates = pd.DataFrame(index=range(rounds), columns=["ours", "timms"], dtype=float)
        for turn, name in itertools.product(range(rounds), rates):
            keys = [(turn * images + number) % DRAWN for number in range(images)]
            started = time.perf_counter()
            for key in keys:
                _ = ours[key, turn] if name == "ours" else timms[key]
            rates.loc[turn, name] = images / (time.perf_counter() - started)
    print(
        f"decoding and augmenting alone, {TILE} to {size} px, one process: ours {rates['ours'].median():.0f} images/s, "
        f"timm {rates['timms'].median():.0f}; ours/timm {spoken(rates['ours'] / rates['timms'])}",
        flush=True,
    )


def main() -> None:
    """Bench the CPU, and the GPU where there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--minutes", type=float, default=3, help="of each network on each device")
    options = parser.parse_args()
    torch.backends.cudnn.benchmark = True  # as a training does, and the next line what it does to the memory
    pick_device()
    plans = [Plan("cpu", size=128, batch=8, steps=3)]
    if torch.cuda.is_available():
        plans.append(Plan("cuda", size=224, batch=128, steps=40))
    bench_decoding(size=224)
    for plan in plans:
        for architecture in options.networks:
            bench(architecture, plan, options.minutes)
    if len(plans) == 1:
        print("GPU: not run, PyTorch sees none on this machine")


if __name__ == "__main__":
    main()
