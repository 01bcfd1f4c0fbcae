"""A KFP server for the tests, the environment that reaches it, and a small pipeline to give to it."""

import inspect
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from components.shared.services.kfp_api import KfpApi
from components.shared.services.kfp_endpoint import Endpoint
from pipelines.config.parameter_file import load_run_config
from pipelines.config.run_config import RunConfig
from pipelines.graphs.compile import CompiledPipeline, compile_version
from tests.components.register.conftest import unchecked, winner  # noqa: F401 (fixtures)
from tests.pipelines.kfp_server import KfpServer, serving


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests away from the cluster of the person who runs them."""
    monkeypatch.setenv("KUBECONFIG", "/nowhere")


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    """A running server without uploads. At the end, all requests and answers must have followed the published API."""
    with serving(KfpServer()) as server:
        for name in ("KFP_TOKEN_FILE", "KFP_CA_CERT", "KFP_UI_ENDPOINT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("KFP_ENDPOINT", server.url)
        monkeypatch.setenv("KFP_TOKEN", server.token)
        monkeypatch.setenv("KFP_NAMESPACE", server.namespaces[0])
        yield server
    assert server.violations == []


@pytest.fixture
def client(kfp: KfpServer) -> KfpApi:
    """A client of the server that retries after a short time."""
    return KfpApi(Endpoint.from_environment(), timeout=(2, 5), backoff=0.01)


@pytest.fixture
def console() -> Console:
    """A console that keeps what is printed, in `console.file`."""
    return Console(file=io.StringIO(), width=250)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parameter file with one candidate and a weekly schedule."""
    file = tmp_path_factory.mktemp("params") / "small.yaml"
    file.write_text(
        "candidates:\n  cnn:\n    train: {architecture: resnet18, weights: none, steps: 5}\n"
        'schedule:\n  crack-training: {cron: "0 2 * * 6", parameters: {seed: 3}}\n'
    )
    return file


@pytest.fixture(scope="session")
def config(small: Path) -> RunConfig:
    """The small file's parameters."""
    return load_run_config(small)


@pytest.fixture(scope="session")
def compiled(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> CompiledPipeline:
    """The small pipeline, compiled once for all tests."""
    return compile_version("crack-training", config, "0123456789ab", tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="session", autouse=True)
def shallow_stacks() -> Iterator[None]:
    """Make `inspect.stack` fast: KFP calls it for every setting of a task, and reads the source of all frames."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", partial(inspect.stack, 0))
        yield
