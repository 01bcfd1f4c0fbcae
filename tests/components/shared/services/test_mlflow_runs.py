"""If MLflow is down or locked, or an experiment was deleted, the user gets a message within seconds."""

import contextlib
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from components.predict.component import champion
from components.predict.config import PredictConfig
from components.shared import events
from components.shared.errors import InputError
from components.shared.services import mlflow_failures, mlflow_runs
from components.shared.services.records import read_record
from components.shared.services.store import Store
from pipelines.cli.main import app
from pipelines.local.embedded_stack import DATABASE, free_port, prepare_mlflow, tracking_uri
from tests.mlflow_store import new_mlflow_store

EXPERIMENT = "crack-training"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workdir with the MLflow store of a local run. MLFLOW_TRACKING_URI names this store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(tmp_path))
    new_mlflow_store(tmp_path)
    prepare_mlflow(tmp_path, EXPERIMENT)
    return tmp_path


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


def refused_run(workdir: Path) -> str:
    """Start a local run, which must refuse its MLflow store, and return its only line."""
    params = workdir / "params.yaml"
    params.write_text("candidates: {cnn: {train: {architecture: test_resnet, weights: none, steps: 1}}}\n")
    done = CliRunner().invoke(app, ["run-local", "--params", str(params), "--workdir", str(workdir)])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    return line


def test_a_step_says_at_once_that_the_server_is_down_and_fails_with_the_same_words(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(mlflow_failures, "SHORT_WAIT", {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    monkeypatch.setattr(mlflow_failures, "STEP_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(mlflow_failures, "SECONDS_BETWEEN_TRIES", 0.3)
    words = "the MLflow server at http://127.0.0.1:9 cannot be used: [Errno 111] Connection refused; check MLFLOW"
    config = PredictConfig(store=store.uri).model_dump_json()
    nothing = SimpleNamespace(path="nowhere")
    with pytest.raises(InputError, match=re.escape(words)):
        champion.python_func(nothing, nothing, config, "7", nothing)
    assert any(words in line and "Trying again" in line for line in caplog.messages)
    cause = read_record(store, "runs/7/errors/champion.json", dict, "")
    assert (cause["kind"], words in cause["message"]) == ("input", True)


def test_a_server_that_is_down_is_named_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(
        InputError, match=r"the MLflow server at http://127\.0\.0\.1:9 cannot be used: .*refused; check MLFLOW"
    ):
        mlflow_runs.candidate_run(EXPERIMENT, "job", "cnn")
    assert time.monotonic() - started < 20


class Empty(BaseHTTPRequestHandler):
    """An MLflow server without any data."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None: ...


class BesideUnreachableS3(Empty):
    """An MLflow server that has an artifact, and offers links to an S3 that this machine cannot reach."""

    def do_GET(self) -> None:
        answer = b"{}"
        if self.path.endswith("/server-info"):
            answer = b'{"multipart_downloads_enabled": true, "multipart_uploads_enabled": true}'
        elif "/presigned/" in self.path:
            answer = b'{"url": "http://127.0.0.1:9/bucket/a.txt", "headers": {}, "file_size": 5}'
        elif self.path.endswith("/artifacts/1/a.txt"):
            answer = b"bytes"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def test_an_artifact_comes_through_the_server_if_its_s3_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in mlflow_runs.THROUGH_THE_SERVER:
        monkeypatch.setenv(name, "")  # restored after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server = ThreadingHTTPServer(("127.0.0.1", 0), BesideUnreachableS3)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    try:
        mlflow_runs.client()
        repository = MlflowArtifactsRepository("mlflow-artifacts:/1", tracking_uri=address)
        assert Path(repository.download_artifacts("a.txt", str(tmp_path))).read_bytes() == b"bytes"
    finally:
        server.shutdown()


def test_a_step_waits_for_a_server_that_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(mlflow_failures, "SHORT_WAIT", {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"})
    monkeypatch.setattr(mlflow_failures, "SECONDS_BETWEEN_TRIES", 0.1)
    monkeypatch.setattr(events, "_current_step", "champion")

    servers = []

    def start() -> None:
        servers.append(ThreadingHTTPServer(("127.0.0.1", port), Empty))
        servers[0].serve_forever()

    later = threading.Timer(1.0, start)
    later.daemon = True
    later.start()
    assert mlflow_runs.version_by_content("crack-classifier", "content") is None
    servers[0].shutdown()
    servers[0].server_close()


def test_a_server_that_goes_down_inside_a_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    uri = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert mlflow_runs.version_by_content("crack-classifier", "content") is None

    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match=rf"the MLflow server at {uri} cannot be used: .*refused; check MLFLOW"):
        mlflow_runs.log_values("run", {"auroc": 0.9})


def test_a_locked_store_is_named(kept: Path) -> None:
    run = mlflow_runs.candidate_run(EXPERIMENT, "job", "cnn")
    message = r"the MLflow store sqlite:.*mlflow\.db is locked by another process; wait until that process ends"
    with locked(kept / DATABASE), pytest.raises(InputError, match=message):
        mlflow_runs.log_values(run, {"auroc": 0.9})
    with locked(kept / DATABASE):
        assert "mlflow.db cannot be read: database is locked; end the process that uses it" in refused_run(kept)


def test_a_deleted_experiment_is_named_with_the_way_to_restore_it(kept: Path) -> None:
    client = MlflowClient(tracking_uri(kept))
    client.delete_experiment(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    message = r"'crack-training' was deleted; restore it with `MLFLOW_TRACKING_URI=sqlite:.* --experiment-id 1`"
    with pytest.raises(InputError, match=message):
        mlflow_runs.candidate_run(EXPERIMENT, "job", "cnn")
    assert re.search(message, refused_run(kept))
