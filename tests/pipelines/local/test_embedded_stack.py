"""The workdir's S3 server removes the files of killed uploads, and keeps files that a process may still write."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from components.shared.errors import InputError
from components.shared.services.store import Store
from pipelines.local.embedded_stack import (
    DATABASE,
    UNFINISHED_DATABASE,
    embedded_stack,
    holds_mlflow_store,
    prepare_mlflow,
    tracking_uri,
)


def test_temporary_files_of_killed_uploads_are_removed_after_a_day(tmp_path: Path, monkeypatch) -> None:
    with embedded_stack(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store = Store("s3://crack/store")
        full, killed = {"Bucket": "crack", "Key": "store/shards/x"}, []
        for _ in range(2):
            upload = store.connection.client.create_multipart_upload(**full)["UploadId"]
            store.connection.client.upload_part(**full, UploadId=upload, PartNumber=1, Body=bytes(6_000_000))
        assert store.list() == []
        killed = list(tmp_path.rglob(".rclone_temp_multipart_*"))
        assert killed
    yesterday = time.time() - 90_000
    os.utime(killed[0], (yesterday, yesterday))
    with embedded_stack(tmp_path):
        assert set(tmp_path.rglob(".rclone_temp_multipart_*")) == set(killed[1:])


def test_a_local_run_reaches_its_own_bucket_and_those_of_its_user(store: Store, tmp_path: Path, monkeypatch) -> None:
    store.connection.client.create_bucket(Bucket="raw")
    theirs = Store("s3://raw/tiles")
    theirs.put_bytes("name", b"theirs")
    with embedded_stack(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        Store(store.uri).put_bytes("name", b"own")
        assert store.list() == []
        assert Store(theirs.uri).get_bytes("name") == b"theirs"
        monkeypatch.delenv("OUTSIDE_AWS_SECRET_ACCESS_KEY")
        with pytest.raises(InputError, match="no credentials for s3://raw/tiles: set AWS_ACCESS_KEY_ID"):
            Store(theirs.uri)
        monkeypatch.delenv("OUTSIDE_AWS_ENDPOINT_URL_S3")
        monkeypatch.delenv("OUTSIDE_AWS_DEFAULT_REGION")
        with pytest.raises(InputError, match="no storage endpoint for s3://raw/tiles: set AWS_ENDPOINT_URL_S3"):
            Store(theirs.uri)


PREPARE = "import sys; from pathlib import Path; from pipelines.local.embedded_stack import prepare_mlflow as prepare\n"


def prepare_in_a_process(workdir: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", f"{PREPARE}prepare(Path(sys.argv[1]), 'crack-training')", str(workdir)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def tables_of(database: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def test_a_store_whose_making_was_interrupted_is_made_again(tmp_path: Path) -> None:
    process = prepare_in_a_process(tmp_path)
    unfinished = tmp_path / UNFINISHED_DATABASE
    deadline = time.monotonic() + 60
    while not (unfinished.exists() and unfinished.stat().st_size > 200_000):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)

    assert not (tmp_path / DATABASE).exists()
    assert not holds_mlflow_store(tmp_path)
    prepare_mlflow(tmp_path, "crack-training")
    assert holds_mlflow_store(tmp_path)
    assert not unfinished.exists()
    experiment = MlflowClient(tracking_uri(tmp_path)).get_experiment_by_name("crack-training")
    assert experiment.artifact_location == "s3://crack/mlflow"


@pytest.mark.parametrize("found", ["half-migrated", "empty"])
def test_a_half_made_store_that_is_found_is_made_again(tmp_path: Path, found: str) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        if found == "half-migrated":
            connection.execute("CREATE TABLE experiments (name TEXT)")
            connection.execute("INSERT INTO experiments VALUES ('Default')")
            connection.execute("CREATE TABLE secrets (name TEXT)")
            connection.commit()
    prepare_mlflow(tmp_path, "crack-training")
    assert "registered_models" in tables_of(tmp_path / DATABASE)


def test_a_store_with_runs_is_never_made_again_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    prepare_mlflow(tmp_path, "crack-training")
    client = MlflowClient(tracking_uri(tmp_path))
    run = client.create_run(client.get_experiment_by_name("crack-training").experiment_id).info.run_id
    prepare_mlflow(tmp_path, "another")
    assert client.get_run(run)
    assert client.get_experiment_by_name("another")

    damaged = b"not a database" * 1000
    (tmp_path / DATABASE).write_bytes(damaged)
    with pytest.raises(InputError, match=r"mlflow.db is damaged: file is not a database; move the file away"):
        prepare_mlflow(tmp_path, "crack-training")
    assert (tmp_path / DATABASE).read_bytes() == damaged
