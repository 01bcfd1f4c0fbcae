import colorsys
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from components.shared.data.versions import fetch
from components.shared.network.resize import resize
from components.shared.network.tiles import TileDataset, loader
from components.train.augmentation import build_augmentation
from components.train.batches import TrainingBatches
from components.train.config import AugmentConfig
from tests.tiny_version import commit_tiny_version

LABELS = np.array([0] * 7 + [1] * 3)


def luma(image):
    return image @ [0.299, 0.587, 0.114]


def order(batches):
    return [index for batch in batches for index, _ in batch]


def test_every_image_comes_once_an_epoch():
    shown = order(TrainingBatches(LABELS, batch_size=4, steps=8, seed=1))
    assert len(shown) == 32
    for start in (0, 10, 20):
        assert sorted(shown[start : start + 10]) == list(range(10))
    assert shown[:10] != shown[10:20]


@pytest.mark.parametrize("balanced", [False, True])
def test_batches_are_a_function_of_seed_and_step_whatever_the_number_of_devices(balanced):
    def batches(seed=1, start=0, share=(0, 1)):
        return list(TrainingBatches(LABELS, 4, 9, seed, start, balanced, share))

    whole = batches()
    assert whole == batches()
    assert whole != batches(seed=2)
    assert whole[5:] == batches(start=5)
    assert len({seed for batch in whole for _, seed in batch}) == 36  # no augmentation twice
    for step, shares in enumerate(zip(*(batches(share=(device, 3)) for device in range(3)), strict=True)):
        assert sorted(key for share in shares for key in share) == sorted(whole[step])


def test_balanced_batches_hold_both_classes_equally_often():
    shown = order(TrainingBatches(LABELS, batch_size=4, steps=7, seed=1, balanced=True))
    assert LABELS[shown].mean() == 0.5
    assert sorted(index for index in shown if LABELS[index] == 0) == sorted([*range(7)] * 2)
    rare = [index for index in shown if LABELS[index] == 1]
    assert sorted(rare[:3]) == sorted(rare[3:6]) == [7, 8, 9]


@pytest.fixture
def version(store, tmp_path):
    manifest, _, _ = commit_tiny_version(store, tmp_path)
    return manifest, fetch(store, manifest, tmp_path / "cache")


def test_batches_do_not_depend_on_the_number_of_workers(version):
    manifest, folder = version
    dataset = TileDataset(manifest.table, folder, 32, build_augmentation(AugmentConfig(flip=True)))
    batches = TrainingBatches(dataset.labels, 8, 3, seed=5)
    alone, helped = (list(loader(dataset, batches, workers)) for workers in (0, 2))
    assert len(alone) == len(helped) == 3
    for (images, labels), (other_images, other_labels) in zip(alone, helped, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)
        assert images.shape == (8, 3, 32, 32)
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_evaluation_sees_the_image_as_it_is(version):
    manifest, folder = version
    dataset = TileDataset(manifest.table, folder, 48, build_augmentation(AugmentConfig()))
    image, label = dataset[0]
    dark = image.float().mean() < 125
    assert dark == bool(label)
    assert torch.equal(image, TileDataset(manifest.table, folder, 48)[0][0])
    assert not torch.equal(image, dataset[(0, 7)][0])


