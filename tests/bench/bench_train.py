"""Images per second of a training, beside what the device could do and what timm's own loader does.

    make bench-train

In one run on one machine, at one precision and in channels_last: (a) the training loop of components/train, from shards
to optimiser steps; (b) the same network on a fixed batch that already lies on the device, the ceiling; (c) timm's
`create_loader` with its training transforms on the same tiles as files in folders, and a plain loop. The three take
turns, and the median of the turns counts, so that other work on the machine hits them alike; a turn's clock starts when
the batches are used up that were decoded while others had their turn. Last, the step of `tuning: head_only` beside that
of `full`. The ratios mean something on a busy machine too, the absolute numbers do not.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pandas as pd
import timm.data
import torch
from lightning_fabric import Fabric
from torch.nn import functional as F

from components.ingest.synthetic import draw_dataset
from components.shared.config import AugmentConfig
from components.shared.model import Network, build_network, describe
from components.shared.runtime import pick_precision
from components.shared.shards import Member, write_shards
from components.train.config import TrainConfig
from components.train.loop import Loop
from components.train.recipe import freeze, set_training
from components.train.task import Task, TrainingRecord

NETWORKS = ("resnet50", "vit_base_patch16_224")
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


class Contest:
    """The three loops on one device, each ready to take steps."""

    def __init__(self, architecture: str, device: str, size: int, batch: int, rows: pd.DataFrame, folder: Path):
        self.device, self.batch, self.size = device, batch, size
        self.bf16 = pick_precision("auto", device) == "bf16"
        config = TrainConfig(
            architecture=architecture, weights="none", steps=10**6, batch_size=batch, input_size=size,
            augment=AugmentConfig(flip=True),
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
        self.files = self._timm_batches(folder / "files")

    def ours(self) -> None:
        """(a)"""
        self.loop.advance(self.batches)

    def ceiling(self) -> None:
        """(b)"""
        self._step(self._tuned("full"), *self.fixed)

    def head_only(self) -> None:
        """As (b), but of the head alone."""
        self._step(self._tuned("head_only"), *self.fixed)

    def timms(self) -> None:
        """(c)"""
        images, labels = next(self.files)
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        self._step(self._tuned("full").backbone, images, labels.to(self.device, non_blocking=True))

    def _tuned(self, tuning: str) -> Network:
        freeze(self.plain, tuning)
        set_training(self.plain)
        return self.plain

    def _step(self, network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            logits = network(images)
        F.cross_entropy(logits.float(), labels, label_smoothing=0.1).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _timm_batches(self, files: Path) -> Iterator:
        batches = timm.data.create_loader(
            timm.data.create_dataset("", root=str(files)),
            input_size=(3, self.size, self.size),
            batch_size=self.batch,
            is_training=True,
            color_jitter=0.2,
            vflip=0.5,
            num_workers=self.workers,
            pin_memory=self.device == "cuda",
            device=torch.device(self.device),
            persistent_workers=self.workers > 0,
        )
        while True:
            yield from batches


def rate(step: Callable[[], None], uncounted: int, steps: int, images: int, device: str) -> float:
    """Images a second of some steps, after others that are not counted."""
    for _ in range(uncounted):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return images * steps / (time.perf_counter() - started)


def bench(device: str, size: int, batch: int, steps: int, turns: int, rows: pd.DataFrame, folder: Path) -> None:
    """Print the table of one device."""
    for architecture in NETWORKS:
        contest = Contest(architecture, device, size, batch, rows, folder)
        contestants = {
            "ours": contest.ours,
            "ceiling": contest.ceiling,
            "timm": contest.timms,
            "head_only": contest.head_only,
        }
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(turns):
            for name, step in contestants.items():
                uncounted = 1 + contest.decoded * (step in (contest.ours, contest.timms))
                rates[name].append(rate(step, uncounted, steps, batch, device))
        a, b, c, head = (statistics.median(found) for found in rates.values())
        print(
            f"{device} {architecture} {size} px, batch {batch}, {'bf16' if contest.bf16 else 'fp32'}, "
            f"{contest.workers} workers:\n"
            f"  (a) ours end to end {a:.1f} images/s, (b) ceiling {b:.1f}, (c) timm from files {c:.1f}\n"
            f"  (a)/(b) {a / b:.2f}   (a)/(c) {a / c:.2f}   head_only/full {head / b:.2f}",
            flush=True,
        )


def main() -> None:
    """Bench the CPU, and the GPU where there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="pixels, on the CPU (a GPU gets 224)")
    parser.add_argument("--batch", type=int, default=8, help="images, on the CPU (a GPU gets 128)")
    parser.add_argument("--steps", type=int, default=3, help="steps a turn, on the CPU (a GPU gets 20 times as many)")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    plans = [("cpu", options.size, options.batch, options.steps)]
    if torch.cuda.is_available():
        plans.append(("cuda", 224, 128, 20 * options.steps))
    for device, size, batch, steps in plans:
        with tempfile.TemporaryDirectory() as scratch:
            rows = draw_tiles(Path(scratch), 50 * batch)
            bench(device, size, batch, steps, options.turns, rows, Path(scratch))
    if len(plans) == 1:
        print("GPU: not run, PyTorch sees none on this machine")


if __name__ == "__main__":
    main()
