"""Tiles as PyTorch sees them: uint8 tensors; the network normalises them on its own device (see network.py)."""

import atexit
import signal
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from components.shared.data.image import decode
from components.shared.data.shards import ShardReader
from components.shared.network.resize import resize

Augmentation = Callable[[np.ndarray, int], np.ndarray]  # image and seed in, image out


def decode_tile(data: bytes, size: int) -> np.ndarray:
    """Decode an image file to (size, size, 3) uint8 RGB: the one way from a file to the network, served models too."""
    return resize(decode(data), size)


class TileDataset(Dataset):
    """Tiles of a fetched data set version.

    Item `index` is an image tensor (3, size, size) uint8 and its label. Item `(index, seed)` is the same, augmented.

    Args:
        rows: Manifest rows (label, shard, offset, size), in the order wanted.
        folder: The fetched version's folder.
        size: Height and width in pixels.
        augment: From `build_augmentation`.
    """

    def __init__(self, rows: pd.DataFrame, folder: Path, size: int, augment: Augmentation | None = None):
        self.labels = rows["label"].to_numpy(np.int64)
        self.places = list(zip(rows["shard"], rows["offset"].astype(int), rows["size"].astype(int), strict=True))
        self.reader = ShardReader(folder)
        self.size = size
        self.augment = augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, int]:
        index, seed = key if isinstance(key, tuple) else (key, None)
        image = self.tile(index)
        if self.augment is not None and seed is not None:
            image = self.augment(image, seed)
        return torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(2, 0, 1), int(self.labels[index])

    def read(self, index: int) -> bytes:
        """Return an image's file."""
        return self.reader.read(*self.places[index])

    def tile(self, index: int) -> np.ndarray:
        """Return an image (size, size, 3) uint8 RGB, not augmented."""
        return decode_tile(self.read(index), self.size)


def loader(dataset: TileDataset, batches: int | Sampler, workers: int | None = None, devices: int = 1) -> DataLoader:
    """Batches of (N, 3, size, size) uint8, in channels_last memory format, and labels (N,).

    Args:
        dataset: What to read.
        batches: Order and augmentation; or a batch's size, for every item once, in order.
        workers: Decoding processes; None takes this device's share of the processors less one, up to 16. What a
            container may use counts, not what the machine has.
        devices: Devices that share the processors.
    """
    if workers is None:
        from joblib import cpu_count  # late: a registered model carries this file, and decodes without joblib

        workers = max(1, min(16, cpu_count() // devices - 1))  # one processor stays with the network
    if isinstance(batches, int) and len(dataset) < 4 * batches:
        workers = 0  # starting processes would take longer than the work
    return DataLoader(
        dataset,
        **({"batch_size": batches} if isinstance(batches, int) else {"batch_sampler": batches}),
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,  # starts at once, with everything imported
        collate_fn=_stack,
        worker_init_fn=_outlive_sigterm,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=2 if workers else None,  # they lie in /dev/shm
    )


def _stack(items: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack images as they were decoded, channels last, which is how the network wants them: nothing is transposed."""
    images = torch.stack([image.permute(1, 2, 0) for image, _ in items]).permute(0, 3, 1, 2)
    return images, torch.tensor([label for _, label in items])


def _outlive_sigterm(_: int) -> None:
    """A SIGTERM to the whole group is for the training to answer, with a checkpoint; its workers end when it does."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    """At exit multiprocessing sends its children SIGTERM, which the workers outlive, and waits for them: for ever."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would raise that a worker was killed
    for child in active_children():
        if child.daemon:
            child.kill()
