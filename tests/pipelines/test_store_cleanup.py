import datetime
import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import mlflow
import pytest
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from components.ingest.config import IngestConfig
from components.ingest.run import ingest_dataset
from components.ingest.sources.synthetic import draw_dataset
from components.shared.data.manifest import CLASSES
from components.shared.data.versions import Version
from components.shared.services import mlflow_failures
from components.shared.services.mlflow_runs import CHECKED, DATASET, JOB
from components.shared.services.records import write_record
from components.shared.services.store import Store
from pipelines.cli.main import app
from pipelines.local.embedded_stack import locked, prepare_mlflow, tracking_uri
from pipelines.store_cleanup import SECONDS_PER_DAY, delete, end_dead_runs, find_leftovers
from tests.faulty_s3 import FaultyS3
from tests.mlflow_store import new_mlflow_store


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of an MLflow store where a registered version used data set "a", and a run used "d"."""
    uri = new_mlflow_store(tmp_path_factory.mktemp("mlflow"))
    client = MlflowClient(uri)
    client.create_registered_model("crack-classifier")
    client.create_model_version("crack-classifier", "file:///nowhere", tags={DATASET: "a", CHECKED: "passed"})
    run = client.create_run(client.create_experiment("crack-training"), tags={DATASET: "d"})
    client.set_terminated(run.info.run_id)
    return uri


@pytest.fixture
def client(tracking: str, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    return MlflowClient()


@pytest.fixture
def filled(store: Store) -> Store:
    """Versions a to f.

    There are two sources. A model uses the source "known", and the next ingestion of "known" continues from "c".
    No model uses the source "unknown", and the next ingestion of "unknown" continues from "f".
    Nothing needs "b" and "e".
    """
    shards = {"a": "1", "b": "12", "c": "13", "d": "4", "e": "15", "f": "6"}
    for version, names in shards.items():
        about = Version(version, {}, dict.fromkeys(names, 9))
        store.put_bytes(about.key("manifest.parquet"), b"manifest")
        write_record(store, f"datasets/{version}/dataset.json", about)
    for shard in "1234567":
        store.put_bytes(f"shards/{shard}", bytes(9))
    for source, version in {"known": "c", "unknown": "f"}.items():
        store.put_bytes(f"sources/{source}/index/a.parquet", b"index")
        write_record(store, f"sources/{source}/latest.json", {"version": version})
    store.put_bytes("runs/key/model/model.json", b"model")
    store.put_bytes("runs/key/checkpoints/000000001.pt", b"checkpoint")
    store.put_bytes("splits/key/page.parquet", b"where groups are")
    store.put_bytes("drift-checks/crack-classifier/monday.json", b"verdict")
    return store


def names(leftovers) -> set[tuple[str, str]]:
    return {(one.kind, one.name) for one in leftovers}


def test_what_a_model_or_a_source_of_its_images_needs_stays(filled, client):
    unneeded = {("data set version", version) for version in "bdef"} | {("shard", shard) for shard in "24567"}
    unneeded |= {("source history", "unknown"), ("results", "key")}
    assert names(find_leftovers(filled, client, 0)) == unneeded
    assert find_leftovers(filled, client, 1) == []  # everything is from today


def test_a_recent_run_keeps_its_data_however_old(filled, client):
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=40)
    experiment = client.get_experiment_by_name("crack-training").experiment_id
    yesterday = int((now - datetime.timedelta(days=1)).timestamp() * 1000)
    run = client.create_run(experiment, yesterday, {DATASET: "d"}).info.run_id
    found = names(find_leftovers(filled, client, 30, now))
    client.delete_run(run)
    assert ("data set version", "d") not in found
    assert ("shard", "4") not in found
    assert ("data set version", "e") in found
    assert ("data set version", "d") in names(find_leftovers(filled, client, 30, now))


def test_what_readers_look_for_is_deleted_first_and_nothing_else_is_deleted(filled, client, monkeypatch):
    leftovers = find_leftovers(filled, client, 0)
    deleted: list[str] = []
    take = Store.delete
    monkeypatch.setattr(Store, "delete", lambda self, keys: (deleted.extend(keys), take(self, keys))[1])
    delete(filled, leftovers)
    for folder, first in {"datasets/d": "dataset.json", "sources/unknown": "latest.json"}.items():
        mine = [key for key in deleted if key.startswith(f"{folder}/")]
        assert mine[0] == f"{folder}/{first}"
        assert max(deleted.index(key) for key in mine) < deleted.index("shards/4")
    left = [re.sub("files/[0-9a-f]{64}/", "files/DIGEST/", key) for key, _ in filled.list()]
    assert left == sorted(
        [
            *(
                f"datasets/{version}/{name}"
                for version in "ac"
                for name in ("dataset.json", "files/DIGEST/manifest.parquet")
            ),
            "drift-checks/crack-classifier/monday.json",
            *(f"shards/{shard}" for shard in "13"),
            "sources/known/index/a.parquet",
            "sources/known/latest.json",
            "splits/key/page.parquet",
        ]
    )
    assert find_leftovers(filled, client, 0) == []


def test_the_command_lists_and_deletes_only_when_asked(filled, client, tmp_path):
    params = tmp_path / "params.yaml"
    candidates = "candidates: {cnn: {train: {architecture: resnet18, steps: 1}}}"
    params.write_text(f"store: {filled.uri}\n{candidates}\ncluster: {{run_deadline: 1}}\n")
    time.sleep(2)  # all objects become older than the limit
    arguments = ["gc", "--params", str(params), "--days", str(1.5 / SECONDS_PER_DAY)]
    before = filled.list()
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "nothing was deleted" in done.output
    assert "data set version" in done.output
    assert filled.list() == before

    # A job of a cluster uses "d". It has not ended.
    experiment = client.get_experiment_by_name("crack-training").experiment_id
    run = client.create_run(experiment, start_time=0, tags={DATASET: "d"}).info.run_id
    assert "deleted" in CliRunner().invoke(app, [*arguments, "--delete"]).output
    left = [key for key, _ in filled.list()]
    assert "shards/4" in left
    assert "datasets/d/dataset.json" in left
    assert "shards/5" not in left
    client.delete_run(run)
    assert "deleted" in CliRunner().invoke(app, [*arguments, "--delete"]).output
    assert "is needed" in CliRunner().invoke(app, arguments).output


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("expired", "(ExpiredToken): the credentials have expired; get new ones"),
        ("skewed", "(RequestTimeTooSkewed): the clocks of"),
        ("elsewhere", "is not at http://127.0.0.1:"),
        ("refused", "(AccessDenied): check AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_refusal_of_the_storage_server_is_one_line(
    store, s3_environment, client, tmp_path, monkeypatch, fault, message
):
    params = tmp_path / "params.yaml"
    params.write_text(f"store: {store.uri}\ncandidates: {{cnn: {{train: {{architecture: resnet18, steps: 1}}}}}}\n")
    with FaultyS3(s3_environment["AWS_ENDPOINT_URL_S3"], lambda *_: fault).serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.address)
        done = CliRunner().invoke(app, ["gc", "--params", str(params)])
    assert done.exit_code == 2, done.output
    (error,) = done.stderr.splitlines()
    assert message in error
    assert "does not exist" not in error


@pytest.mark.parametrize("key", ["datasets/a/dataset.json", "sources/known/latest.json"])
@pytest.mark.parametrize("content", [b"", b'{"digest": "a", "fil'])
def test_a_damaged_record_is_named_and_nothing_is_deleted(filled, client, tmp_path, key, content):
    filled.put_bytes(key, content)
    params = tmp_path / "params.yaml"
    params.write_text(f"store: {filled.uri}\ncandidates: {{cnn: {{train: {{architecture: resnet18, steps: 1}}}}}}\n")
    before = filled.list()
    done = CliRunner().invoke(app, ["gc", "--params", str(params), "--days", "3", "--delete"])
    assert done.exit_code == 2, done.output
    assert f"{filled.uri}/{key} is damaged" in done.output
    assert "from a backup of the store" in done.output
    assert filled.list() == before


def test_a_limit_that_is_shorter_than_a_run_deletes_nothing(filled, client, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(f"store: {filled.uri}\ncandidates: {{cnn: {{train: {{architecture: resnet18, steps: 1}}}}}}\n")
    before = filled.list()
    done = CliRunner().invoke(app, ["gc", "--params", str(params), "--days", "2.9", "--delete"])
    assert done.exit_code == 2, done.output
    assert "a run may take 3 days (cluster.run_deadline)" in done.output
    assert filled.list() == before


def test_an_ingestion_that_starts_keeps_the_old_version_that_it_finds(store, client, tmp_path):
    config = IngestConfig(store=store.uri, min_images=1)
    for index, tile in enumerate(draw_dataset(24, seed=1, size=32)):
        path = tmp_path / "tiles" / CLASSES[tile.label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), tile.image)
    arguments = (str(tmp_path / "tiles"), tmp_path / "manifest.parquet", tmp_path / "page.html", config)
    version = ingest_dataset(*arguments).digest
    limit = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.01)
    old = names(find_leftovers(store, client, 0, limit))
    time.sleep(1.1)  # the store may give whole seconds

    assert ingest_dataset(*arguments).digest == version

    assert ("data set version", version) in old
    assert find_leftovers(store, client, 0, limit) == []


def test_nothing_that_a_run_which_has_not_ended_may_use_is_deleted(filled, client):
    experiment = client.get_experiment_by_name("crack-training").experiment_id
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=40)
    run = client.create_run(experiment, tags={DATASET: "d"}).info.run_id
    running = names(find_leftovers(filled, client, 30, now))
    client.set_terminated(run)
    ended = names(find_leftovers(filled, client, 30, now))
    client.delete_run(run)
    assert ("data set version", "d") not in running
    assert ("results", "key") in ended
    assert ("data set version", "d") in ended


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """A workdir with an MLflow store and two run folders. The link run.log leads to the newer run folder."""
    new_mlflow_store(tmp_path / "workdir")
    prepare_mlflow(tmp_path / "workdir", "crack-training")
    for name in ("2020-01-01T00-00-00", "2020-01-02T00-00-00"):
        folder = tmp_path / "workdir" / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.log").write_text(name)
    (tmp_path / "workdir" / "run.log").symlink_to("runs/2020-01-02T00-00-00/run.log")
    return tmp_path / "workdir"


def test_gc_of_a_workdir_takes_its_lock_and_knows_run_folders_and_dead_runs(workdir):
    client = MlflowClient(tracking_uri(workdir))
    dead = client.create_run(client.get_experiment_by_name("crack-training").experiment_id).info.run_id
    arguments = ["gc", "--workdir", str(workdir), "--days", "0"]
    folders = sorted(path.name for path in (workdir / "runs").iterdir())

    with locked(workdir):
        refused = CliRunner().invoke(app, [*arguments, "--delete"])
    assert refused.exit_code == 2
    assert "is in use by process" in refused.output
    listed = CliRunner().invoke(app, arguments)
    assert "2020-01-01T00-00-00" in listed.output
    assert "2020-01-02T00-00-00" not in listed.output
    assert sorted(path.name for path in (workdir / "runs").iterdir()) == folders
    assert client.get_run(dead).info.status == "RUNNING"

    done = CliRunner().invoke(app, [*arguments, "--delete"])
    assert done.exit_code == 0, done.output
    assert "ended 1 MLflow runs whose process had died" in done.output
    assert client.get_run(dead).info.status == "KILLED"
    assert [path.name for path in (workdir / "runs").iterdir()] == ["2020-01-02T00-00-00"]
    assert (workdir / "run.log").read_text() == "2020-01-02T00-00-00"


def test_gc_frees_failed_versions_and_files_that_are_no_version_and_leaves_those_of_others(workdir):
    client = MlflowClient(tracking_uri(workdir))
    experiment = client.get_experiment_by_name("crack-training").experiment_id
    client.create_registered_model("crack-classifier")
    numbers, models = {}, {}
    with mlflow_failures.environment({"MLFLOW_TRACKING_URI": tracking_uri(workdir)}):
        for name, checked in {"good": "passed", "failed": "answers otherwise", "killed": "", "other": ""}.items():
            tags = {} if name == "other" else {JOB: name}
            model = mlflow.initialize_logged_model(name, tags=tags, experiment_id=experiment)
            models[name] = model.model_id
            weights = workdir / "s3" / model.artifact_location.removeprefix("s3://") / "model.safetensors"
            weights.parent.mkdir(parents=True)
            weights.write_bytes(bytes(1000))
            if checked:
                source, tags = f"models:/{models[name]}", tags | {CHECKED: checked}
                numbers[name] = client.create_model_version("crack-classifier", source, tags=tags).version
        long_ago = int((datetime.datetime.now() - datetime.timedelta(days=31)).timestamp() * 1000)
        runs = [client.create_run(experiment, long_ago, tags).info.run_id for tags in ({JOB: "old"}, {})]
        assert end_dead_runs(client, all_are_dead=False) == 1
        assert [client.get_run(run).info.status for run in runs] == ["KILLED", "RUNNING"]

    # In a process of its own, because MLflow keeps the S3 client of the first server that it meets.
    program = str(Path(sys.executable).with_name("crack-pipeline"))
    command = [program, "gc", "--workdir", str(workdir), "--days", "0", "--delete"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kept = {path.parts[-3] for path in (workdir / "s3").rglob("model.safetensors")}
    assert kept == {models["good"], models["other"]}
    versions = client.search_model_versions("name = 'crack-classifier'")
    assert [version.version for version in versions] == [numbers["good"]]
