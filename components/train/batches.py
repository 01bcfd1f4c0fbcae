"""Decide the order of the tiles in a training."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class TrainingBatches(Sampler):
    """The batches of a whole training. A batch is a list of (index of a tile, seed of its augmentation).

    A batch depends only on the seed and the step, so a training can resume at any step. Each epoch is a new permutation
    of the tiles. A batch may contain the end of one epoch and the start of the next. So the length of a training is
    counted in steps, not in epochs.

    The augmentation of a tile does not depend on the worker process that decodes the tile. The tiles in a batch do not
    depend on the number of devices.

    Args:
        labels: Class of every tile, 0 or 1.
        batch_size: Number of tiles in a batch, over all devices.
        steps: Number of batches in the whole training.
        seed: Seed of the permutations and of the augmentation.
        start: Number of steps that are already done.
        balanced: If true, a batch has equally many tiles of both classes. If `batch_size` is odd, one class has one
            tile more. A tile of the rarer class then appears more often than a tile of the other class.
        share: Two numbers: the index of this device, from 0, and the number of devices. If there are n devices, each
            device gets every n-th tile of each batch.
    """

    def __init__(
        self,
        labels: np.ndarray,
        batch_size: int,
        steps: int,
        seed: int,
        start: int = 0,
        balanced: bool = False,
        share: tuple[int, int] = (0, 1),
    ):
        every_index = np.arange(len(labels))
        if balanced:
            self._pools = [every_index[labels == 0], every_index[labels == 1]]
        else:
            self._pools = [every_index]

        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.start = start
        self.share = share

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        orders = [_EndlessOrder(pool, self.seed, number) for number, pool in enumerate(self._pools)]
        device, devices = self.share

        for step in range(self.start, self.steps):
            first = step * self.batch_size
            batch = []
            for place in range(first + device, first + self.batch_size, devices):
                # If there is one pool for each class, the tiles of a batch come from the two pools in turn.
                order = orders[place % len(orders)]
                index = order[place // len(orders)]
                batch.append((index, _augmentation_seed(self.seed, place)))
            yield batch


class _EndlessOrder:
    """An endless sequence of indices: one permutation of a pool after another.

    Args:
        pool: Indices of the tiles.
        seed: The seed of the training.
        number: The number of the pool, from 0. Pools with different numbers get different permutations.
    """

    def __init__(self, pool: np.ndarray, seed: int, number: int):
        self._pool = pool
        self._seed = seed
        self._number = number
        self._epoch = -1
        self._permutation = pool

    def __getitem__(self, place: int) -> int:
        epoch, position = divmod(place, len(self._pool))
        if epoch != self._epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng([self._seed, self._number, epoch]).permutation(self._pool)
        return int(self._permutation[position])


def _augmentation_seed(seed: int, place: int) -> int:
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
