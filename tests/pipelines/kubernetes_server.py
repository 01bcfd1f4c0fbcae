"""A Kubernetes API over HTTP with a few objects: models of the kubernetes client, or dicts, which can change."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
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
    """The objects by their path in the API.

    Attributes:
        objects: The objects, or lists of objects.
        forbidden: Paths that this account may not read, and paths with "PATCH " before them that it may not change.
        on_change: Called with the path and the object after each change by a client. It plays the controllers.
        on_read: Called before each reading.
        asked: Paths of the changes that clients only tried (dry run).
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self.forbidden: set[str] = set()
        self.on_change: Callable[[str, dict], None] = lambda path, item: None
        self.on_read: Callable[[], None] = lambda: None
        self.asked: list[str] = []

    def add(self, path: str, item: Any) -> None:
        """Store an object under its path."""
        self.objects[path] = item

    def node(self, name: str, labels: dict[str, str], allocatable: dict[str, str]) -> None:
        """Add a node."""
        item = client.V1Node(
            metadata=client.V1ObjectMeta(name=name, labels=labels), status=client.V1NodeStatus(allocatable=allocatable)
        )
        self.objects.setdefault("/api/v1/nodes", []).append(item)

    def patch(self, path: str, patch: dict[str, Any], dry_run: bool) -> tuple[int, Any]:
        """Apply a JSON merge patch. Return the status and the object, or what is wrong."""
        item = self.objects.get(path)
        if item is None:
            return 404, client.V1Status(status="Failure", reason="NotFound", code=404)
        expected = patch.get("metadata", {}).get("resourceVersion")
        if expected not in (None, item["metadata"]["resourceVersion"]):
            return 409, client.V1Status(
                status="Failure", reason="Conflict", code=409, message="the object was modified"
            )

        changed = merge(item, patch)
        if dry_run:
            self.asked.append(path)
            return 200, changed
        changed["metadata"]["resourceVersion"] = str(int(item["metadata"]["resourceVersion"]) + 1)
        changed["metadata"]["generation"] = item["metadata"]["generation"] + (changed["spec"] != item["spec"])
        self.objects[path] = changed
        self.on_change(path, changed)
        return 200, changed

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """Return the object at a path. If the path names a list, return the items whose labels match the query."""
        listing = LISTS.get(path.rpartition("/")[2])
        item = self.objects.get(path, [] if listing else None)
        if not isinstance(item, list):
            return item
        wanted = [pair.split("=") for pair in query.get("labelSelector", [""])[0].split(",") if pair]
        matching = [one for one in item if all(one.metadata.labels.get(key) == value for key, value in wanted)]
        return listing(items=matching)


def merge(item: Any, patch: Any) -> Any:
    """Apply a JSON merge patch, as the text of RFC 7386 defines it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(item) if isinstance(item, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.cluster.on_read()
        found = self.cluster.answer(url.path, parse_qs(url.query))
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            self._send(401, client.V1Status(status="Failure", reason="Unauthorized", code=401))
        elif url.path in self.cluster.forbidden:
            self._send(403, client.V1Status(status="Failure", reason="Forbidden", code=403))
        elif found is None:
            self._send(404, client.V1Status(status="Failure", reason="NotFound", code=404))
        else:
            self._send(200, found)

    def do_PATCH(self) -> None:
        url = urlsplit(self.path)
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            self._send(401, client.V1Status(status="Failure", reason="Unauthorized", code=401))
        elif f"PATCH {url.path}" in self.cluster.forbidden:
            message = "cannot patch resource"
            self._send(403, client.V1Status(status="Failure", reason="Forbidden", code=403, message=message))
        elif self.headers["Content-Type"] != "application/merge-patch+json":
            self._send(415, client.V1Status(status="Failure", reason="UnsupportedMediaType", code=415))
        else:
            self._send(*self.cluster.patch(url.path, patch, "dryRun" in parse_qs(url.query)))

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
