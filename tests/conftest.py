"""Real servers for the tests: S3 and MLflow."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.shared.storage import Store

BUCKET = "crack"


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An S3 server on a free loopback port; yields the AWS_* environment that reaches it."""
    root = tmp_path_factory.mktemp("s3")
    (root / BUCKET).mkdir()
    port = _free_port()
    access, secret = secrets.token_hex(10), secrets.token_hex(20)
    rclone = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    assert rclone, "rclone is missing: install the project with its cli extra"
    command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{access},{secret}"]
    server = subprocess.Popen(
        [*command, "--config", "", str(root)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, server)
        yield {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": access,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def s3(s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment set to the tests' server; yields the URI of an empty storage root."""
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"


@pytest.fixture
def store(s3: str) -> Store:
    """An empty store on the tests' server."""
    return Store(s3)


@pytest.fixture(scope="session")
def mlflow_environment(
    s3_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A real MLflow server on SQLite and the tests' S3 server; yields the environment that reaches it."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), s3_environment) as uri:
        yield {**s3_environment, "MLFLOW_TRACKING_URI": uri}


@contextlib.contextmanager
def mlflow_server(folder: Path, environment: dict[str, str], *options: str) -> Iterator[str]:
    """Serve MLflow from a folder with further environment and options; yields its URI."""
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--default-artifact-root",
        f"s3://{BUCKET}/mlflow",
    ]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            [*command, *stores, "--no-serve-artifacts", *options],
            # its job workers take seconds to start, and nothing here uses them
            env={**os.environ, **environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,  # its workers end with it
        )
    try:
        _wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets kept beside the checkout; skips the test where it is absent."""
    root = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"real data sets are not at {root}")
    return root


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(port: int, server: subprocess.Popen) -> None:
    for _ in range(1200):
        if server.poll() is not None:
            raise RuntimeError(f"{server.args[:3]} ended with code {server.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{server.args[:3]} did not open its port within 60 s")
