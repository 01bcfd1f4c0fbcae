"""Store data set versions of drawn tiles."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.ingest.sources.synthetic import draw_dataset
from components.shared.data.manifest import Manifest, make_manifest, write_manifest
from components.shared.data.shards import Member
from components.shared.data.versions import commit, put_images
from components.shared.services.store import Store

Tiles = dict[str, np.ndarray]
Commit = Callable[..., Manifest]


@pytest.fixture(scope="session")
def concrete() -> Tiles:
    """Return 80 synthetic tiles by name, uint8 (128, 128, 3). They are from 16 photos, with and without cracks."""
    return {tile.name: tile.image for tile in draw_dataset(80, seed=3)}


@pytest.fixture
def commit_tiles(store: Store, tmp_path: Path) -> Commit:
    """Return a function that stores tiles as a data set version in which every tile is a separate group.

    Its argument `near_duplicates` has pairs of tile names. The function records the sample_ids of these pairs.
    """

    def commit_them(tiles: Tiles, near_duplicates: Sequence[tuple[str, str]] = ()) -> Manifest:
        members = {}
        for name, image in tiles.items():
            content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
            members[f"{name}.jpg"] = Member(hashlib.sha256(content).hexdigest(), content, ".jpg")
        paths = sorted(members, key=lambda path: members[path].sample_id)  # ingestion uses the same order
        places, shards = put_images(store, [members[path] for path in paths], tmp_path / "shards")
        table = pd.DataFrame(map(vars, places)).assign(
            path=paths,
            source="concrete",
            label=np.arange(len(tiles)) % 2,
            surface="wall",
            width=128,
            height=128,
            phash="0" * 16,
            mask_id=None,
        )
        manifest = make_manifest(table.assign(group_id=table["path"]))
        folder = tmp_path / "version"
        folder.mkdir()
        write_manifest(manifest, folder / "manifest.parquet")
        write_manifest(manifest, tmp_path / "manifest")
        pairs = []
        for names in near_duplicates:
            pairs.append([members[f"{name}.jpg"].sample_id for name in names])
        pd.DataFrame(pairs, columns=["first", "second"], dtype="str").to_parquet(folder / "near_duplicates.parquet")
        pd.DataFrame({"sample_id": [], "photo": []}, dtype="str").to_parquet(folder / "photos.parquet")
        commit(store, manifest.digest, folder, shards)
        return manifest

    return commit_them
