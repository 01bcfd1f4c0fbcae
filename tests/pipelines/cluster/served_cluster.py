"""A cluster with the objects of manifests/components/serving, and what controllers and a Gateway make of them."""

import copy
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client

from tests.pipelines.kubernetes_server import Cluster

COMPONENTS = Path(__file__).parents[3] / "manifests" / "components"
NAMESPACE = "crack"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
SERVICES = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices"
GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"
ROUTE = f"{GATEWAY_API}/namespaces/{NAMESPACE}/httproutes/crack-classifier"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
READINGS_UNTIL_READY = 3


class ServedCluster(Cluster):
    """The cluster. Its servers get ready some readings after a change, unless their version is one of `broken`.

    Attributes:
        broken: URIs of the versions whose pods fail -> the last words of the container `fetch`.
        refused: Type of filter that the Gateway does not know.
        violations: What a client must never see: the route sends requests to a server without ready pods.
        served: Every version that the champion's ready pods served, in order.
    """

    def __init__(self, kserve: bool = False) -> None:
        super().__init__()
        self.kserve = kserve
        self.suffix = "-predictor" if kserve else ""
        self.broken: dict[str, str] = {}
        self.refused = ""
        self.violations: list[str] = []
        self.served: list[str] = []
        self._until_ready: dict[str, int] = {}
        self.on_change = self._changed
        self.on_read = self._time_passes

        self.objects[GATEWAY_API] = {"kind": "APIResourceList", "groupVersion": "v1", "resources": []}
        self.objects[PODS] = []
        for item in _documents(COMPONENTS / "serving" / "servers.yaml"):
            if item["kind"] == "Deployment":
                item["metadata"]["name"] += self.suffix
                self.objects[f"{DEPLOYMENTS}/{item['metadata']['name']}"] = item
                self._finish(f"{DEPLOYMENTS}/{item['metadata']['name']}")
        if kserve:
            for item in _documents(COMPONENTS / "serving-kserve" / "inference-services.yaml"):
                self.objects[f"{SERVICES}/{item['metadata']['name']}"] = item
        (route,) = _documents(COMPONENTS / "serving" / "route.yaml")
        if kserve:
            route["spec"]["rules"][0]["backendRefs"][0] |= {"name": "crack-champion-predictor", "port": 80}
        self.objects[ROUTE] = route
        self._accept(route)

    def deployment(self, alias: str) -> dict[str, Any]:
        return self.objects[f"{DEPLOYMENTS}/crack-{alias}{self.suffix}"]

    def told(self, alias: str) -> tuple[str, int]:
        """The version that a server is told to serve, and the number of its pods."""
        item = self.deployment(alias)
        return _model(item), item["spec"]["replicas"]

    def rule(self) -> dict[str, Any]:
        (rule,) = self.objects[ROUTE]["spec"]["rules"]
        return rule

    def _changed(self, path: str, item: dict[str, Any]) -> None:
        if path == ROUTE:
            self._accept(item)
            self._require_ready_backends()
        elif path.startswith(SERVICES):  # KServe changes its Deployment
            target = f"{DEPLOYMENTS}/{item['metadata']['name']}-predictor"
            deployment = copy.deepcopy(self.objects[target])
            deployment["spec"]["replicas"] = item["spec"]["predictor"]["minReplicas"]
            deployment["spec"]["template"]["spec"]["initContainers"] = item["spec"]["predictor"]["initContainers"]
            deployment["metadata"]["generation"] += 1
            self.objects[target] = deployment
            self._until_ready[target] = READINGS_UNTIL_READY
        else:
            self._until_ready[path] = READINGS_UNTIL_READY

    def _time_passes(self) -> None:
        for path in list(self._until_ready):
            item = self.objects[path]
            self._until_ready[path] -= 1
            if _model(item) in self.broken and item["spec"]["replicas"]:
                self.objects[PODS] = [_failing_pod(item, self.broken[_model(item)])]
            elif self._until_ready[path] <= 0:
                self._finish(path)

    def _finish(self, path: str) -> None:
        """The pods of a Deployment are ready, and older ones have ended."""
        self._until_ready.pop(path, None)
        item = self.objects[path]
        item["metadata"] = {"generation": 1, "resourceVersion": "1"} | item["metadata"]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), item["spec"]["replicas"])
        item["status"] = {"observedGeneration": item["metadata"]["generation"], **counts}
        if "champion" in path:
            self.served.append(_model(item))

    def _accept(self, route: dict[str, Any]) -> None:
        route["metadata"] = {"generation": 1, "resourceVersion": "1"} | route["metadata"]
        filters = [one["type"] for rule in route["spec"]["rules"] for one in rule.get("filters", [])]
        condition = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "Route is accepted"}
        if self.refused in filters:
            condition |= {"status": "False", "reason": "UnsupportedValue", "message": f"no {self.refused} here"}
        condition["observedGeneration"] = route["metadata"]["generation"]
        route["status"] = {"parents": [{"parentRef": {"name": "crack"}, "conditions": [condition]}]}

    def _require_ready_backends(self) -> None:
        rule = self.rule()
        names = [backend["name"] for backend in rule["backendRefs"] if backend["weight"]]
        names += [
            one["requestMirror"]["backendRef"]["name"] for one in rule.get("filters", []) if "requestMirror" in one
        ]
        for name in names:
            status = self.objects[f"{DEPLOYMENTS}/{name}"]["status"]
            if not status["availableReplicas"]:
                self.violations.append(f"requests go to {name}, which has no ready pods")


def _documents(file: Path) -> list[dict[str, Any]]:
    items = list(yaml.safe_load_all(file.read_text()))
    for item in items:
        item["metadata"] |= {"generation": 1, "resourceVersion": "1"}
    return items


def _model(deployment: dict[str, Any]) -> str:
    (container,) = deployment["spec"]["template"]["spec"]["initContainers"]
    return container["args"][-1].removeprefix("--model=")


def _failing_pod(deployment: dict[str, Any], last_words: str) -> client.V1Pod:
    """A pod whose container `fetch` has failed twice."""
    (fetch,) = deployment["spec"]["template"]["spec"]["initContainers"]
    ended = client.V1ContainerStateTerminated(exit_code=2, message=f"some log\nerror: {last_words}\n")
    status = client.V1ContainerStatus(
        name="fetch", image="cpu", image_id="", ready=False, restart_count=1,
        state=client.V1ContainerState(waiting=client.V1ContainerStateWaiting(reason="CrashLoopBackOff")),
        last_state=client.V1ContainerState(terminated=ended),
    )  # fmt: skip
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name="pod", labels=labels),
        spec=client.V1PodSpec(
            containers=[], init_containers=[client.V1Container(name="fetch", image="cpu", args=fetch["args"])]
        ),
        status=client.V1PodStatus(phase="Pending", init_container_statuses=[status]),
    )
