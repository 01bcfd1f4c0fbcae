"""A clean environment for the tests, and real servers: S3 and MLflow."""

import contextlib
import gc
import os
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.shared import events
from components.shared.services.store import Store
from pipelines.local.embedded_stack import (
    BUCKET,
    LOOPBACK,
    MLFLOW_ARTIFACTS,
    embedded_stack,
    free_port,
    guarded,
    wait_for_port,
)
from tests.mlflow_store import new_mlflow_store

# Settings of the caller's shell that change what the code does or what a test reads from its output.
PREFIXES_OF_SETTINGS = ("AWS_", "CRACK_", "KFP_", "LC_", "MLFLOW_", "NOTIFY_", "OUTSIDE_", "RCLONE_")
SETTINGS = (
    "ALL_PROXY", "CLICOLOR_FORCE", "COLUMNS", "CURL_CA_BUNDLE", "FORCE_COLOR", "GITHUB_ACTIONS", "HTTPS_PROXY",
    "HTTP_PROXY", "IMAGE_DIGESTS", "LANGUAGE", "LINES", "LOCAL_BUCKET", "NO_COLOR", "NO_PROXY", "PYTHONIOENCODING",
    "PY_COLORS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE",
)  # fmt: skip


def pytest_configure() -> None:
    """Remove the caller's settings from the environment, before this process or its children read them."""
    for name in list(os.environ):
        if name.startswith(PREFIXES_OF_SETTINGS) or name.upper() in SETTINGS:
            del os.environ[name]
    os.environ["LANG"] = "C.UTF-8"
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nothing answers there: no test asks the hub
    os.environ["HF_HUB_CACHE"] = "/nowhere"
    # A shell's background job ignores SIGINT, and so would everything that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()  # while the libraries load, there is no garbage, and the search for it takes a fifth of the time


def pytest_collection_finish() -> None:
    """Start Python's garbage collector. It never searches the libraries that are already loaded."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let the interpreter free the libraries at its end. Otherwise, some libraries complain."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the import path after each test: a registered model that a test loads puts its own code in front."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(autouse=True)
def outside_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the current step after each test. Otherwise, later tests would wait for MLflow as long as a step does."""
    monkeypatch.setattr(events, "_current_step", "")


@pytest.fixture(scope="session")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The S3 server of the local run on a free loopback port; yields the AWS_* environment that reaches it."""
    with embedded_stack(tmp_path_factory.mktemp("stack")) as environment:
        yield {name: value for name, value in environment.items() if name.startswith("AWS_")}


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
    port, log = free_port(), folder / "log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", new_mlflow_store(folder)]
    stores += ["--default-artifact-root", MLFLOW_ARTIFACTS, "--no-serve-artifacts"]
    # MLflow's job workers take seconds to start, and no test uses them.
    server_environment = {**os.environ, **environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with guarded([*command, *stores, *options], log, server_environment) as server:
        wait_for_port(port, server, log)
        yield f"http://{LOOPBACK}:{port}"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets next to the checkout; skips the test if it does not exist."""
    root = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip(f"real data sets are not at {root}")
    return root
