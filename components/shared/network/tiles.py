"""Read tiles as uint8 tensors for PyTorch. The network normalises them on its own device (see network.py)."""

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
from components.shared.network.resize import Resize
from components.shared.processors import count_processors

# A function that takes an image (H, W, 3) uint8 and a seed. It returns an image of the same shape.
Augmentation = Callable[[np.ndarray, int], np.ndarray]

MAX_WORKERS = 16
# Number of decoded batches that wait in /dev/shm for each worker. A pod's /dev/shm is small.
PREFETCHED_BATCHES = 2
# With fewer batches, starting worker processes takes longer than decoding without them.
FEWEST_BATCHES_FOR_WORKERS = 4


def decode_tile(data: bytes, resize: Resize) -> np.ndarray:
    """Decode an image file and return a tile (size, size, 3) uint8 RGB, for training, prediction and served models."""
    return resize(decode(data))


class TileDataset(Dataset):
    """The tiles of a fetched data set version.

    Item `index` is a tile (3, size, size) uint8 and its label. Item `(index, seed)` is the same tile, augmented.

    Args:
        rows: Manifest rows (label, shard, offset, size), in the order of the items.
        folder: Folder of the fetched data set version.
        resize: Scales a tile to the network's input size.
        augment: The function from `build_augmentation`; None if no tile is augmented.
    """

    def __init__(self, rows: pd.DataFrame, folder: Path, resize: Resize, augment: Augmentation | None = None):
        self.labels = rows["label"].to_numpy(np.int64)
        self.places = list(zip(rows["shard"], rows["offset"].astype(int), rows["size"].astype(int), strict=True))
        self.reader = ShardReader(folder)
        self.resize = resize
        self.augment = augment

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[torch.Tensor, int]:
        index, seed = key if isinstance(key, tuple) else (key, None)
        image = self.tile(index)
        if self.augment is not None and seed is not None:
            image = self.augment(image, seed)

        # PyTorch needs contiguous memory that it may write to.
        image = np.require(image, requirements=["C", "W"])
        return torch.from_numpy(image).permute(2, 0, 1), int(self.labels[index])

    def read(self, index: int) -> bytes:
        """Return the bytes of a tile's file."""
        return self.reader.read(*self.places[index])

    def tile(self, index: int) -> np.ndarray:
        """Return a tile (size, size, 3) uint8 RGB, not augmented."""
        return decode_tile(self.read(index), self.resize)


def loader(dataset: TileDataset, batches: int | Sampler, workers: int | None = None, devices: int = 1) -> DataLoader:
    """Return a loader of batches: tiles (N, 3, size, size) uint8 in channels_last format, and labels (N,) int64.

    Args:
        dataset: The tiles to read.
        batches: A sampler of whole batches, such as `TrainingBatches`, or the batch size. With a batch size, every tile
            appears once, in order.
        workers: Number of decoding processes. None means (processors of the container / `devices`) - 1, but at least 1
            and at most `MAX_WORKERS`. If `batches` is a batch size and the tiles fill only a few batches, there are no
            workers.
        devices: Number of devices whose loaders use the processors at the same time.
    """
    if workers is None:
        workers = _default_workers(devices)

    order: dict = {"batch_sampler": batches}
    if isinstance(batches, int):
        order = {"batch_size": batches}
        if len(dataset) < FEWEST_BATCHES_FOR_WORKERS * batches:
            workers = 0

    return DataLoader(
        dataset,
        **order,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,  # a fork starts at once, with everything imported
        collate_fn=_stack,
        worker_init_fn=_ignore_sigterm,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=PREFETCHED_BATCHES if workers else None,
    )


def _default_workers(devices: int) -> int:
    """Return the number of decoding processes for one device. Each device leaves one processor for the network."""
    return max(1, min(MAX_WORKERS, count_processors() // devices - 1))


def _stack(items: list[tuple[torch.Tensor, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack tiles into a batch. The channels stay last in memory, as in a decoded tile."""
    tiles = torch.stack([tile.permute(1, 2, 0) for tile, _ in items])
    labels = torch.tensor([label for _, label in items])
    return tiles.permute(0, 3, 1, 2), labels


def _ignore_sigterm(_: int) -> None:
    """Make a worker ignore a SIGTERM that is sent to all processes of the training.

    The training process handles the signal: it writes a checkpoint, and then ends its workers.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    """Kill the workers at exit. multiprocessing would send SIGTERM, which the workers ignore, and then wait forever."""
    # PyTorch's own handler would raise an error because a worker was killed.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in active_children():
        if child.daemon:
            child.kill()
