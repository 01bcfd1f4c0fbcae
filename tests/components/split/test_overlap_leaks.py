"""Test the leak check on tiles that only overlap. It finds them without anything that ingestion recorded."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components.ingest.sources.synthetic import draw_dataset
from components.shared.data.manifest import Manifest, Splits, make_splits
from components.shared.errors import InputError
from components.shared.services.store import Store
from components.split.config import SplitConfig
from components.split.keypoints import NO_KEYPOINTS, find_keypoints, overlap_candidates, working_image
from components.split.overlap_comparison import compare_candidates
from components.split.tile_leaks import check_tiles
from tests.components.split.conftest import Commit, Tiles
from tests.tiles_of_photos import SIDE, cut

CONFIG = SplitConfig(leak_overlap=0.7)


def overlaps_of(train: list[np.ndarray], test: list[np.ndarray]) -> pd.DataFrame:
    """Return the leaks between the tiles of two splits. The rows of the second split begin after those of the first."""
    images = [working_image(tile) for tile in [*train, *test]]
    upright = [find_keypoints(image) for image in images]
    mirrored = [NO_KEYPOINTS] * len(train)
    mirrored += [find_keypoints(np.ascontiguousarray(image[:, ::-1])) for image in images[len(train) :]]

    ends = np.array([len(train), len(images)])
    found = compare_candidates(list(overlap_candidates(upright, mirrored, ends)), images.__getitem__)
    return found[found["correlation"] >= CONFIG.leak_overlap]


def in_test(manifest: Manifest, names: set[str]) -> Splits:
    chosen = manifest.table["path"].str.removesuffix(".jpg").isin(names)
    return make_splits(manifest.table[["sample_id"]].assign(split=np.where(chosen, "test", "train")))


def grid(photos: list[np.ndarray]) -> Tiles:
    """Cut tiles that touch each other and do not overlap. Their names are PHOTO-X-Y."""
    tiles = {}
    for number, photo in enumerate(photos):
        for y in range(0, 600 - SIDE, SIDE):
            for x in range(0, 800 - SIDE, SIDE):
                tiles[f"{number}-{x}-{y}"] = cut(photo, x, y)
    return tiles


def test_overlapping_tiles_stop_the_run_and_are_shown(
    photos: list[np.ndarray], commit_tiles: Commit, store: Store, tmp_path: Path
) -> None:
    """No tile is recorded as related to another one, as if ingestion had not looked for overlaps."""
    tiles = grid(photos[:2])
    overlapping = {"shifted": cut(photos[0], 200.5, 128), "turned": cut(photos[1], 384, 310.5, turn=5)}
    manifest = commit_tiles({**tiles, **overlapping})

    with pytest.raises(InputError) as raised:
        check_tiles(store, manifest, in_test(manifest, set(overlapping)), CONFIG, 1, tmp_path / "page.html", None)
    message = str(raised.value)
    assert "overlapping tiles are in different splits" in message
    assert "near duplicates are" not in message
    assert "shifted.jpg in test and 0-" in message
    assert "turned.jpg in test and 1-" in message
    assert "switch on or lower ingest.overlap" in message
    assert "raise split.leak_overlap above" in message

    page = (tmp_path / "page.html").read_text()
    assert "pairs of overlapping tiles are in different splits" in page
    assert 'alt="shifted.jpg"' in page
    assert 'alt="turned.jpg"' in page

    raised_limit = CONFIG.model_copy(update={"leak_overlap": 1.0})
    check_tiles(store, manifest, in_test(manifest, set(overlapping)), raised_limit, 1, tmp_path / "page.html", None)


@pytest.mark.parametrize(("shared", "least"), [(0.25, 0.9), (0.5, 0.99)])
def test_finds_overlaps_of_this_size_and_nothing_else(photos: list[np.ndarray], shared: float, least: float) -> None:
    rng = np.random.default_rng(7)
    train, test, places = [], [], []
    for number in range(60):
        width = rng.uniform(shared, 1)
        shift = SIDE * np.array([1 - width, 1 - shared / width])
        photo = number % len(photos)
        x, y = rng.uniform(1, [800 - 2 * SIDE, 600 - 2 * SIDE])
        places.append((photo, x, y, x + shift[0], y + shift[1]))
        train.append(cut(photos[photo], x, y))
        test.append(cut(photos[photo], *places[-1][3:], turn=rng.integers(8)))
    found = overlaps_of(train, test)

    number_of_pair = found["row"] - len(train)
    assert (number_of_pair == found["other"]).sum() >= least * len(train)
    for later, earlier in zip(number_of_pair, found["other"], strict=True):  # other pairs overlap by chance
        assert places[later][0] == places[earlier][0]
        assert np.abs(np.subtract(places[later][3:], places[earlier][1:3])).max() < SIDE


def test_neighbours_without_a_common_area_do_not_overlap(photos: list[np.ndarray]) -> None:
    tiles = list(grid(photos).values())
    assert overlaps_of(tiles[::2], tiles[1::2]).empty


@pytest.mark.parametrize("size", [64, 128])
def test_tiles_of_different_photos_do_not_overlap(size: int) -> None:
    """A photo of `draw_dataset` has five tiles, which share the kind of concrete and light."""
    tiles = [tile.image for tile in draw_dataset(160, seed=4, size=size)]
    assert overlaps_of(tiles[:80], tiles[80:]).empty


def test_tiles_without_structure_do_not_overlap() -> None:
    flat = [np.full((SIDE, SIDE, 3), level, np.uint8) for level in (90, 90, 140)]
    noise = 100 + np.random.default_rng(0).integers(0, 3, (SIDE, SIDE, 3), np.uint8)
    assert overlaps_of(flat, [*flat, np.zeros((SIDE, 3 * SIDE, 3), np.uint8)]).empty
    assert overlaps_of([*flat, noise], [*flat, noise[::-1, :64]]).empty
