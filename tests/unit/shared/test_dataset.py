import numpy as np
import pytest
import torch

from components.shared.config import AugmentConfig
from components.shared.dataset import TileDataset, TrainingSampler, loader
from components.shared.shards import fetch
from components.shared.transforms import build_augmentation, resize
from tests.unit.tiny_version import commit_tiny_version


def test_the_sampler_shows_every_image_once_an_epoch():
    order = [index for index, _ in TrainingSampler(rows=10, total=35, seed=1)]
    assert len(order) == 35
    for start in (0, 10, 20):
        assert sorted(order[start : start + 10]) == list(range(10))
    assert order[:10] != order[10:20]


def test_the_sampler_is_a_function_of_its_seed_and_resumes_at_any_image():
    whole = list(TrainingSampler(rows=10, total=35, seed=1))
    assert whole == list(TrainingSampler(rows=10, total=35, seed=1))
    assert whole != list(TrainingSampler(rows=10, total=35, seed=2))
    assert whole[13:] == list(TrainingSampler(rows=10, total=35, seed=1, start=13))
    assert len({seed for _, seed in whole}) == 35  # no augmentation twice


@pytest.fixture
def version(store, tmp_path):
    manifest, _, _ = commit_tiny_version(store, tmp_path)
    return manifest, fetch(store, manifest.digest, tmp_path / "cache")


def test_batches_do_not_depend_on_the_number_of_workers(version):
    manifest, folder = version
    dataset = TileDataset(manifest.table, folder, 32, build_augmentation(AugmentConfig(flip=True)))
    sampler = TrainingSampler(len(dataset), 24, seed=5)
    alone, helped = (list(loader(dataset, 8, sampler, workers)) for workers in (0, 2))
    assert len(alone) == len(helped) == 3
    for (images, labels), (other_images, other_labels) in zip(alone, helped, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)
        assert images.shape == (8, 3, 32, 32)
        assert images.dtype == torch.uint8


def test_evaluation_sees_the_image_as_it_is(version):
    manifest, folder = version
    dataset = TileDataset(manifest.table, folder, 48, build_augmentation(AugmentConfig()))
    image, label = dataset[0]
    dark = image.float().mean() < 125
    assert dark == bool(label)
    assert torch.equal(image, TileDataset(manifest.table, folder, 48)[0][0])
    assert not torch.equal(image, dataset[(0, 7)][0])


def test_resize_averages_when_it_shrinks():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2] = 200
    assert resize(image, 2)[:, :, 0].tolist() == [[200, 200], [0, 0]]
    assert resize(image, 1)[0, 0, 0] == 100
    assert resize(image, 4) is image
