"""Mirrored or rotated copies share a group. The leak check finds them. If their labels differ, it is a conflict."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.shared.data.manifest import Manifest, make_splits, read_manifest
from components.shared.services.store import Store
from components.split.leak_check import LeakError, check_leaks
from components.split.related_images import related_images
from tests.components.ingest.version_files import kept

Write = Callable[..., Path]


def ingest(data: Path, store: Store, tmp_path: Path) -> tuple[Manifest, dict]:
    config = IngestConfig(store=store.uri, min_images=5, max_refused=0.4)
    result = ingest_dataset(str(data), tmp_path / "manifest", tmp_path / "page.html", config)
    return read_manifest(tmp_path / "manifest"), json.loads(kept(store, result.digest, "report.json"))


def write_rotated(source: Path, target: Path) -> None:
    cv2.imwrite(str(target), cv2.rotate(cv2.imread(str(source)), cv2.ROTATE_90_CLOCKWISE))


def test_rotated_tile_shares_a_group_and_is_a_leak_in_another_split(tiles: Path, store: Store, tmp_path: Path) -> None:
    write_rotated(tiles / "crack" / "p0_1.jpg", tiles / "crack" / "rotated.jpg")
    manifest, _ = ingest(tiles, store, tmp_path)
    table = manifest.table.set_index("path")

    assert table.loc["crack/rotated.jpg", "group_id"] == table.loc["crack/p0_1.jpg", "group_id"]

    related = related_images(store, manifest.digest)
    in_test = manifest.table["path"] == "crack/rotated.jpg"
    splits = make_splits(manifest.table[["sample_id"]].assign(split=np.where(in_test, "test", "train")))
    with pytest.raises(LeakError, match="1 pairs of images are near duplicates, but are in different splits"):
        check_leaks(manifest, splits, related)


def test_rotated_tile_with_the_other_label_is_a_conflict(tiles: Path, store: Store, tmp_path: Path) -> None:
    write_rotated(tiles / "crack" / "p0_1.jpg", tiles / "no_crack" / "rotated.jpg")
    manifest, report = ingest(tiles, store, tmp_path)
    assert {entry["path"] for entry in report["quarantine"]} == {"crack/p0_1.jpg", "no_crack/rotated.jpg"}
    assert len(manifest.table) == 23


def test_turned_duplicates_among_real_tiles_share_a_group(real_data: Path, store: Store, tmp_path: Path) -> None:
    """Compare every tile with every turn of every other tile. Also look for the pairs that people found."""
    root = real_data / "ccic"
    if not root.is_dir():
        pytest.skip(f"no CCIC tiles at {root}")
    manifest, report = ingest(root, store, tmp_path)
    table = manifest.table
    images = []
    for path in table["path"]:
        grey = cv2.imread(str(root / path), cv2.IMREAD_GRAYSCALE)
        images.append(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA))
    small = np.stack(images).astype(np.float32)
    small -= small.mean(axis=(1, 2), keepdims=True)
    small /= np.linalg.norm(small, axis=(1, 2), keepdims=True)

    found, separated = 0, []
    for quarters in range(4):
        for mirrored in (small, small[:, :, ::-1]):
            turned = np.rot90(mirrored, quarters, axes=(1, 2)).reshape(len(table), -1)
            pairs = np.argwhere(np.triu(turned @ small.reshape(len(table), -1).T >= 0.97, 1))
            groups = table["group_id"].to_numpy()[pairs]
            separated += pairs[groups[:, 0] != groups[:, 1]].tolist()
            found += len(pairs)

    assert found > 400
    assert separated == []

    group_of = table.set_index("path")["group_id"]
    copies = pd.DataFrame(report["copies"]).set_index("path")["kept"]
    known = pd.read_csv(root / "turned_pairs.csv").replace(copies.to_dict())
    assert len(known) == 53
    assert (group_of[known["path"]].to_numpy() == group_of[known["other"]].to_numpy()).all()
    assert group_of.value_counts().max() <= 60

    # A tile without a crack can overlap a tile with a crack, because the crack can be outside the common area.
    overlaps = pd.read_parquet(BytesIO(kept(store, manifest.digest, "overlaps.parquet")))
    tile = table.set_index("sample_id")
    across = overlaps[
        tile.loc[overlaps["first"], "label"].to_numpy() != tile.loc[overlaps["second"], "label"].to_numpy()
    ]
    labels = table.groupby("group_id")["label"].nunique()
    assert set(labels.index[labels > 1]) == set(tile.loc[across["first"], "group_id"])
    assert len(overlaps) > 200
