import subprocess
import sys

import numpy as np
import pytest
import torch

from components.shared.data.versions import fetch
from components.shared.network.resize import Resize
from components.shared.network.tiles import TileDataset, loader
from tests.tiny_version import commit_tiny_version


@pytest.fixture
def version(store, tmp_path):
    manifest, _, _ = commit_tiny_version(store, tmp_path)
    return manifest, fetch(store, manifest, tmp_path / "cache")


def add_noise(image, seed):
    noise = np.random.default_rng(seed).integers(0, 40, image.shape, dtype=np.uint8)
    return image // 2 + noise


def test_batches_do_not_depend_on_the_number_of_workers(version):
    manifest, folder = version
    dataset = TileDataset(manifest.table, folder, Resize(32), add_noise)
    keys = [(index, 1000 + index) for index in range(24)]
    batches = [keys[:8], keys[8:16], keys[16:]]

    alone = list(loader(dataset, batches, workers=0))
    helped = list(loader(dataset, batches, workers=2))

    assert len(alone) == len(helped) == 3
    for (images, labels), (other_images, other_labels) in zip(alone, helped, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)
        assert images.shape == (8, 3, 32, 32)
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_a_tile_is_augmented_only_if_its_key_has_a_seed(version):
    manifest, folder = version
    dataset = TileDataset(manifest.table, folder, Resize(48), add_noise)
    image, label = dataset[0]
    is_dark = image.float().mean() < 125
    assert is_dark == bool(label)
    assert torch.equal(image, TileDataset(manifest.table, folder, Resize(48))[0][0])
    assert not torch.equal(image, dataset[(0, 7)][0])


def test_resize_averages_when_it_shrinks():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2] = 200
    assert Resize(2)(image)[:, :, 0].tolist() == [[200, 200], [0, 0]]
    assert Resize(1)(image)[0, 0, 0] == 100
    assert Resize(4)(image) is image


def test_a_process_that_reads_only_some_of_its_batches_can_end(store, tmp_path):
    manifest, *_ = commit_tiny_version(store, tmp_path)
    folder = fetch(store, manifest, tmp_path / "cache")
    manifest.table.to_pickle(tmp_path / "rows")
    script = (
        "import pandas as pd; from pathlib import Path\n"
        "from components.shared.network.resize import Resize\n"
        "from components.shared.network.tiles import TileDataset, loader\n"
        f"rows, folder = pd.read_pickle({str(tmp_path / 'rows')!r}), Path({str(folder)!r})\n"
        "batches = iter(loader(TileDataset(rows, folder, Resize(32)), 4, 1))\n"
        "print(len(next(batches)[1]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("4\n", "")
