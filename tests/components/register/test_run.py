import json
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from components.predict.champion import predict_champion, unknown_rows
from components.predict.config import PredictConfig
from components.register.record import record_refusal
from components.register.run import register_winner, shortened
from components.shared.data.manifest import read_manifest, read_splits, rows_of
from components.shared.errors import InputError
from components.shared.network.saved_network import load_network
from components.shared.results.calibration import Calibration, read_calibration, write_calibration
from components.shared.results.predictions import read_predictions, write_predictions
from components.shared.services import mlflow_runs
from components.shared.services.store import Store
from components.shared.services.version_files import version_files
from tests.components.register.conftest import BAND
from tests.tiny_version import tile


def test_the_registered_version_answers_as_the_saved_network_does(winner):
    record = register_winner(*winner, job="job-1")
    assert (record["name"], record["version"], record["alias"]) == ("crack-classifier", "1", "challenger")
    model = mlflow.pyfunc.load_model("models:/crack-classifier@challenger")
    tiles = [tile(label, number, size=32) for label in (0, 1) for number in range(3)]
    answers = model.predict(pd.DataFrame({"image": [_base64(data) for data in tiles]}))
    expected = Calibration(2.0, 0.4).p_crack(*_logits(winner[0].model, tiles).T)
    np.testing.assert_allclose(answers["p_crack"], expected, atol=1e-6)
    assert answers["label"].tolist() == ["crack" if p >= 0.4 else "no_crack" for p in expected]
    assert answers["needs_review"].tolist() == [0.1 <= p < 0.4 for p in expected]
    assert model.metadata.signature.outputs.input_names() == list(answers.columns)
    assert model.metadata.signature.inputs.input_names() == ["image"]
    assert len(model.input_example) == 2
    with version_files("crack-classifier", "1") as kept:
        weights, original = (load_network(folder).backbone.state_dict() for folder in (kept / "model", winner[0].model))
        assert all(torch.equal(tensor, original[name]) for name, tensor in weights.items())
        _check_training_rows(pd.read_parquet(kept / "training_rows.parquet"), winner[0])
    assert not kept.exists()


def test_the_step_champion_gives_the_champions_production_answers(winner, tmp_path):
    given, config = winner
    register_winner(*winner, job="job-1")
    mlflow_runs.client().set_registered_model_alias("crack-classifier", "champion", "1")
    again = PredictConfig(store=config.store, cache=config.cache, precision="fp32", workers=0)
    assert predict_champion(given.manifest, given.splits, again, str(tmp_path / "champion")) == "1"
    scored, before = (read_predictions(folder).clean("test") for folder in (tmp_path / "champion", given.predictions))
    assert scored["sample_id"].tolist() == before["sample_id"].tolist()
    np.testing.assert_allclose(scored["logit_1"], before["logit_1"], atol=1e-5)
    assert read_calibration(tmp_path / "champion" / "calibration.json") == Calibration(2.0, 0.4, "a test", BAND)
    change(Store(config.store), "calibration.json", b'{"temperature": 2.0, "threshold": 0.9, "rule": "a test"}')
    for use in (
        lambda: predict_champion(given.manifest, given.splits, again, str(tmp_path / "again")),
        lambda: register_winner(*winner, job="job-2"),
    ):
        with pytest.raises(InputError, match="the files of crack-classifier version 1 are not the registered"):
            use()


def change(store, name, content):
    """Change an artifact of the only registered version in the bucket."""
    (key,) = (key for key, _ in store.list("mlflow/models/") if key.endswith(f"/artifacts/artifacts/{name}"))
    store.put_bytes(key, content)


def test_the_version_shows_its_card(winner, monkeypatch, unchecked):
    register_winner(*winner, job="job-7")
    with version_files("crack-classifier", "1") as kept:
        card, page = (kept / "model_card.md").read_text(), (kept / "model_card.html").read_text()
    assert mlflow_runs.client().get_model_version("crack-classifier", "1").description == card
    for expected in (
        "# crack-classifier: cnn",
        "| AUROC | 0.9000 [0.850, 0.930] | - |",
        "a crack if the calibrated P(crack) is at least 0.400. The rule for this threshold is: a test.",
        "A tile needs review if its P(crack) is at least 0.1 and below 0.4 (25 % [20, 30] of the test tiles). Of all "
        "cracks in new photos of the same kind, at most 2 % are answered 'no crack' and get no review. This limit "
        "holds with 95 % confidence. It was computed from 300 validation photos with cracks. On the test split, "
        "1.25 % [0.2, 3] of the cracks are answered 'no crack' and get no review.",
        "| missed share | 0.0125 [0.002, 0.030] | - |",
        "(mean over kinds of corruption): unseen +0.125. Seen means that the training used a weaker form of the "
        "corruption. Largest increases: defocus +0.250, jpeg +0.000.",
        "- walls, test, 20 tiles: false alarms per photo 1.5000 [0.900, 2.400]",
        "serve --model models:/crack-classifier@champion",
        "| test | wall | 12 | 0 | 0.5000 [0.300, 0.700] | 0.9000 |",
        "| tiny | unknown | crack | 12 | 4 | 4 | 4 |",
        "resnet10t at 32 px. The size of its training tiles was not recorded. Tiles are normalised with mean 0.485, "
        "0.456, 0.406 and std 0.229, 0.224, 0.225, and scaled with bilinear interpolation. It started from random "
        "weights",
        "There is no champion yet.",
        "✓ AUROC on test is 0.9, and must be at least 0.8.",
        "job: `job-7`",
    ):
        assert expected in card, expected
    assert card.index("| wall |") < card.index("| deck |")  # the surface with the lowest recall is first
    assert "<h1>crack-classifier: cnn</h1>" in page
    assert page.count("<table>") == 4
    monkeypatch.setattr(mlflow_runs, "LONGEST", 600)
    short = shortened(card)
    assert len(short) <= 600
    *kept_lines, rest = short.splitlines()
    assert kept_lines == [*card.splitlines()[: len(kept_lines) - 1], ""]
    assert "The whole card is `artifacts/model_card.md`" in rest
    assert "shows a crack" in mlflow_runs.client().get_registered_model("crack-classifier").description


