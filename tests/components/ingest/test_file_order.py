"""We report file numbers that follow the photos, such as 1 to 10 for the first photo. We do not report other orders."""

import numpy as np
import pandas as pd

from components.ingest.file_order import file_order_hints, neighbour_test


def images(photos: int, seed: int, shuffled: bool = False, known: bool = False) -> pd.DataFrame:
    """Return 10 tiles of each photo. The tiles of a photo have similar measures. File numbers have no leading zeros."""
    rng = np.random.default_rng(seed)
    light = np.repeat(rng.normal(0, 1, (photos, 3)), 10, axis=0) + rng.normal(0, 0.5, (10 * photos, 3))
    if shuffled:
        light = rng.permutation(light)
    table = pd.DataFrame(light, columns=["brightness", "contrast", "darkest"])
    names = pd.Series([str(number) for number in range(len(table))])
    photo = names.str[:-1] if known else None
    return table.assign(path="crack/" + names + ".jpg", source="s", photo=photo, group_id=names).sort_values("path")


def test_numbers_that_run_photo_by_photo_are_found() -> None:
    (hint,) = file_order_hints(images(30, seed=1))
    assert (hint["source"], hint["folder"], hint["files"]) == ("s", "crack", 300)
    assert hint["p"] == 0.001
    assert 0.2 < hint["ratio"] < 0.5


def test_no_hint_without_such_an_order_or_with_known_photos() -> None:
    for seed in range(20):
        assert file_order_hints(images(30, seed, shuffled=True)) == []
    assert file_order_hints(images(30, seed=1, known=True)) == []
    assert file_order_hints(images(4, seed=1)) == []  # too few files


def test_copies_next_to_each_other_are_not_taken_for_photos() -> None:
    single = images(30, seed=1, shuffled=True)
    copies = pd.concat([single, single.assign(path=single["path"].str.replace(".jpg", "a.jpg"))])
    assert file_order_hints(copies) == []


def test_ratio_of_equal_and_of_random_members() -> None:
    assert neighbour_test(np.ones((60, 2))) == (1.0, 1.0)
    ratio, p = neighbour_test(np.random.default_rng(3).normal(size=(500, 2)))
    assert 0.9 < ratio < 1.1
    assert p > 0.01
