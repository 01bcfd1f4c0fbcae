"""The order of a training's images."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class TrainingBatches(Sampler):
    """The whole training's batches of (index, augmentation seed), a function of the seed and the step alone.

    Epochs follow one another without a seam, each a fresh permutation, so that the length is counted in steps and a
    training can be taken up at any of them. The seed of an image's augmentation does not depend on the worker that
    decodes it, nor an image's batch on the number of devices.

    Args:
        labels: Class of every image, 0 or 1.
        batch_size: Images in a batch, over all devices.
        steps: Batches of the whole training.
        seed: Seeds permutations and augmentation.
        start: Steps already done.
        balanced: Draw both classes equally often; the rarer one then comes round more often.
        share: This device and the number of devices, (0, 1) for one: it gets every n-th image of each batch.
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
        everything = np.arange(len(labels))
        self._pools = [everything[labels == label] for label in (0, 1)] if balanced else [everything]
        self.batch_size, self.steps, self.seed, self.start, self.share = batch_size, steps, seed, start, share

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = [_Laps(pool, self.seed, kind) for kind, pool in enumerate(self._pools)]
        device, devices = self.share
        for step in range(self.start, self.steps):
            places = range(step * self.batch_size + device, (step + 1) * self.batch_size, devices)
            yield [(order[place % len(order)][place // len(order)], _seed(self.seed, place)) for place in places]


class _Laps:
    """Images in lap after lap over a pool, each lap a permutation of its own."""

    def __init__(self, pool: np.ndarray, seed: int, kind: int):
        self._pool, self._seed, self._kind, self._lap = pool, seed, kind, -1
        self._order = pool

    def __getitem__(self, place: int) -> int:
        lap, position = divmod(place, len(self._pool))
        if lap != self._lap:
            self._lap = lap
            self._order = np.random.default_rng([self._seed, self._kind, lap]).permutation(self._pool)
        return int(self._order[position])


def _seed(seed: int, place: int) -> int:
    return int(np.random.SeedSequence([seed, place]).generate_state(1)[0])
