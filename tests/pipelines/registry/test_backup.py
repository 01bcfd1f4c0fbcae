"""Export a local run's registry with its S3 files, and import it into a real MLflow server."""

import base64
import subprocess
import sys
import tarfile

import mlflow
import pandas as pd
import pytest
from mlflow.entities import Param, RunTag
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from components.register.run import register_winner
from components.shared.network.served_process import ModelProcess
from components.shared.services import mlflow_runs
from pipelines.cli.main import app
from pipelines.registry.promotions import Registry
from tests.conftest import mlflow_server
from tests.mlflow_store import new_mlflow_store
from tests.tiny_version import tile

NAME = "crack-classifier"


def call(*arguments: object):
    return CliRunner().invoke(app, ["registry", *map(str, arguments)], env={"COLUMNS": "200"})


def test_a_registry_is_restored_as_it_was_and_nothing_is_overwritten(
    winner, unchecked, s3_environment, tmp_path, monkeypatch
):
    register_winner(*winner, job="job-1")
    source, image = mlflow_runs.client(), base64.b64encode(tile(1, 7)).decode()
    expected = mlflow.pyfunc.load_model(f"models:/{NAME}/1").predict(pd.DataFrame({"image": [image]}))["p_crack"][0]
    run_id = source.get_model_version(NAME, "1").run_id
    source.log_metric(run_id, "test_auroc", 0.875)
    source.log_text(run_id, "why", "dossier/verdict.txt")
    for start in (0, 100):  # more entries than MLflow accepts in one call
        numbers = range(start, start + 100)
        params, tags = ([kind(f"many{n}", str(n)) for n in numbers] for kind in (Param, RunTag))
        source.log_batch(run_id, params=params, tags=tags)
    for _ in range(3):  # versions 2 to 4 have the same files; 2 and 4 are deleted below
        source.create_model_version(NAME, f"models:/{NAME}/1", run_id, tags={"crack.verdict": "passed"})
    before = Registry(source, NAME)
    before.promote("1", "Ada", "the first one")
    before.promote("4", "Bo", "bräver", force=True)
    before.rollback("Bo", "no")
    for number in ("2", "4"):
        source.delete_model_version(NAME, number)
    file = tmp_path / "backups" / "registry.tar"
    exported = call("export", file)
    assert exported.exit_code == 0, exported.output
    assert "2 versions" in exported.stdout
    again = call("export", file)
    assert (again.exit_code, "exists already and is not overwritten" in again.output) == (2, True)
    assert [path.name for path in file.parent.iterdir()] == [file.name]

    (tmp_path / "other").mkdir()
    with mlflow_server(tmp_path / "other", s3_environment) as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        imported = call("import", file)
        assert imported.exit_code == 0, imported.output
        target = MlflowClient(uri)
        after = Registry(target, NAME)
        assert after.history() == before.history()
        assert [entry.by for entry in after.history()] == ["Ada", "Bo", "Bo"]
        assert after.alias("champion") == after.alias("challenger") == "1"
        assert [str(version.version) for version in after.versions()] == ["3", "1"]
        assert after.version("1").tags == before.version("1").tags
        restored = target.get_run(after.version("1").run_id)
        assert restored.data.metrics == source.get_run(run_id).data.metrics
        assert restored.data.params == source.get_run(run_id).data.params
        assert len(restored.data.params) == 200
        kept = {key: value for key, value in source.get_run(run_id).data.tags.items() if not key.startswith("mlflow.")}
        assert kept.items() <= restored.data.tags.items()
        assert len(kept) > 200
        assert "dossier" in {item.path for item in target.list_artifacts(restored.info.run_id)}
        with ModelProcess(f"models:/{NAME}@champion") as champion:
            assert champion.ask([image])[0]["p_crack"] == pytest.approx(expected, abs=1e-6)
        assert target.create_model_version(NAME, "s3://crack/next").version in (5, "5")
        refused = call("import", file)
        assert (refused.exit_code, f"the registry already has a model {NAME}" in refused.output) == (2, True)
        assert after.history() == before.history()
        assert [model.name for model in target.search_registered_models()] == [NAME]
    _check_a_new_workdir(file, tmp_path, before)


def _check_a_new_workdir(file, folder, before):
    # In another process, because MLflow caches its S3 clients, and here they use the tests' server.
    command = [
        "-c",
        "from pipelines.cli.main import main; main()",
        "registry",
        "import",
        file,
        "--workdir",
        folder / "fresh",
    ]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Registry(MlflowClient(f"sqlite:///{folder}/fresh/mlflow.db"), NAME).history() == before.history()
    assert list((folder / "fresh" / "s3" / "crack" / "mlflow").rglob("model.safetensors"))


def test_a_file_that_is_not_a_complete_export_is_refused_and_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", new_mlflow_store(tmp_path))
    (tmp_path / "text.tar").write_text("not a tar file, whatever its name says")
    with tarfile.open(tmp_path / "other.tar", "w") as other:
        other.add(tmp_path / "text.tar", "readme")
    (tmp_path / "registry.json").write_text('{"format": 1, "name": "m", "sha256": {"versions/1/model/MLmodel": "0"}}')
    with tarfile.open(tmp_path / "torn.tar", "w") as torn:
        torn.add(tmp_path / "registry.json", "registry.json")
    for name, message in (
        ("none.tar", "does not exist"),
        ("text.tar", "damaged or is not an export"),
        ("other.tar", "does not contain registry.json"),
        ("torn.tar", "damaged: versions/1/model/MLmodel differs from the exported file"),
    ):
        done = call("import", tmp_path / name)
        assert (done.exit_code, message in done.output) == (2, True), done.output
    assert not MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_registered_models()
