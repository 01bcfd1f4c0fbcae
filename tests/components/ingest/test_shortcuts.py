"""The audit finds the shortcuts that exist, and no others."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from components.ingest.config import IngestConfig
from components.ingest.examination import examine
from components.ingest.run import ingest_dataset
from components.ingest.shortcuts import _auroc, audit_shortcuts
from components.ingest.sources.layouts import find_layout
from components.ingest.sources.source_listing import list_images
from components.ingest.thumbnails import blank
from components.shared.services.store import Store
from tests.components.ingest.version_files import kept

Write = Callable[..., Path]


def image_table(labels: np.ndarray, photos: list[str | None], **more: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    values = dict(zip(("brightness", "contrast", "darkest"), rng.normal(size=(3, len(labels))), strict=True))
    ids = [hashlib.sha256(str(index).encode()).hexdigest() for index in range(len(labels))]
    known = {"sample_id": ids, "label": labels, "photo": photos, "source": "a", "surface": "wall", "file_size": 1000}
    return pd.DataFrame(known | values | more).astype({"photo": "str"})


def test_auroc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.permutation([0, 1] * 30)
        scores = rng.integers(0, 9, 60).astype(float) + labels
        assert _auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))

    assert _auroc(np.ones(4, int), np.arange(4.0)) is None
    assert _auroc(np.array([0, 1]), np.zeros(2)) is None


def test_photos_that_predict_the_label_are_found_and_others_not() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 2000)
    predictive = [f"{label}-{index % 20}" for index, label in enumerate(labels)]
    useless = list(map(str, np.arange(2000) % 40))

    assert audit_shortcuts(image_table(labels, predictive))["all"]["photo"] == 1
    assert audit_shortcuts(image_table(labels, useless))["all"]["photo"] == pytest.approx(0.5, abs=0.06)
    assert audit_shortcuts(image_table(labels, [None] * 2000))["all"]["photo"] is None
    assert audit_shortcuts(image_table(labels, list(map(str, range(2000)))))["all"]["photo"] is None


def test_measured_predictors_count_in_either_direction_and_by_source() -> None:
    labels = np.arange(400) % 2
    sources = ["a"] * 200 + ["b"] * 200
    brightness = np.where(np.arange(400) < 200, -labels, np.random.default_rng(2).normal(size=400))
    found = audit_shortcuts(image_table(labels, [None] * 400, brightness=brightness, source=sources))

    assert list(found) == ["all", "a", "b"]
    assert found["a"]["brightness"] == 1
    assert found["b"]["brightness"] < 0.62
    assert found["all"]["source"] == pytest.approx(0.5, abs=0.1)
    assert found["a"]["source"] is None
    assert found["all"]["surface"] is None
    assert found["a"]["file_size"] is None


def test_grey_levels_are_those_of_the_pixels(tiles: Path) -> None:
    files = list_images(find_layout(tiles)).files
    found = examine(files, tiles, blank(len(files)), IngestConfig())
    for image in files.join(found).itertuples():
        path = tiles / image.path
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(float)
        assert image.brightness == pytest.approx(
            grey.mean(), abs=0.6
        )  # `decode` converts grey to colour, and we convert it back
        assert image.contrast == pytest.approx(grey.std(), abs=0.6)
        assert image.darkest == pytest.approx(np.median(grey) - grey.min(), abs=2)
        assert image.file_size == path.stat().st_size


def test_report_and_page_show_the_audit(tiles: Path, store: Store, tmp_path: Path) -> None:
    for path in (tiles / "crack").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path)) // 3)
    config = IngestConfig(store=store.uri, min_images=5)
    result = ingest_dataset(str(tiles), tmp_path / "manifest", tmp_path / "page.html", config)
    shortcuts = json.loads(kept(store, result.digest, "report.json"))["shortcuts"]

    assert shortcuts["all"]["brightness"] == 1
    page = (tmp_path / "page.html").read_text()
    assert "mean brightness" in page
    assert "1.000" in page
