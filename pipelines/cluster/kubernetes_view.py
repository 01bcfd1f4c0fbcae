"""Read a Kubernetes cluster and check that it has what a run needs. The values of Secrets are never shown."""

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import urllib3

from components.shared.errors import InputError
from pipelines.config.cluster_config import GpuResources, Resources

ANSWER_SECONDS = 10
KFP_NAMESPACE = "kubeflow"  # the namespace of all pods if KFP serves one user
KFP_SETTINGS = "kfp-launcher"  # the ConfigMap that names the object store for KFP's launcher
RUN_LABEL = "pipeline/runid"  # KFP puts this label on every pod of a run
NODE_ANNOTATION = "workflows.argoproj.io/node-name"
# With one of these reasons, a container waits although nothing is wrong.
STARTING_REASONS = frozenset({"ContainerCreating", "PodInitializing"})
DEFAULT_KUBECONFIG = Path.home() / ".kube" / "config"


class UnseenError(Exception):
    """This machine or this account cannot do a check. The message says why."""


class WarnedError(Exception):
    """A run works, but something should be changed. The message says what."""


class MissingError(InputError):
    """The cluster does not have an object that a run needs."""


@dataclass(frozen=True)
class WaitingPod:
    """A pod that cannot start.

    Attributes:
        name: Name of the pod.
        node: Name of the workflow node that Argo runs in the pod, such as crack-training-x.root.train.executor.
        reason: The reason why the pod does not start, in Kubernetes' words.
    """

    name: str
    node: str
    reason: str