def _check_training_rows(training_rows, given):
    manifest, splits = read_manifest(given.manifest), read_splits(given.splits)
    rows = {split: rows_of(manifest, splits, split) for split in ("train", "val", "test")}
    assert set(training_rows["sample_id"]) == {*rows["train"]["sample_id"], *rows["val"]["sample_id"]}
    assert unknown_rows(rows["val"], training_rows).empty
    assert len(unknown_rows(rows["test"], training_rows)) == len(rows["test"])
    same_photo = rows["test"].assign(group_id=[*rows["train"]["group_id"].head(1), *rows["test"]["group_id"][1:]])
    assert unknown_rows(same_photo, training_rows)["sample_id"].tolist() == rows["test"]["sample_id"].tolist()[1:]


def test_an_interrupted_job_registers_once_and_the_same_model_is_registered_once(winner, monkeypatch, unchecked):
    client = mlflow_runs.client()
    with monkeypatch.context() as killed:
        killed.setattr(client, "create_model_version", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            register_winner(*winner, job="job-1")
    assert mlflow_runs.version_by_alias("crack-classifier", "challenger") is None
    assert register_winner(*winner, job="job-1")["version"] == "1"
    assert register_winner(*winner, job="job-2")["version"] == "1"  # a rerun that trained nothing
    assert register_winner(_calibrated_otherwise(winner[0]), winner[1], job="job-3")["version"] == "2"
    assert register_winner(*winner, job="job-1")["version"] == "1"  # a retry of the older one
    assert mlflow_runs.version_by_alias("crack-classifier", "challenger") == "2"
    assert register_winner(*winner, job="job-4")["version"] == "1"  # a later run whose winner is the older model
    assert mlflow_runs.version_by_alias("crack-classifier", "challenger") == "1"
    assert mlflow_runs.version_by_alias("crack-classifier", "champion") is None
    versions = {version.version: version.tags for version in client.search_model_versions("name='crack-classifier'")}
    assert {number: tags[mlflow_runs.JOB] for number, tags in versions.items()} == {1: "job-1", 2: "job-3"}
    assert all(tags[mlflow_runs.CHECKED] == tags[mlflow_runs.VERDICT] == "passed" for tags in versions.values())


def _calibrated_otherwise(given, threshold=0.3):
    """Return the same model with another threshold. It is registered as another version."""
    dossier = Path(given.dossier).with_name(f"dossier_{threshold}")
    shutil.copytree(given.dossier, dossier)
    write_calibration(Calibration(2.0, threshold, "another test"), dossier / "calibration.json")
    return replace(given, dossier=str(dossier))


def test_concurrent_registrations_make_one_version_for_each_model_and_the_newest_is_challenger(winner):
    given, config = winner
    processes = get_context("forkserver")
    processes.set_forkserver_preload(["components.register.run"])  # both processes load the libraries once
    with ProcessPoolExecutor(2, mp_context=processes) as pool:
        attempts = [pool.submit(register_winner, given, config, job="job-1") for _ in range(2)]
        first, second = (attempt.result() for attempt in attempts)
        assert first == second

        others = [
            pool.submit(register_winner, _calibrated_otherwise(given, threshold), config, job=f"job-{threshold}")
            for threshold in (0.2, 0.3)
        ]
        numbers = {first["version"], *(other.result()["version"] for other in others)}

    versions = mlflow_runs.client().search_model_versions("name='crack-classifier'")
    assert {str(version.version) for version in versions} == numbers
    assert sorted(version.tags[mlflow_runs.JOB] for version in versions) == ["job-0.2", "job-0.3", "job-1"]
    assert {version.tags[mlflow_runs.CHECKED] for version in versions} == {"passed"}
    assert all(version.source.startswith("models:/") for version in versions)
    assert mlflow_runs.version_by_alias("crack-classifier", "challenger") == max(numbers, key=int)


def test_a_version_whose_answers_differ_from_the_measured_ones_gets_no_alias(winner):
    given, config = winner
    measured = read_predictions(given.predictions)
    table = measured.table.assign(logit_1=measured.table["logit_1"] + 3)
    write_predictions(table, measured.embeddings, given.predictions)
    with pytest.raises(
        RuntimeError,
        match=r"version 1 gets no alias.* but the served model answers 0\.\d+; a difference of at most 0\.0001",
    ):
        register_winner(given, config, job="job-1")
    assert mlflow_runs.version_by_alias("crack-classifier", "challenger") is None
    failed = mlflow_runs.client().get_model_version("crack-classifier", "1")
    assert "was measured with" in failed.tags[mlflow_runs.CHECKED]


def test_the_record_of_a_refusal_contains_the_reasons(tmp_path):
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
