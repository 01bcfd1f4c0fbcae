"""A Kubernetes API over HTTP with a few objects. The objects are models of the Python package `kubernetes`."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from kubernetes import client

TOKEN = "cluster-token"
# The API answers an empty list if there is no object of a kind.
LISTS = {
    "daemonsets": client.V1DaemonSetList,
    "networkpolicies": client.V1NetworkPolicyList,
    "nodes": client.V1NodeList,
    "persistentvolumeclaims": client.V1PersistentVolumeClaimList,
    "pods": client.V1PodList,
    "resourcequotas": client.V1ResourceQuotaList,
    "storageclasses": client.V1StorageClassList,
}


class Cluster:
    """The objects by their path in the API."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.forbidden: set[str] = set()

    def add(self, path: str, item: Any) -> None:
        """Store an object under its path."""
        self.objects[path] = item

    def node(self, name: str, labels: dict[str, str], allocatable: dict[str, str]) -> None:
        """Add a node."""
        item = client.V1Node(
            metadata=client.V1ObjectMeta(name=name, labels=labels), status=client.V1NodeStatus(allocatable=allocatable)
        )
        self.objects.setdefault("/api/v1/nodes", []).append(item)

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """Return the object at a path. If the path names a list, return the items whose labels match the query."""
        listing = LISTS.get(path.rpartition("/")[2])
        item = self.objects.get(path, [] if listing else None)
        if not isinstance(item, list):
            return item
        wanted = [pair.split("=") for pair in query.get("labelSelector", [""])[0].split(",") if pair]
        matching = [one for one in item if all(one.metadata.labels.get(key) == value for key, value in wanted)]
        return listing(items=matching)


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        found = self.cluster.answer(url.path, parse_qs(url.query))
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            self._send(401, client.V1Status(status="Failure", reason="Unauthorized", code=401))
        elif url.path in self.cluster.forbidden:
            self._send(403, client.V1Status(status="Failure", reason="Forbidden", code=403))
        elif found is None:
            self._send(404, client.V1Status(status="Failure", reason="NotFound", code=404))
        else:
            self._send(200, found)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _send(self, status: int, item: Any) -> None:
        content = json.dumps(client.ApiClient().sanitize_for_serialization(item)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def serving_cluster(cluster: Cluster, kubeconfig: Path) -> Iterator[None]:
    """Serve the cluster on a free loopback port, and write a kubeconfig for it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": cluster}))
    address = f"http://127.0.0.1:{server.server_address[1]}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": address}}],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
    }
    kubeconfig.write_text(yaml.safe_dump(document))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