class ClusterView:
    """A view of one namespace of the cluster. It uses the current kubeconfig context or the pod's service account.

    Every check returns a text about what it found. If there is a problem, the check raises `MissingError` or
    `InputError`, and the message says what to do. If the check cannot be done, it raises `UnseenError`.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    @property
    def address(self) -> str:
        """Return the address of the cluster's API."""
        return self._api.api_client.configuration.host

    def namespace_there(self) -> str:
        """Check that the namespace exists."""
        self.namespace_labels()
        return self.namespace

    def namespace_labels(self) -> dict[str, str]:
        """Return the labels of the namespace."""
        name = self.namespace
        found = self.read(
            f"namespace {name}",
            lambda api: api.read_namespace(name, _request_timeout=ANSWER_SECONDS),
            f"create it with `kubectl create ns {name}`",
        )
        return found.metadata.labels or {}

    def set_up_by_kfp(self) -> str:
        """Check that KFP has put its own settings into the namespace."""
        self.read(
            f"ConfigMap {KFP_SETTINGS} in namespace {self.namespace}",
            lambda api: api.read_namespaced_config_map(KFP_SETTINGS, self.namespace, _request_timeout=ANSWER_SECONDS),
            "apply manifests/, which give the namespace the label pipelines.kubeflow.org/enabled=true. KFP's profile "
            "controller makes the ConfigMap in every namespace with this label",
        )
        return f"{KFP_SETTINGS} in {self.namespace}"

    def service_account(self, name: str) -> str:
        """Check that the pods' service account exists."""
        self.read(
            f"service account {name} in namespace {self.namespace}",
            lambda api: api.read_namespaced_service_account(name, self.namespace, _request_timeout=ANSWER_SECONDS),
            "apply manifests/, which create it, or set cluster.service_account to another account",
        )
        return f"{name} in {self.namespace}"

    def secret(self, name: str, keys: Sequence[str], optional: bool = False) -> str:
        """Check that a Secret exists and has the keys that the pods read.

        Args:
            name: Name of the Secret.
            keys: The keys that the Secret must have.
            optional: True if a run works without the Secret.
        """
        literals = " ".join(f"--from-literal={key}=…" for key in keys)
        create = f"kubectl create secret generic {name} -n {self.namespace} {literals}"
        try:
            found = self.read(
                f"Secret {name} in namespace {self.namespace}",
                lambda api: api.read_namespaced_secret(name, self.namespace, _request_timeout=ANSWER_SECONDS),
                f"create it with `{create}`",
            )
        except MissingError:
            if optional:
                return f"{name} does not exist; a run works without it"
            raise

        contents = found.data or {}
        missing = [key for key in keys if not contents.get(key)]
        if missing:
            raise InputError(
                f"Secret {name} in {self.namespace} has no value for {', '.join(missing)}; create the Secret "
                f"again with `{create}`"
            )
        return f"{name} has {', '.join(keys)}"

    def claim(self, name: str) -> str:
        """Check that the cache's volume claim exists, and return its phase."""
        found = self.read(
            f"PersistentVolumeClaim {name} in namespace {self.namespace}",
            lambda api: api.read_namespaced_persistent_volume_claim(
                name, self.namespace, _request_timeout=ANSWER_SECONDS
            ),
            "create it, or leave cluster.cache_claim empty",
        )
        return f"{name} is {found.status.phase.lower()}"

    def priority_class(self, name: str) -> str:
        """Check that the priority class of the GPU steps exists."""
        from kubernetes.client import SchedulingV1Api

        self.read(
            f"PriorityClass {name}",
            lambda api: SchedulingV1Api(api.api_client).read_priority_class(name, _request_timeout=ANSWER_SECONDS),
            "create it, or leave cluster.priority_class empty",
        )
        return name

    def accelerator(self, need: GpuResources) -> str:
        """Check that at least one node offers as many accelerators as one pod needs."""
        labels = ",".join(f"{key}={value}" for key, value in need.node_selector.items())
        nodes = self.nodes(labels)

        suitable = 0
        offered: set[str] = set()
        for node in nodes:
            allocatable = node.status.allocatable
            suitable += int(allocatable.get(need.accelerator, "0")) >= need.accelerators
            offered.update(name for name in allocatable if "/" in name)

        if not suitable:
            with_labels = f" with {labels}" if labels else ""
            raise InputError(
                f"none of the {len(nodes)} nodes{with_labels} offers {need.accelerators} {need.accelerator} (the nodes "
                f"offer {', '.join(sorted(offered)) or 'no accelerator'}); install the device plugin, or set "
                "accelerator and node_selector in the candidates' resources"
            )
        return f"{suitable} of {len(nodes)} nodes can run a pod with {need.accelerators}"

    def room_for_steps(self, needs: Mapping[str, Resources]) -> str:
        """Check for every step that at least one node is large enough for the step's pod.

        Other pods that run on a node are ignored.

        Args:
            needs: Name of each step -> resources that its pod requests.
        """
        nodes = self.nodes()
        too_large = []
        for step, need in needs.items():
            if not any(_fits(node, need) for node in nodes):
                too_large.append(f"{step} ({_described(need)})")

        if too_large:
            offers = "; ".join(sorted({_offered(node) for node in nodes})) or "there are none"
            raise InputError(
                f"no node is large enough for {', '.join(too_large)}. The nodes offer: {offers}. Lower the resources "
                "of these steps in the parameter file, or add a larger node"
            )
        return f"every step fits on at least one of {len(nodes)} nodes"

    def waiting_pods(self, run_id: str) -> list[WaitingPod]:
        """Return the waiting pods of a run: the pods that cannot start, each with the reason that Kubernetes gives.

        Args:
            run_id: Id of the run in KFP. KFP writes it into a label of the run's pods.
        """
        pods = self.read(
            f"pods in namespace {self.namespace}",
            lambda api: api.list_namespaced_pod(
                self.namespace, label_selector=f"{RUN_LABEL}={run_id}", _request_timeout=ANSWER_SECONDS
            ),
            "check that KUBECONFIG names the cluster of KFP",
        ).items

        found = []
        for pod in pods:
            reason = reason_of_waiting(pod)
            if reason:
                node = (pod.metadata.annotations or {}).get(NODE_ANNOTATION, "")
                found.append(WaitingPod(pod.metadata.name, node, reason))
        return found

    def nodes(self, labels: str = "") -> list[Any]:
        """Return the nodes that have all these labels, such as "zone=a,disk=ssd". Without labels, return all nodes."""
        return self.read(
            "nodes",
            lambda api: api.list_node(label_selector=labels, _request_timeout=ANSWER_SECONDS),
            "check that KUBECONFIG names a cluster",
        ).items

    @cached_property
    def _api(self) -> Any:
        from kubernetes import client, config

        named = os.environ.get("KUBECONFIG")
        try:
            if named or DEFAULT_KUBECONFIG.exists():
                return client.CoreV1Api(config.new_client_from_config(named))
            config.load_incluster_config()
        except config.ConfigException as error:
            raise UnseenError(
                f"the cluster cannot be reached, neither with KUBECONFIG ({named or 'not set'}) nor with a pod's "
                f"service account ({error}); set KUBECONFIG"
            ) from error
        return client.CoreV1Api()

    def read(self, what: str, read: Callable[[Any], Any], advice: str) -> Any:
        """Read an object of the cluster, and explain any failure.

        Args:
            what: Description of the object for messages, such as "PriorityClass gpu".
            read: Function that reads the object with the given API.
            advice: What the user should do if the object does not exist.
        """
        from kubernetes.client import ApiException

        api = self._api
        try:
            return read(api)
        except ApiException as error:
            if error.status == 404:
                raise MissingError(f"there is no {what}; {advice}") from error
            if error.status in (401, 403):
                raise UnseenError(
                    f"the account of this kubeconfig is not allowed to read {what} ({error.status}); ask the "
                    "administrator of the cluster for the permission"
                ) from error
            raise InputError(
                f"could not read {what}: the cluster answers {error.status} {error.reason}; ask its administrator"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise InputError(f"the cluster does not answer ({type(error).__name__}); check KUBECONFIG") from error


def _requests(need: Resources) -> dict[str, str]:
    """Return a dict: name of a resource in Kubernetes -> the amount that a pod requests."""
    requests = {"cpu": need.cpu, "memory": need.memory, "ephemeral-storage": need.storage}
    if isinstance(need, GpuResources) and need.accelerators:
        requests[need.accelerator] = str(need.accelerators)
    return requests


def _fits(node: Any, need: Resources) -> bool:
    """Return whether a node has the labels that a pod selects, and enough resources for the pod.

    If the node does not report an accelerator, we assume that the node has none. CPU, memory and storage are compared
    only if the node reports them.
    """
    from kubernetes.utils import parse_quantity

    selector = need.node_selector if isinstance(need, GpuResources) else {}
    labels = node.metadata.labels or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return False

    allocatable = node.status.allocatable
    for resource, wanted in _requests(need).items():
        offered = allocatable.get(resource, "0" if "/" in resource else None)
        if offered is not None and parse_quantity(wanted) > parse_quantity(offered):
            return False
    return True


def _described(need: Resources) -> str:
    return ", ".join(f"{name} {quantity}" for name, quantity in _requests(need).items())


def _offered(node: Any) -> str:
    known = {}
    for name, quantity in node.status.allocatable.items():
        if name in ("cpu", "memory") or "/" in name:
            known[name] = quantity
    return ", ".join(f"{name} {quantity}" for name, quantity in sorted(known.items()))


def reason_of_waiting(pod: Any) -> str:
    """Return the reason why a pod does not start. Return "" if it runs, has ended or is starting."""
    if pod.status.phase != "Pending":
        return ""
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{condition.reason}: {condition.message}"

    statuses = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
    for status in statuses:
        waiting = status.state and status.state.waiting
        if waiting and waiting.reason not in STARTING_REASONS:
            return f"{waiting.reason}: {waiting.message or status.image}"
    return ""


def refuse_missing_account(namespace: str, name: str) -> None:
    """Raise an error if the service account does not exist. KFP would accept the run, but no pod would start.

    No error is raised if the cluster cannot be read, or if the namespace does not exist. A missing namespace means that
    KUBECONFIG does not name the cluster of KFP.

    Raises:
        MissingError: The namespace exists, but the service account does not.
    """
    view = ClusterView(namespace)
    try:
        view.namespace_there()
    except Exception:  # if this machine cannot check, the run is not refused
        return
    with contextlib.suppress(UnseenError):
        view.service_account(name)
