"""Synthetic tiles: reproducible, balanced, and without a shortcut in their grey levels."""

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from components.ingest.sources.synthetic import TILES_PER_PHOTO, Tile, draw_dataset


@pytest.fixture(scope="module")
def tiles() -> list[Tile]:
    return list(draw_dataset(600, seed=1))


def grey_statistics(image: np.ndarray) -> dict[str, float]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    median, local = np.median(grey), cv2.medianBlur(grey.astype(np.uint8), 21)
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    valleys = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, np.ones((9, 9)))
    shares = np.bincount(grey.astype(int).ravel(), minlength=256) / grey.size
    standard = (grey - grey.mean()) / grey.std()
    return {
        "mean": grey.mean(),
        "std": grey.std(),
        "relative std": grey.std() / grey.mean(),
        "min": grey.min(),
        "max": grey.max(),
        "range": np.ptp(grey),
        "median - min": median - grey.min(),
        **{f"percentile {p}": np.percentile(grey, p) for p in (1, 5, 95, 99)},
        **{f"percentile {p} / median": np.percentile(grey, p) / median for p in (1, 5, 99)},
        "entropy": -np.sum(shares[shares > 0] * np.log(shares[shares > 0])),
        "skewness": np.mean(standard**3),
        "kurtosis": np.mean(standard**4),
        "dark share": np.mean(grey < 0.7 * median),
        "locally dark share": np.mean(grey < 0.75 * local),
        "gradient energy": np.mean(slope**2),
        "steepest": np.percentile(slope, 99),
        "steepest / median": np.percentile(slope, 99) / median,
        "edge density": np.mean(cv2.Canny(image, 100, 200) > 0),
        "Laplacian variance": cv2.Laplacian(grey, cv2.CV_32F).var(),
        "valleys": np.percentile(valleys, 95),
        "deep valleys / median": np.percentile(valleys, 99) / median,
        "red / blue": image[..., 0].mean() / image[..., 2].mean(),
    }


def test_no_grey_level_statistic_reveals_cracks(tiles):
    labels = [tile.label for tile in tiles]
    statistics = pd.DataFrame([grey_statistics(tile.image) for tile in tiles])
    areas = statistics.apply(lambda values: roc_auc_score(labels, values))
    either_direction = np.maximum(areas, 1 - areas)
    assert either_direction[either_direction >= 0.9].to_dict() == {}


def test_a_tile_depends_on_seed_and_index_alone(tiles):
    again = list(draw_dataset(25, seed=1))
    for tile, same in zip(tiles, again, strict=False):
        assert (tile.name, tile.label, tile.group) == (same.name, same.label, same.group)
        assert np.array_equal(tile.image, same.image)
        assert (tile.mask is None) == (same.mask is None)
        assert tile.mask is None or np.array_equal(tile.mask, same.mask)

    assert not np.array_equal(next(draw_dataset(1, seed=2)).image, tiles[0].image)


def test_photos_hold_both_classes_and_the_set_is_balanced(tiles):
    table = pd.DataFrame(map(vars, tiles))
    assert table["name"].is_unique

    assert (table["group"].value_counts() == TILES_PER_PHOTO).all()
    cracked = table.groupby("group")["label"].mean()
    assert ((cracked > 0) & (cracked < 1)).all()
    assert 0.45 < table["label"].mean() < 0.55
    assert set(table["surface"]) == {"deck", "pavement", "wall"}


def test_masks_cover_dark_lines(tiles):
    for tile in tiles:
        assert (tile.mask is not None) == bool(tile.label)
    contrasts = []
    for tile in tiles:
        if tile.mask is not None:
            grey = tile.image.mean(-1)
            around = cv2.dilate(tile.mask.astype(np.uint8), np.ones((9, 9))).astype(bool) & ~tile.mask
            contrasts.append(grey[tile.mask].mean() / grey[around].mean())
            assert 30 <= tile.mask.sum() <= 0.15 * tile.mask.size

    assert np.median(contrasts) < 0.75  # visible to the eye
    assert np.quantile(contrasts, 0.98) < 0.95  # people can see even the faintest crack


def test_tiles_of_a_photo_are_similar(tiles):
    colours = np.array([tile.image.mean((0, 1)) for tile in tiles]).reshape(-1, TILES_PER_PHOTO, 3)
    assert colours.mean(1).std(0).mean() > 2 * colours.std(1).mean()


def crack_share(tiles: list[Tile]) -> float:
    """Return how much of a cracked tile is crack, on average, from 0 to 1."""
    return float(np.mean([tile.mask.mean() for tile in tiles if tile.mask is not None]))


@pytest.mark.parametrize("size", [64, 224])
def test_a_larger_tile_shows_larger_cracks(size):
    small = list(draw_dataset(10, seed=3, size=128))
    large = list(draw_dataset(10, seed=3, size=size))
    for tile in large:
        assert tile.image.shape == (size, size, 3)
        assert tile.image.dtype == np.uint8
    assert crack_share(large) == pytest.approx(crack_share(small), rel=0.5)
