import json
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from components.shared.storage import Store
from components.shared.tracking import DATASET
from pipelines.cli import app
from pipelines.gc import delete, find_leftovers


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A registered version was made of data set "a", a run of "d"."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    client = MlflowClient()
    client.create_registered_model("crack-classifier")
    client.create_model_version("crack-classifier", "file:///nowhere", tags={DATASET: "a"})
    client.create_run(client.create_experiment("crack-training"), tags={DATASET: "d"})
    return client


@pytest.fixture
def filled(store: Store) -> Store:
    """Versions a to d; the next ingestion of a source goes on from "c"; "b" was of no use to anyone."""
    for version, shards in {"a": ["1"], "b": ["1", "2"], "c": ["3"], "d": ["4"]}.items():
        store.put_bytes(f"datasets/{version}/manifest.parquet", b"manifest")
        store.put_bytes(f"datasets/{version}/splits/key.parquet", b"splits")
        store.put_bytes(f"datasets/{version}/dataset.json", json.dumps({"shards": dict.fromkeys(shards, 9)}).encode())
    for shard in "12345":
        store.put_bytes(f"shards/{shard}", bytes(9))
    store.put_bytes("sources/one/latest.json", json.dumps({"version": "c"}).encode())
    store.put_bytes("sources/one/index/a.parquet", b"index")
    store.put_bytes("runs/key/model/model.json", b"model")
    store.put_bytes("runs/key/checkpoints/000000001.pt", b"checkpoint")
    store.put_bytes("drift-checks/crack-classifier/monday.json", b"verdict")
    return store


def names(leftovers) -> set[tuple[str, str]]:
    return {(one.kind, one.name) for one in leftovers}


def test_what_a_model_a_source_or_a_recent_run_needs_stays(filled, client):
    useless = {("data set version", "b"), ("data set version", "d"), ("results", "key")}
    assert names(find_leftovers(filled, client, 0)) == useless | {("shard", shard) for shard in "245"}
    assert find_leftovers(filled, client, 1) == []  # all is of today


def test_a_run_of_these_days_keeps_its_data_however_old(filled, client, monkeypatch):
    monkeypatch.setattr("pipelines.gc._age", lambda objects, now: 40.0)
    useless = {("data set version", "b"), ("results", "key"), ("shard", "2"), ("shard", "5")}
    assert names(find_leftovers(filled, client, 30)) == useless


def test_what_makes_a_version_visible_goes_first_and_nothing_else_goes(filled, client, monkeypatch):
    leftovers, files = find_leftovers(filled, client, 0), ("dataset.json", "manifest.parquet", "splits/key.parquet")
    deleted: list[str] = []
    take = Store.delete
    monkeypatch.setattr(Store, "delete", lambda self, keys: (deleted.extend(keys), take(self, keys))[1])
    delete(filled, leftovers)
    for version in "bd":
        mine = [key for key in deleted if key.startswith(f"datasets/{version}/")]
        assert mine[0] == f"datasets/{version}/dataset.json"
        assert max(deleted.index(key) for key in mine) < deleted.index("shards/2")
    assert [key for key, _ in filled.list()] == sorted(
        [
            *(f"datasets/{version}/{name}" for version in "ac" for name in files),
            "drift-checks/crack-classifier/monday.json",
            "shards/1",
            "shards/3",
            "sources/one/index/a.parquet",
            "sources/one/latest.json",
        ]
    )
    assert find_leftovers(filled, client, 0) == []


def test_the_command_lists_and_deletes_only_when_asked(filled, client, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(f"store: {filled.uri}\ncandidates: {{cnn: {{train: {{architecture: resnet18, steps: 1}}}}}}\n")
    arguments = ["gc", "--params", str(params), "--days", "0"]
    before = filled.list()
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "nothing was deleted" in done.output
    assert "data set version" in done.output
    assert filled.list() == before
    assert "deleted" in CliRunner().invoke(app, [*arguments, "--delete"]).output
    assert "holds nothing that is not needed" in CliRunner().invoke(app, arguments).output
