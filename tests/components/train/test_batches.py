import numpy as np
import pytest

from components.train.batches import TrainingBatches

LABELS = np.array([0] * 7 + [1] * 3)


def order(batches):
    return [index for batch in batches for index, _ in batch]


def test_every_tile_comes_once_per_epoch():
    indices = order(TrainingBatches(LABELS, batch_size=4, steps=8, seed=1))
    assert len(indices) == 32
    for start in (0, 10, 20):
        assert sorted(indices[start : start + 10]) == list(range(10))
    assert indices[:10] != indices[10:20]


@pytest.mark.parametrize("balanced", [False, True])
def test_batches_depend_on_seed_and_step_and_not_on_the_number_of_devices(balanced):
    def batches(seed=1, start=0, share=(0, 1)):
        return list(TrainingBatches(LABELS, 4, 9, seed, start, balanced, share))

    whole = batches()
    assert whole == batches()
    assert whole != batches(seed=2)
    assert whole[5:] == batches(start=5)
    assert len({seed for batch in whole for _, seed in batch}) == 36  # no augmentation twice

    of_each_device = [batches(share=(device, 3)) for device in range(3)]
    for step, shares in enumerate(zip(*of_each_device, strict=True)):
        together = [key for share in shares for key in share]
        assert sorted(together) == sorted(whole[step])


def test_balanced_batches_hold_both_classes_equally_often():
    indices = order(TrainingBatches(LABELS, batch_size=4, steps=7, seed=1, balanced=True))
    assert LABELS[indices].mean() == 0.5
    assert sorted(index for index in indices if LABELS[index] == 0) == sorted([*range(7)] * 2)
    rare = [index for index in indices if LABELS[index] == 1]
    assert sorted(rare[:3]) == sorted(rare[3:6]) == [7, 8, 9]
