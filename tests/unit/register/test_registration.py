import json

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from components.register.config import RegisterConfig
from components.register.refusal import record_refusal
from components.register.registration import register_winner
from components.shared import tracking
from components.shared.calibration import Calibration, write_calibration
from components.shared.checkpoint import load_network, save_network
from components.shared.model import build_network, describe
from tests.unit.tiny_version import commit_tiny_version, tile


@pytest.fixture
def winner(store, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    tracking.client.cache_clear()
    mlflow.set_tracking_uri(None)
    tracking.client().create_experiment("crack-training", artifact_location=f"{s3}/mlflow")
    _, manifest, splits = commit_tiny_version(store, tmp_path)
    save_network(build_network(describe("resnet10t", "none", 32, 0.0, 0.0, "none", 1)), tmp_path / "model")
    (tmp_path / "dossier").mkdir()
    write_calibration(Calibration(2.0, 0.4, "a test"), tmp_path / "dossier" / "calibration.json")
    config = RegisterConfig(store=s3, cache=str(tmp_path / "cache"), candidate="cnn")
    return str(tmp_path / "model"), str(tmp_path / "dossier"), str(manifest), str(splits), config


def test_the_registered_version_answers_as_the_saved_network_does(winner):
    record = register_winner(*winner, job="job-1")
    assert (record["name"], record["version"], record["alias"]) == ("crack-classifier", "1", "challenger")
    model = mlflow.pyfunc.load_model("models:/crack-classifier@challenger")
    tiles = [tile(label, number, size=32) for label in (0, 1) for number in range(3)]
    answers = model.predict(pd.DataFrame({"image": [_base64(data) for data in tiles]}))
    expected = Calibration(2.0, 0.4).p_crack(*_logits(winner[0], tiles).T)
    np.testing.assert_allclose(answers["p_crack"], expected, atol=1e-6)
    assert answers["label"].tolist() == ["crack" if p >= 0.4 else "no_crack" for p in expected]
    assert model.metadata.signature.inputs.input_names() == ["image"]
    assert len(model.input_example) == 2


def test_a_job_registers_once_and_two_jobs_twice(winner):
    assert register_winner(*winner, job="job-1")["version"] == "1"
    assert register_winner(*winner, job="job-1")["version"] == "1"
    assert register_winner(*winner, job="job-2")["version"] == "2"
    assert tracking.version_by_alias("crack-classifier", "challenger") == "2"
    assert tracking.version_by_alias("crack-classifier", "champion") is None


def test_the_champion_can_be_fetched_as_a_saved_network(winner):
    register_winner(*winner, job="job-1")
    folder = tracking.download_model("crack-classifier", "1")
    weights = load_network(folder).backbone.state_dict()
    original = load_network(winner[0]).backbone.state_dict()
    assert all(torch.equal(tensor, original[name]) for name, tensor in weights.items())


def test_a_refusal_keeps_its_reasons(tmp_path):
    (tmp_path / "choice.json").write_text(json.dumps({"winner": None, "reasoning": "cnn: AUROC 0.6 is below 0.8"}))
    assert record_refusal(str(tmp_path / "choice.json")) == {
        "registered": False,
        "reasons": ["cnn: AUROC 0.6 is below 0.8"],
    }


def _base64(data):
    import base64

    return base64.b64encode(data).decode()


def _logits(folder, tiles):
    import cv2

    images = np.stack([cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for data in tiles])
    with torch.inference_mode():
        return load_network(folder)(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
