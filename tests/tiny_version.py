"""A small committed data set version whose answer is plain to see: cracks are dark tiles, the rest bright ones."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from components.shared.data.manifest import Manifest, make_manifest, make_splits, write_manifest, write_splits
from components.shared.data.shards import Member
from components.shared.data.versions import commit, put_images
from components.shared.services.store import Store

SPLITS = ("train", "train", "train", "val", "test", "robustness")


def tile(label: int, number: int, size: int = 48) -> bytes:
    """Return a PNG. A crack is dark. Noise makes every tile different."""
    noise = np.random.default_rng([label, number]).normal(0, 12, (size, size, 3))
    pixels = np.clip((70 if label else 180) + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def commit_tiny_version(store: Store, folder: Path, images: int = 48) -> tuple[Manifest, Path, Path]:
    """Commit the version; returns its manifest and the paths of manifest.parquet and splits.parquet."""
    tiles = [(number % 2, number, tile(number % 2, number)) for number in range(images)]
    members = [Member(hashlib.sha256(data).hexdigest(), data, ".png") for _, _, data in tiles]
    version = folder / "version"
    places, shards = put_images(store, members, folder / "shards")
    version.mkdir()
    rows = [
        {
            "source": "tiny", "label": label, "surface": "unknown", "group_id": f"photo{number // 4}",
            "width": 48, "height": 48, "phash": "0" * 16, "path": f"{number}.png", "mask_id": None, **place.__dict__,
        }
        for (label, number, _), place in zip(tiles, places, strict=True)
    ]  # fmt: skip
    manifest = make_manifest(pd.DataFrame(rows))
    splits = make_splits(
        pd.DataFrame(
            {"sample_id": row["sample_id"], "split": SPLITS[(index // 4) % len(SPLITS)]}
            for index, row in enumerate(rows)
        )
    )
    paths = folder / "manifest.parquet", folder / "splits.parquet"
    write_manifest(manifest, paths[0])
    write_splits(splits, paths[1])
    write_manifest(manifest, version / "manifest.parquet")
    (version / "report.json").write_text("{}")
    commit(store, manifest.digest, version, shards)
    return manifest, *paths
