import json
from pathlib import Path

import mlflow
import pytest

from components.drift.config import DriftConfig
from components.drift.run import detect_drift
from components.predict.config import CorruptionConfig, PredictConfig
from components.predict.run import predict_splits
from components.register.config import RegisterConfig
from components.register.run import Winner
from components.shared.network.network import build_network, describe
from components.shared.network.saved_network import save_network
from components.shared.results.calibration import Calibration, ReviewBand, write_calibration
from components.shared.results.measurements import Measurement, write_measurements
from components.shared.results.slices import Slice
from components.shared.services import mlflow_runs
from components.shared.services.store import Store
from tests.mlflow_store import new_mlflow_store
from tests.tiny_version import commit_tiny_version

BAND = ReviewBand(
    low=0.1, high=0.4, missed=0.02, confidence=0.95, photos=300, photos_needed=171, counted=5
)  # fmt: skip


@pytest.fixture
def winner(store, s3, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(None)
    mlflow_runs.client().create_experiment("crack-training", artifact_location=f"{s3}/mlflow")
    return make_winner(store, tmp_path)


@pytest.fixture
def unchecked(monkeypatch):
    """Register without the check of the answers. The check starts a process, which takes seconds."""
    monkeypatch.setattr("components.register.run.check_version", lambda *_: None)


def make_winner(store: Store, tmp_path: Path) -> tuple[Winner, RegisterConfig]:
    """Write what the steps before register leave in a folder and a store: a tiny candidate that passed the gate."""
    s3 = store.uri
    _, manifest, splits = commit_tiny_version(store, tmp_path)
    save_network(build_network(describe("resnet10t", "none", 32, 1)), tmp_path / "model")
    (tmp_path / "dossier").mkdir()
    write_calibration(Calibration(2.0, 0.4, "a test", BAND), tmp_path / "dossier" / "calibration.json")
    rows = [{"passed": True, "why": "AUROC on test is 0.9, and must be at least 0.8."}]
    verdict = {"candidate": "cnn", "passed": True, "rows": rows, "champion": {"text": "There is no champion yet."}}
    (tmp_path / "dossier" / "verdict.json").write_text(json.dumps(verdict))
    measured = [
        Measurement("auroc", 0.9, low=0.85, high=0.93),
        Measurement("review_share", 0.25, low=0.2, high=0.3),
        Measurement("missed_share", 0.0125, low=0.002, high=0.03),
        Measurement("recall_at_threshold", 0.5, slice=Slice.of(surface="wall"), low=0.3, high=0.7, n=12),
        Measurement("recall_at_threshold", 0.96, slice=Slice.of(surface="deck"), n=30),
        Measurement("specificity_at_threshold", 0.9, slice=Slice.of(surface="wall")),
        Measurement("false_alarms_per_photo", 1.5, slice=Slice.of(source="walls"), low=0.9, high=2.4, n=20),
        Measurement("error_increase", 0.125, split="robustness", slice=Slice.of(corruption="unseen")),
        Measurement("error_increase", 0.0, split="robustness", slice=Slice.of(corruption="jpeg")),
        Measurement("error_increase", 0.25, split="robustness", slice=Slice.of(corruption="defocus")),
        Measurement("error_increase", 0.5, split="robustness", slice=Slice.of(corruption="defocus", severity=5)),
    ]
    write_measurements(measured, tmp_path / "dossier" / "measurements.parquet")
    cache = str(tmp_path / "cache")
    predict = PredictConfig(
        store=s3,
        cache=cache,
        train_sample=30,
        precision="bf16",
        workers=0,
        corruptions=CorruptionConfig(max_images=0),
    )
    model, answers = str(tmp_path / "model"), str(tmp_path / "predictions")
    predict_splits(model, str(manifest), str(splits), predict, 1, answers)
    drift = {name: str(tmp_path / f"drift_{name}") for name in ("measurements", "page", "evidently")}
    drift["reference_profile"] = str(tmp_path / "dossier" / "reference_profile.parquet")
    drift_config = DriftConfig(store=s3, cache=cache)
    detect_drift(model, str(manifest), str(splits), answers, drift_config, 1, drift)
    given = Winner(model, answers, str(tmp_path / "dossier"), str(manifest), str(splits))
    return given, RegisterConfig(store=s3, cache=cache, candidate="cnn", checked=4)
