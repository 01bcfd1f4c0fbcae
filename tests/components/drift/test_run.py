import hashlib
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from components.drift.config import DriftConfig
from components.drift.run import detect_drift
from components.ingest.sources.synthetic import draw_dataset
from components.shared.data.drift_profile import read_profile
from components.shared.data.manifest import Manifest, make_manifest, make_splits, write_manifest, write_splits
from components.shared.data.shards import Member
from components.shared.data.versions import commit, put_images
from components.shared.results.measurements import read_measurements
from components.shared.results.predictions import read_predictions, write_predictions
from components.shared.services.store import Store

CURRENT_PHOTOS = 16


def data_set(folder: Path, store: Store, change) -> tuple[Manifest, pd.DataFrame]:
    """Put tiles of 48 photos into the store, and return the manifest and the splits.

    The function `change` changes the tiles of the last 16 photos.
    """
    tiles = list(draw_dataset(240, seed=1, size=64))
    photos = sorted({tile.group for tile in tiles}, key=lambda name: name[-4:])
    current = {tile.name for tile in tiles if tile.group in photos[-CURRENT_PHOTOS:]}
    images = [change(tile.image) if tile.name in current else tile.image for tile in tiles]
    data = [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in images]
    members = [Member(f"{index:064x}", single, ".png") for index, single in enumerate(data)]
    places, shards = put_images(store, members, folder / "shards")
    table = pd.DataFrame(map(vars, places))
    table = table.assign(path="drawn", source="synthetic", width=64, height=64, phash="0" * 16, mask_id=None)
    table = table.assign(surface=[t.surface for t in tiles], group_id=[t.group for t in tiles])
    manifest = make_manifest(table.assign(label=[tile.label for tile in tiles]))
    commit(store, manifest.digest, folder, shards)
    splits = ["robustness" if tile.name in current else "train" for tile in tiles]
    return manifest, pd.DataFrame({"sample_id": manifest.table["sample_id"], "split": splits})


def run(tmp_path: Path, store: Store, change=lambda image: image, images: int = 240, **parameters):
    manifest, splits = data_set(tmp_path / "version", store, change)
    write_manifest(manifest, tmp_path / "manifest.parquet")
    write_splits(make_splits(splits), tmp_path / "splits.parquet")
    table = manifest.table.merge(splits, on="sample_id").assign(condition="after", corruption="clean", severity=0)
    rng = np.random.default_rng(0)
    table["logit_0"], table["logit_1"] = 0.0, 2.0 * table["label"] - 1 + rng.normal(0, 1, len(table))
    table = table.tail(images)
    write_predictions(table, rng.normal(size=(len(table), 4)), tmp_path / "predictions")
    config = DriftConfig(store=store.uri, cache=str(tmp_path / "cache"), permutations=499, **parameters)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    out = {name: str(tmp_path / name) for name in ("measurements", "page", "evidently", "reference_profile")}
    inputs = [str(tmp_path / name) for name in ("model", "manifest.parquet", "splits.parquet", "predictions")]
    detect_drift(*inputs, config, 1, out)
    rows = {row.name: row for row in read_measurements(out["measurements"])}
    return rows, {name: Path(out[name]).read_text() for name in ("page", "evidently")}


def test_similar_photos_do_not_drift(tmp_path, store):
    rows, pages = run(tmp_path, store)
    assert rows["drift.detected"].value == 0
    assert rows["drift.brightness"].n == 80
    assert "No drift" in pages["page"]
    assert pages["page"].count(" to ") >= 8  # one row per bin of ten images in the table of errors
    assert "Errors by distance" in pages["page"]
    assert "drift" in pages["evidently"].lower()
    assert "<script" in pages["evidently"]
    assert (
        "Dataset Drift is NOT detected" in pages["evidently"]
    )  # Evidently's own tests would treat tiles as independent


@pytest.mark.parametrize(
    ("change", "feature"),
    [
        (lambda image: cv2.GaussianBlur(image, (0, 0), 2), "sharpness"),
        (lambda image: np.minimum(image + np.array([60, 0, 0]), 255).astype(np.uint8), "warmth"),
    ],
)
def test_a_change_of_the_camera_is_found_in_its_feature(tmp_path, store, change, feature):
    rows, pages = run(tmp_path, store, change, evidently=False)
    assert rows["drift.detected"].value == 1
    assert rows[f"drift.{feature}"].note.startswith("drifted")
    assert rows["drift.p_crack"].note.startswith("no drift")
    assert re.search(
        rf'class="callout fail">.*Drift.*was found in.*{feature} [+-][0-9.]+.*?</div>', pages["page"], re.DOTALL
    )
    assert "switched off" in pages["evidently"]


def test_too_few_images_are_skipped_with_the_reason(tmp_path, store):
    rows, pages = run(tmp_path, store, images=90)
    assert np.isnan(rows["drift.detected"].value)
    assert "the number of reference images is 10, but it must be at least 30" in rows["drift.share"].note
    assert all("Skipped" in page for page in pages.values())


def test_the_whole_training_sample_is_kept_as_reference_profile(tmp_path, store):
    run(tmp_path, store, images=90)
    kept, predictions = read_profile(tmp_path / "reference_profile"), read_predictions(tmp_path / "predictions")
    train = predictions.clean("train")
    assert kept.groups.tolist() == train["group_id"].tolist()
    assert kept.features["p_crack"].tolist() == train["p_crack"].tolist()
    np.testing.assert_array_equal(kept.embeddings, predictions.embeddings_of("train"))
    assert kept.model == hashlib.sha256(b"weights").hexdigest()
