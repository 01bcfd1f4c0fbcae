import os

import cv2
import numpy as np
import pytest
import torch

from components.predict.champion import predict_champion
from components.predict.config import CorruptionConfig, PredictConfig
from components.predict.corruptions import corrupt
from components.predict.run import gigaflops, predict_splits
from components.predict.views import CELL
from components.shared.data.image import decode
from components.shared.data.shards import ShardReader
from components.shared.data.versions import fetch
from components.shared.network.network import build_network, describe
from components.shared.network.resize import Resize
from components.shared.network.saved_network import save_network
from components.shared.network.tiles import TileDataset
from components.shared.results.predictions import read_predictions
from tests.mlflow_store import new_mlflow_store
from tests.tiny_version import commit_tiny_version

NONE = CorruptionConfig(max_images=0)


@pytest.fixture
def step(store, s3, tmp_path):
    manifest, manifest_path, splits_path = commit_tiny_version(store, tmp_path, images=96)
    network = build_network(describe("resnet10t", "none", 32, 1))
    with torch.no_grad():
        network.backbone.fc.weight += 0.5  # the trained network differs from the one that model.json describes
    save_network(network, tmp_path / "model")
    config = PredictConfig(
        store=s3, cache=str(tmp_path / "cache"), train_sample=30, precision="fp32", workers=0, corruptions=NONE
    )
    return manifest, network.eval(), (str(tmp_path / "model"), str(manifest_path), str(splits_path), config)


def test_every_tile_gets_the_answers_of_both_networks(step, store, tmp_path):
    manifest, network, (*paths, config) = step
    # This precision must not be used for answers that the registered version has to repeat.
    fast = config.model_copy(update={"precision": "bf16"})
    predict_splits(*paths, fast, seed=1, folder=str(tmp_path / "out"))
    predictions = read_predictions(tmp_path / "out")
    counts = predictions.table.groupby(["condition", "split"]).size()
    for condition in ("before", "after"):
        assert counts[condition].to_dict() == {"robustness": 16, "test": 16, "train": 30, "val": 16}
    test = predictions.clean("test")
    rows = manifest.table.set_index("sample_id").loc[test["sample_id"]]
    dataset = TileDataset(rows, fetch(store, manifest, tmp_path / "cache"), Resize(32))
    images = torch.stack([dataset[index][0] for index in range(len(dataset))])
    with torch.inference_mode():
        logits, embeddings = network.logits_and_embeddings(images)
    np.testing.assert_allclose(test[["logit_0", "logit_1"]], logits, atol=1e-4)
    np.testing.assert_allclose(test["p_crack"], logits.softmax(1)[:, 1], atol=1e-5)
    np.testing.assert_allclose(predictions.embeddings_of("test"), embeddings, atol=1e-4)
    assert not np.allclose(predictions.clean("test", "before")["logit_1"], test["logit_1"])


def test_the_cost_of_a_tile_equals_the_published_number():
    network = build_network(describe("resnet50", "none", 224, 1)).eval()
    assert gigaflops(network) == pytest.approx(2 * 4.1, rel=0.02)  # timm's table says 4.1 GMACs


def test_finished_predictions_are_reused_until_parameters_change(step, tmp_path, monkeypatch):
    _, _, (model, manifest, splits, config) = step
    predict_splits(model, manifest, splits, config, 1, str(tmp_path / "one"))
    events = tmp_path / "events"
    monkeypatch.setenv("CRACK_EVENTS", str(events))
    predict_splits(model, manifest, splits, config, 1, str(tmp_path / "two"))
    assert "reused" in events.read_text()
    for name in ("predictions.parquet", "embeddings.npy"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(os.listdir(tmp_path / "two")) == ["embeddings.npy", "predictions.parquet"]
    events.unlink()
    other = config.model_copy(update={"train_sample": 31})
    predict_splits(model, manifest, splits, other, 1, str(tmp_path / "three"))
    assert "reused" not in events.read_text()


def test_without_a_champion_the_table_is_empty(step, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    _, _, (_, manifest, splits, config) = step
    assert predict_champion(manifest, splits, config, str(tmp_path / "nobody")) == ""
    assert read_predictions(tmp_path / "nobody").table.empty


def test_the_robustness_suite_predicts_corrupted_views_after_fine_tuning_only(step, store, tmp_path):
    manifest, network, (*paths, config) = step
    suite = CorruptionConfig(families=("jpeg", "low_light"), severities=(5, 1), max_images=10)
    predict_splits(*paths, config.model_copy(update={"corruptions": suite}), seed=1, folder=str(tmp_path / "out"))
    predictions = read_predictions(tmp_path / "out")
    corrupted = predictions.table[predictions.table["corruption"] != "clean"]
    views = [("jpeg", 1), ("jpeg", 5), ("low_light", 1), ("low_light", 5)]
    assert corrupted.groupby(["corruption", "severity"]).size().to_dict() == dict.fromkeys(views, 10)
    assert set(zip(corrupted["split"], corrupted["condition"], strict=True)) == {("robustness", "after")}
    assert corrupted["sample_id"].nunique() == 10
    row = corrupted[(corrupted["corruption"] == "low_light") & (corrupted["severity"] == 5)].iloc[3]
    place = manifest.table.set_index("sample_id").loc[row["sample_id"]]
    tiles = ShardReader(fetch(store, manifest, tmp_path / "cache"))
    image = decode(tiles.read(place["shard"], int(place["offset"]), int(place["size"])))
    dark = Resize(32)(corrupt(image, "low_light", 5, row["sample_id"]))
    with torch.inference_mode():
        logits = network(torch.from_numpy(dark).permute(2, 0, 1)[None])[0]
    np.testing.assert_allclose(row[["logit_0", "logit_1"]].astype(float), logits, atol=1e-4)
    sheet = cv2.imread(str(tmp_path / "out" / "views.jpg"))
    assert sheet.shape == (20 + 2 * CELL, 110 + 3 * CELL, 3)  # clean and two severities of two families
    clean, darkest = (sheet[20 + CELL :, 110 + column * CELL :][:, :CELL] for column in (0, 2))
    assert darkest.mean() < 0.3 * clean.mean()