def only(**strengths):
    still = {"rotation": 0, "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "noise": 0}
    return build_augmentation(AugmentConfig(**{**still, **strengths}))


def test_noise_is_as_strong_as_it_was_told_to_be_and_decided_by_the_seed_alone():
    grey = np.full((64, 64, 3), 128, np.uint8)
    noise = only(noise=0.1)
    noisy = [noise(grey, seed) for seed in range(200)]
    assert all((noise(grey, seed) == image).all() for seed, image in enumerate(noisy))
    strengths = np.array([image.std((0, 1)) / 255 for image in noisy])
    touched = strengths[strengths.max(axis=1) > 0]
    assert 70 < len(touched) < 130
    assert 0.085 < touched.max() < 0.105
    assert np.ptp(touched, axis=1).max() < 0.02  # alike in every channel
    assert (only()(grey, 1) == grey).all()


def test_an_image_is_turned_about_its_middle_as_far_as_told_and_its_corners_are_filled():
    line = np.full((65, 65, 3), 200, np.uint8)
    line[:, 31:34] = 20
    angles = []
    for seed in range(100):
        turned = only(rotation=30)(line, seed)
        rows, columns = np.nonzero(turned[..., 0] < 60)
        assert (turned[[0, 0, -1, -1], [0, -1, 0, -1]] == 200).all()
        assert columns.mean() == pytest.approx(32, abs=0.5)
        angles.append(np.degrees(np.arctan(np.polyfit(rows, columns, 1)[0])))
    assert -31 < min(angles) < -25
    assert 25 < max(angles) < 31
    assert sum(abs(angle) < 0.01 for angle in angles) == pytest.approx(20, abs=12)


def test_mirroring_shows_each_of_the_four_views_equally_often():
    image = np.random.default_rng(1).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    views = [image[::down, ::along].tobytes() for down in (1, -1) for along in (1, -1)]
    counts = Counter(views.index(only(flip=True)(image, seed).tobytes()) for seed in range(400))
    assert min(counts[view] for view in range(4)) > 60


@pytest.mark.parametrize(
    ("strength", "peer"),
    [
        ("brightness", lambda image, amount: image * (1 + amount)),
        ("contrast", lambda image, amount: image + amount * (image - luma(image).mean())),
        ("saturation", lambda image, amount: image + amount * (image - luma(image)[..., None])),
    ],
)
def test_light_and_colour_change_as_the_formula_of_each_says(strength, peer):
    image = np.random.default_rng(1).integers(60, 180, (16, 16, 3)).astype(np.uint8)
    found = []
    for seed in range(100):
        changed = only(**{strength: 0.2})(image, seed).astype(float)
        full = peer(image.astype(float), 1.0) - image
        amount = ((changed - image) * full).sum() / (full**2).sum()
        np.testing.assert_allclose(changed, peer(image.astype(float), amount), atol=0.8)
        found.append(amount)
    assert -0.21 < min(found) < -0.17
    assert 0.17 < max(found) < 0.21


def test_hue_turns_colours_and_leaves_grey_and_brightness_alone():
    grey, blue = np.full((4, 4, 3), 128, np.uint8), np.full((4, 4, 3), (90, 110, 150), np.uint8)
    turn = only(hue=0.1)
    hues = []
    for seed in range(100):
        assert (turn(grey, seed) == grey).all()
        turned = turn(blue, seed)
        assert luma(turned.astype(float)).mean() == pytest.approx(luma(blue).mean(), abs=1)
        hues.append(colorsys.rgb_to_hsv(*turned[0, 0] / 255)[0] - colorsys.rgb_to_hsv(90, 110, 150)[0])
    assert -0.14 < min(hues) < -0.06
    assert 0.06 < max(hues) < 0.14


def test_resize_averages_when_it_shrinks():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2] = 200
    assert resize(image, 2)[:, :, 0].tolist() == [[200, 200], [0, 0]]
    assert resize(image, 1)[0, 0, 0] == 100
    assert resize(image, 4) is image


def test_a_process_that_leaves_its_batches_half_read_ends_all_the_same(store, tmp_path):
    manifest, *_ = commit_tiny_version(store, tmp_path)
    folder = fetch(store, manifest, tmp_path / "cache")
    manifest.table.to_pickle(tmp_path / "rows")
    script = (
        "import pandas as pd; from pathlib import Path\n"
        "from components.shared.network.tiles import TileDataset, loader\n"
        f"rows, folder = pd.read_pickle({str(tmp_path / 'rows')!r}), Path({str(folder)!r})\n"
        "batches = iter(loader(TileDataset(rows, folder, 32), 4, 1))\n"
        "print(len(next(batches)[1]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("4\n", "")
