"""The command that fetches a registered version for a server on a cluster."""

from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.models import infer_signature
from typer.testing import CliRunner

from components.register.run import register_winner
from components.shared.network.served_answers import name_and_version
from components.shared.services import mlflow_runs
from components.shared.services.store import Store
from components.shared.services.version_files import version_digest
from pipelines.cli.main import app

NAME = "crack-classifier"


def fetch(folder: Path, *options: str):
    return CliRunner().invoke(app, ["fetch-model", str(folder), *options])


def digest_in_mlflow() -> str:
    return mlflow_runs.client().get_model_version(NAME, "1").tags[mlflow_runs.DIGEST]


def test_the_champion_s_files_are_fetched_once_more_after_a_kill_but_no_changed_file_is(winner, unchecked, tmp_path):
    register_winner(*winner, job="job-1")
    folder = tmp_path / "served"
    refused = fetch(folder)
    assert (refused.exit_code, "no version of crack-classifier has the alias champion" in refused.output) == (2, True)
    mlflow_runs.client().set_registered_model_alias(NAME, "champion", "1")

    (folder / "incoming" / "code").mkdir(parents=True)  # a call was killed while it copied
    for _ in range(2):  # a pod's init containers run again if its node restarts
        done = fetch(folder)
        assert (done.exit_code, done.output.strip().endswith("models:/crack-classifier/1")) == (0, True), done.output
        assert version_digest(folder / "model") == digest_in_mlflow()
        assert [path.name for path in folder.iterdir()] == ["model"]
    assert name_and_version(str(folder / "model")) == (NAME, "1")

    store = Store(winner[1].store)
    (key,) = (key for key, _ in store.list("mlflow/models/") if key.endswith("/calibration.json"))
    store.put_bytes(key, b"{}")
    refused = fetch(folder)
    assert (refused.exit_code, "are not the registered files" in refused.output) == (2, True), refused.output
    assert version_digest(folder / "model") == digest_in_mlflow()

    _check_a_foreign_folder_and_what_has_no_digest(tmp_path)


def _check_a_foreign_folder_and_what_has_no_digest(tmp_path):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "notes.txt").write_text("keep me")
    refused = fetch(tmp_path / "mine")
    assert (refused.exit_code, "is not a model, so it is not replaced" in refused.output) == (2, True), refused.output
    assert (tmp_path / "mine" / "model" / "notes.txt").read_text() == "keep me"

    refused = fetch(tmp_path / "new", "--model", str(tmp_path))
    assert (refused.exit_code, "is not a registered model version" in refused.output) == (2, True), refused.output

    mlflow_runs.client().delete_model_version_tag(NAME, "1", mlflow_runs.DIGEST)
    refused = fetch(tmp_path / "new")
    assert (refused.exit_code, "version 1 was registered without a digest" in refused.output) == (2, True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("answers", "missing"),
    [
        (pd.DataFrame({"p_crack": [0.5], "label": ["crack"]}), "threshold, novelty"),
        (None, "p_crack, label, threshold, novelty"),
    ],
)
def test_a_version_without_the_served_answers_is_refused(winner, tmp_path, answers, missing):
    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input):
            return answers

    mlflow.set_experiment("crack-training")
    images = pd.DataFrame({"image": ["AAAA"]})
    signature = None if answers is None else infer_signature(images, answers)
    mlflow.pyfunc.log_model(name="old", python_model=Model(), signature=signature, registered_model_name=NAME)
    mlflow_runs.client().set_model_version_tag(NAME, "1", mlflow_runs.DIGEST, "a digest")
    refused = fetch(tmp_path / "served", "--model", f"models:/{NAME}/1")
    assert refused.exit_code == 2
    assert f"crack-classifier version 1 cannot be served, because its answers have no {missing};" in refused.output
