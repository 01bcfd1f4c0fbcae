"""A Kubernetes cluster with everything a run needs, and a registry of container images."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.pipelines.kubernetes_objects import whole_cluster
from tests.pipelines.kubernetes_server import Cluster, serving_cluster

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster that has everything a run needs. KUBECONFIG leads to this cluster."""
    found = whole_cluster()
    with serving_cluster(found, tmp_path / "kubeconfig"):
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield found


@dataclass
class ImageRegistry:
    """The registry's state.

    Attributes:
        host: Its address, such as 127.0.0.1:4000.
        names: Names of its container images. Each image has the digest DIGEST.
        password: If it is set, readers need a token, and get it for this password.
        status: The status of all answers, if it is set.
    """

    host: str = ""
    names: set[str] = field(default_factory=lambda: {"cpu", "gpu"})
    password: str = ""
    status: int = 0

    def reference(self, name: str) -> str:
        """Return the reference of a container image."""
        return f"{self.host}/{name}@{DIGEST}"


@pytest.fixture
def image_registry() -> Iterator[ImageRegistry]:
    """A running registry on a free loopback port."""
    registry = ImageRegistry()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            allowed = not registry.password or self.headers.get("Authorization") == "Bearer a-token"
            name, _, digest = self.path.removeprefix("/v2/").partition("/manifests/")
            if registry.status:
                self._answer(registry.status)
            elif not allowed:
                realm = f'Bearer realm="http://{registry.host}/token",service="registry",scope="repository:{name}:pull"'
                self._answer(401, challenge=realm)
            else:
                self._answer(200 if name in registry.names and digest == DIGEST else 404)

        def do_GET(self) -> None:
            wanted = base64.b64encode(f"robot:{registry.password}".encode()).decode()
            if self.headers.get("Authorization") == f"Basic {wanted}":
                self._answer(200, json.dumps({"token": "a-token"}).encode())
            else:
                self._answer(401)

        def _answer(self, status: int, body: bytes = b"", challenge: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if challenge:
                self.send_header("WWW-Authenticate", challenge)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    registry.host = f"127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
