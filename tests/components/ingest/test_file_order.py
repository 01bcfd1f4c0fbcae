"""File numbers that run photo by photo are reported, and other orders are not. Few joined neighbours are wrong."""

import numpy as np
import pandas as pd
import pytest

from components.ingest.file_order import MEASURES, FolderOrder, folder_orders, neighbour_test, resembling_neighbours

NO_PAIRS = np.zeros((0, 2), np.int64)


def images(photos: int, seed: int, shuffled: bool = False, known: bool = False) -> pd.DataFrame:
    """Return 10 tiles of each photo. The tiles of a photo have similar measures. File numbers have no leading zeros."""
    rng = np.random.default_rng(seed)
    light = np.repeat(rng.normal(0, 1, (photos, 5)), 10, axis=0) + rng.normal(0, 0.5, (10 * photos, 5))
    if shuffled:
        light = rng.permutation(light)
    table = pd.DataFrame(light, columns=MEASURES)
    names = pd.Series([str(number) for number in range(len(table))])
    photo = names.str[:-1] if known else None
    table = table.assign(path="crack/" + names + ".jpg", source="s", photo=photo)
    return table.sort_values("path", ignore_index=True)


def found(table: pd.DataFrame, related: np.ndarray = NO_PAIRS) -> list[FolderOrder]:
    return [order for order in folder_orders(table, related) if order.runs_by_photo]


def test_numbers_that_run_photo_by_photo_are_found() -> None:
    (order,) = found(images(30, seed=1))
    assert (order.source, order.folder, len(order.tiles)) == ("s", "crack", 300)
    assert order.p == 0.001
    assert 0.2 < order.ratio < 0.5


def test_nothing_is_found_without_such_an_order_or_with_known_photos() -> None:
    for seed in range(20):
        (order,) = folder_orders(images(30, seed, shuffled=True), NO_PAIRS)
        assert not order.runs_by_photo
    assert folder_orders(images(30, seed=1, known=True), NO_PAIRS) == []
    assert folder_orders(images(4, seed=1), NO_PAIRS) == []  # too few files


def test_copies_next_to_each_other_are_not_taken_for_photos() -> None:
    single = images(30, seed=1, shuffled=True)
    copies = pd.concat([single, single.assign(path=single["path"].str.replace(".jpg", "a.jpg"))], ignore_index=True)
    related = np.stack([np.arange(300), np.arange(300, 600)], axis=1)
    assert found(copies, related) == []
    assert len(found(copies)) == 1


def test_ratio_of_equal_and_of_random_members() -> None:
    assert neighbour_test(np.ones((60, 2))) == (1.0, 1.0)
    ratio, p = neighbour_test(np.random.default_rng(3).normal(size=(500, 2)))
    assert 0.9 < ratio < 1.1
    assert p > 0.01


@pytest.mark.parametrize("tiles", [3, 20])
@pytest.mark.parametrize("drift", [0.0, 1.5])
def test_few_joined_neighbours_are_of_different_photos(tiles: int, drift: float) -> None:
    """The light also changes slowly from photo to photo, as over a day."""
    wrong = joined_pairs = same_photo = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        slow = drift * np.sin(np.linspace(0, 6 * np.pi, 100))[:, None]
        photo = np.repeat(np.arange(100), tiles)
        members = (rng.normal(size=(100, 5)) + slow)[photo] + rng.normal(0, 0.3, (len(photo), 5))
        joined, far = resembling_neighbours(members)

        same = photo[1:] == photo[:-1]
        wrong += (joined & ~same).sum()
        joined_pairs += joined.sum()
        same_photo += same.sum()
        assert far <= 0.05
    assert joined_pairs >= 0.5 * same_photo
    assert wrong <= 0.05 * joined_pairs


def test_neighbours_in_random_order_and_equal_members_are_not_joined() -> None:
    rng = np.random.default_rng(0)
    joined = [resembling_neighbours(rng.normal(size=(500, 5)))[0].mean() for _ in range(20)]
    assert np.mean(joined) < 0.002
    assert not resembling_neighbours(np.ones((60, 5)))[0].any()
