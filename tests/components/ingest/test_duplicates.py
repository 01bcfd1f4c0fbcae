"""We find the same near duplicates as a comparison of all pairs. In real data, we find the pairs that people found."""

import csv
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.fft import dctn

from components.ingest.duplicates import TURNS, Turn, near_duplicates, perceptual_hash, turn_hashes, turn_images


def thumbnails(number: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.normal(128, 50, (number, 12, 12))
    smooth = [cv2.resize(each, (32, 32), interpolation=cv2.INTER_CUBIC) for each in coarse]
    return np.stack(smooth).clip(0, 255).astype(np.uint8)


def hashes(images: np.ndarray) -> list[str]:
    return list(map(perceptual_hash, images))


def as_set(pairs: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, pairs.tolist()))


def test_hash_is_the_sign_of_scipys_dct() -> None:
    for image in thumbnails(50):
        expected = dctn(image.astype(np.float64))[:8, :8]
        data = np.frombuffer(bytes.fromhex(perceptual_hash(image)), np.uint8)
        bits = np.unpackbits(data).reshape(8, 8).astype(bool)
        clear = np.abs(expected) > 0.1  # not close to zero, where rounding decides the sign
        clear[0, 0] = False
        np.testing.assert_array_equal(bits[clear], (expected > 0)[clear])
        assert not bits[0, 0]


def test_finds_what_comparing_every_pair_finds() -> None:
    rng = np.random.default_rng(1)
    base = thumbnails(300)
    noise = rng.normal(0, 1, (3, *base.shape))
    images = (
        np.concatenate([base, base + noise[0], base + 3 * noise[1], base + 6 * noise[2]]).clip(0, 255).astype(np.uint8)
    )
    found = near_duplicates(hashes(images), images.__getitem__, 0.97)
    correlation = np.corrcoef(images.reshape(len(images), -1))
    expected = np.argwhere(np.triu(correlation >= 0.97, 1))

    assert len(expected) > 800
    assert as_set(found) <= as_set(expected)
    assert len(found) >= 0.99 * len(expected)
    assert found.tolist() == sorted(found.tolist())


def all_turns(image: np.ndarray) -> list[np.ndarray]:
    """Return the eight turns of an image, made with NumPy's functions."""
    turned = []
    for quarters in range(4):
        rotated = np.rot90(image, quarters)
        turned += [rotated, np.fliplr(rotated)]
    return turned


def test_turns_are_all_mirrors_and_rotations() -> None:
    image = thumbnails(1)
    ours = np.concatenate([turn_images(image, turn) for turn in TURNS])
    theirs = np.stack(all_turns(image[0]))
    equal = (ours[:, None] == theirs).all(axis=(2, 3))
    assert (equal.sum(axis=0) == 1).all()
    assert (equal.sum(axis=1) == 1).all()


@pytest.mark.parametrize("turn", TURNS)
def test_turned_hash_is_the_hash_of_the_turned_image(turn: Turn) -> None:
    images = thumbnails(200)
    upright = np.frombuffer(bytes.fromhex("".join(hashes(images))), np.uint8).reshape(-1, 8)
    turned = hashes(np.ascontiguousarray(turn_images(images, turn)))
    assert turn_hashes(upright, turn).tobytes().hex() == "".join(turned)


def test_turned_near_duplicates_are_found_whichever_of_the_two_is_asked_for() -> None:
    rng = np.random.default_rng(4)
    base = thumbnails(80)
    turned = np.stack([all_turns(image)[number % 8] for number, image in enumerate(base)])
    images = np.concatenate([base, turned + rng.normal(0, 1, turned.shape)]).clip(0, 255).astype(np.uint8)
    numbers = np.arange(len(base))
    expected = np.stack([numbers, numbers + len(base)], axis=1)
    first_half = np.arange(len(images)) < len(base)
    for asked in (None, first_half, ~first_half):
        assert near_duplicates(hashes(images), images.__getitem__, 0.97, asked).tolist() == expected.tolist()


def test_flat_images_are_not_near_duplicates() -> None:
    images = np.full((5, 32, 32), 130, np.uint8)
    assert len(near_duplicates(hashes(images), images.__getitem__, 0.97)) == 0


def test_no_images_give_no_pairs() -> None:
    images = np.empty((0, 32, 32), np.uint8)
    assert near_duplicates(hashes(images), images.__getitem__, 0.97).shape == (0, 2)


def test_real_near_duplicates_are_found_and_nothing_else(real_data: Path) -> None:
    root = real_data / "ccic"
    if not root.is_dir():
        pytest.skip(f"no CCIC tiles at {root}")
    files = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*.jpg"))
    images = []
    for name in files:
        grey = cv2.imread(str(root / name), cv2.IMREAD_GRAYSCALE)
        images.append(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA))
    small = np.stack(images)

    groups = defaultdict(list)
    for row in csv.DictReader((root / "near_duplicate_groups.csv").open()):
        groups[row["group"]].append(files.index(row["path"]))
    known: set[tuple[int, ...]] = set()
    for group in groups.values():
        known.update(combinations(sorted(group), 2))
    for row in csv.DictReader((root / "turned_pairs.csv").open()):
        known.add(tuple(sorted((files.index(row["path"]), files.index(row["other"])))))
    found = as_set(near_duplicates(hashes(small), small.__getitem__, 0.97))

    assert len(found & known) >= 0.95 * len(known)
    assert len(found - known) <= 0.05 * len(known)
