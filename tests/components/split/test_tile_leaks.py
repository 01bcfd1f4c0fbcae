"""Test the leak check on pixels. It finds near duplicates in different splits without the groups of ingestion."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.shared.data.manifest import Manifest, Splits, make_splits
from components.shared.errors import InputError
from components.shared.services.store import Store
from components.split.config import SplitConfig
from components.split.leak_check import LeakError
from components.split.run import assign_splits
from components.split.tile_comparison import compare_tiles, fine_structure, most_similar
from components.split.tile_leaks import check_tiles, check_version
from tests.components.split.conftest import Commit, Tiles

CONFIG = SplitConfig()


def saved_again(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def turned(image: np.ndarray) -> np.ndarray:
    """Return the image rotated by 90 degrees, mirrored, and saved as JPEG."""
    return saved_again(np.rot90(image)[:, ::-1], 80)


def slightly_changed(image: np.ndarray) -> np.ndarray:
    """Return the image a little brighter, with noise, and saved as JPEG with low quality."""
    noise = np.random.default_rng(5).normal(6, 3, image.shape)
    return saved_again((image + noise).clip(0, 255).astype(np.uint8), 60)


def planted(concrete: Tiles) -> Tiles:
    names = list(concrete)
    changed = {"turned": turned(concrete[names[7]]), "upright": slightly_changed(concrete[names[20]])}
    return {**concrete, **changed}


def last_in_test(manifest: Manifest, tiles: Tiles, number: int) -> Splits:
    """Put the last `number` tiles into test, and all other tiles into train."""
    in_test = manifest.table["path"].isin([f"{name}.jpg" for name in list(tiles)[-number:]])
    return make_splits(manifest.table[["sample_id"]].assign(split=np.where(in_test, "test", "train")))


def test_turned_and_upright_near_duplicates_stop_the_run_and_are_shown(
    concrete: Tiles, commit_tiles: Commit, store: Store, tmp_path: Path
) -> None:
    tiles = planted(concrete)
    names = list(tiles)
    manifest = commit_tiles(tiles)
    splits = last_in_test(manifest, tiles, 10)

    with pytest.raises(InputError) as raised:
        check_tiles(store, manifest, splits, CONFIG, 1, tmp_path / "page.html", None)
    message = str(raised.value)
    assert f"turned.jpg in test and {names[7]}.jpg in train" in message
    assert f"upright.jpg in test and {names[20]}.jpg in train" in message
    assert "more" not in message
    assert "Remove one tile of each pair" in message

    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg") == 4
    assert "2 tiles have a near duplicate in another split" in page
    key = f"datasets/{manifest.digest}/leaks/{splits.digest}.html"
    assert f"{store.uri}/{key}" in message
    assert store.get_bytes(key).decode() == page


def test_near_duplicates_in_one_split_and_different_tiles_are_not_a_leak(
    concrete: Tiles, commit_tiles: Commit, store: Store, tmp_path: Path
) -> None:
    names = list(concrete)
    tiles = {**planted({name: concrete[name] for name in names[:40]}), **{name: concrete[name] for name in names[40:]}}
    manifest = commit_tiles(tiles)
    comparison = check_tiles(
        store, manifest, last_in_test(manifest, tiles, 30), CONFIG, 1, tmp_path / "page.html", None
    )

    assert comparison.compared == comparison.tiles == 82
    assert len(comparison.closest) == 30
    assert comparison.closest["correlation"].is_monotonic_decreasing
    assert comparison.closest["correlation"].max() < 0.85
    assert not (tmp_path / "page.html").exists()


def test_the_search_finds_the_same_pairs_as_a_comparison_pair_by_pair() -> None:
    rng = np.random.default_rng(1)
    photos = rng.integers(0, 256, (40, 24, 24, 3), dtype=np.uint8)
    photos[30] = np.rot90(photos[3], 3)[::-1]
    photos[39] = photos[12][:, ::-1]
    structures = np.stack([fine_structure(photo) for photo in photos])
    ends = np.array([20, 32, 40])
    best, correlations = most_similar(structures, ends)

    assert (best[:20] == -1).all()
    assert best[30] == 3
    assert best[39] == 12
    for row in range(20, 40):
        before = 20 if row < 32 else 32
        expected = -1.0
        for other in range(before):
            for mirrored in (structures[row], structures[row].T):
                for quarters in range(4):
                    values = np.rot90(mirrored, quarters).ravel(), structures[other].ravel()
                    expected = max(expected, np.corrcoef(*values)[0, 1])
        assert correlations[row] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((64, 64), 90.0),
        np.tile(np.linspace(60, 180, 64), (64, 1)),
    ],
    ids=["one colour", "a gradient of light"],
)
def test_tiles_without_fine_structure_are_not_similar(pixels: np.ndarray) -> None:
    """The thumbnails of such tiles would have a perfect correlation."""
    rng = np.random.default_rng(2)
    structures = []
    for _ in range(2):
        grey = (pixels + rng.normal(0, 2, pixels.shape)).round().astype(np.uint8)
        structures.append(fine_structure(np.repeat(grey[..., None], 3, axis=2)))
    assert abs((structures[0] * structures[1]).sum()) < 0.5
    even = np.repeat(np.full((64, 64, 1), 90, np.uint8), 3, axis=2)
    assert not fine_structure(even).any()


def test_a_sample_is_random_and_no_larger_than_asked(concrete: Tiles, commit_tiles: Commit, store: Store) -> None:
    manifest = commit_tiles(concrete)
    splits = last_in_test(manifest, concrete, 40)
    one, same, other = (compare_tiles(store, manifest, splits, 30, seed, False) for seed in (1, 1, 2))
    assert (one.compared, one.tiles) == (30, 80)
    pd.testing.assert_frame_equal(one.closest, same.closest)
    assert set(one.closest["path"]) != set(other.closest["path"])


def test_a_leak_stops_the_run_before_its_splits_are_stored(
    concrete: Tiles, commit_tiles: Commit, store: Store, tmp_path: Path
) -> None:
    changed = {f"turned {name}": turned(image) for name, image in concrete.items()}
    manifest = commit_tiles({**concrete, **changed})
    paths = tmp_path / "manifest", tmp_path / "splits", tmp_path / "page.html"
    config = SplitConfig(store=store.uri, min_images=1)

    with pytest.raises(InputError, match=r"near duplicates are in different splits: .*; and \d+ more"):
        assign_splits(*paths, config, 1)
    assert not paths[1].exists()
    assert not store.holds("splits/")

    unchecked = config.model_copy(update={"leak_sample": 0})
    assign_splits(*paths, unchecked, 1)
    assert "No tiles were compared" in paths[2].read_text()
    for name in (None, manifest.digest):
        with pytest.raises(InputError, match="near duplicates are in different splits"):
            check_version(store, name, config, 1, tmp_path / "leaks.html", tmp_path)


def test_related_images_of_ingestion_in_different_splits_are_shown(
    concrete: Tiles, commit_tiles: Commit, store: Store, tmp_path: Path
) -> None:
    """Every tile is a group of its own, so some of the related tiles come into different splits."""
    first, *others = concrete
    commit_tiles(concrete, near_duplicates=[(first, other) for other in others])
    config = SplitConfig(store=store.uri, min_images=1)
    page = tmp_path / "page.html"

    with pytest.raises(
        LeakError, match=r"near duplicates, but are in different splits.*page\.html and .* show these tiles"
    ):
        assign_splits(tmp_path / "manifest", tmp_path / "splits", page, config, 1)
    assert f'alt="{first}.jpg"' in page.read_text()


def test_a_version_is_checked_in_the_splits_of_its_run(
    concrete: Tiles, commit_tiles: Commit, store: Store, tmp_path: Path
) -> None:
    config = SplitConfig(store=store.uri, min_images=1, leak_sample=50)
    page = tmp_path / "page.html"
    with pytest.raises(InputError, match="has no data set version; start a run, which ingests"):
        check_version(store, None, config, 1, page, tmp_path)

    commit_tiles(concrete)
    with pytest.raises(InputError, match=r"80 tiles of the data set version .* were never split with this config"):
        check_version(store, None, config, 1, page, tmp_path)

    assign_splits(tmp_path / "manifest", tmp_path / "splits", page, config, 1)
    assert "The check used 50 of 80 tiles" in page.read_text()
    comparison = check_version(store, None, config, 1, page, tmp_path)
    assert comparison.compared == 80
    assert "None of these tiles has a near duplicate in another split" in page.read_text()

    with pytest.raises(InputError, match="seed 2; give the parameter file, the options --set and the seed of the run"):
        check_version(store, None, config, 2, page, tmp_path)
    with pytest.raises(InputError, match="has no data set version 0123; give the whole digest"):
        check_version(store, "0123", config, 1, page, tmp_path)


def test_the_leak_check_does_not_change_the_ledger() -> None:
    assert SplitConfig(leak_sample=7, leak_correlation=0.5, leak_overlap=0.5).identity() == CONFIG.identity()
    assert set(CONFIG.identity()) == {"val", "test", "robustness", "min_images"}


def test_the_error_names_a_damaged_tile(concrete: Tiles, commit_tiles: Commit, store: Store) -> None:
    manifest = commit_tiles(concrete)
    splits = last_in_test(manifest, concrete, 40)
    manifest.table.loc[3, "size"] -= 500
    with pytest.raises(InputError, match=r"shards/\w+\.tar is damaged: its sha256 is \w+, not"):
        compare_tiles(store, manifest, splits, None, 1, False)
