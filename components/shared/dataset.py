"""Tiles as PyTorch sees them: uint8 tensors; the network normalises them on its own device (see model.py)."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from components.shared.image import decode
from components.shared.shards import ShardReader
from components.shared.transforms import Augmentation, resize


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
        image = decode_tile(self.reader.read(*self.places[index]), self.size)
        if self.augment is not None and seed is not None:
            image = self.augment(image, seed)
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), int(self.labels[index])


class TrainingSampler(Sampler):
    """The whole training's sequence of (index, augmentation seed), a function of the seed alone.

    Epochs follow one another without a seam, each a fresh permutation, so that the length is counted in images and a
    training can be taken up at any image. The seed of an image's augmentation does not depend on the worker that
    decodes it.

    Args:
        rows: Number of images.
        total: Number of images to draw in all.
        seed: Seeds permutations and augmentation.
        start: Images already seen.
    """

    def __init__(self, rows: int, total: int, seed: int, start: int = 0):
        self.rows, self.total, self.seed, self.start = rows, total, seed, start

    def __len__(self) -> int:
        return self.total - self.start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch, order = -1, np.empty(0, np.int64)
        for position in range(self.start, self.total):
            if position // self.rows != epoch:
                epoch = position // self.rows
                order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)
            augmentation_seed = np.random.SeedSequence([self.seed, position]).generate_state(1)[0]
            yield int(order[position % self.rows]), int(augmentation_seed)


def loader(
    dataset: TileDataset, batch_size: int, sampler: Sampler | None = None, workers: int | None = None
) -> DataLoader:
    """Batches of (N, 3, size, size) uint8 and labels (N,), in the dataset's or the sampler's order.

    Args:
        dataset: What to read.
        batch_size: Images in a batch.
        sampler: Order and augmentation; None reads every item once, in order.
        workers: Decoding processes; None takes the processors at hand less one, up to 8.
    """
    if workers is None:
        workers = max(1, min(8, len(os.sched_getaffinity(0)) - 1))  # one processor stays with the network
    if len(dataset) < 4 * batch_size and sampler is None:
        workers = 0  # starting processes would take longer than the work
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
    )
