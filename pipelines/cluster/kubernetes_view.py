"""What is seen of the Kubernetes cluster from here; it is only read, and of Secrets only the names of their keys."""

import contextlib
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import urllib3

from components.shared.errors import InputError
from pipelines.config.cluster_config import GpuResources

SECONDS = 10  # for one answer
KFP_NAMESPACE = "kubeflow"  # where KFP runs every pod if it serves one user
DEFAULT_KUBECONFIG = Path.home() / ".kube" / "config"


class UnseenError(Exception):
    """It cannot be seen from here whether all is well; the message says why."""


class MissingError(InputError):
    """The cluster does not have it."""


class ClusterView:
    """A namespace of the cluster, as the current kubeconfig context or the pod's service account sees it."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def namespace_there(self) -> str:
        """See that the namespace exists."""
        name = self._namespace
        self._read(
            f"namespace {name}",
            lambda api: api.read_namespace(name, _request_timeout=SECONDS),
            f"kubectl create ns {name}",
        )
        return name

    def service_account(self, name: str) -> str:
        """See that the pods' service account exists."""
        self._read(
            f"service account {name} in namespace {self._namespace}",
            lambda api: api.read_namespaced_service_account(name, self._namespace, _request_timeout=SECONDS),
            "make it (manifests/), or name another in cluster.service_account",
        )
        return f"{name} in {self._namespace}"

    def secret(self, name: str, keys: Sequence[str], optional: bool = False) -> str:
        """See that a Secret exists and has the keys that the pods want.

        Args:
            name: The Secret.
            keys: What it must have.
            optional: Whether a run goes without it.
        """
        literals = " ".join(f"--from-literal={key}=…" for key in keys)
        create = f"kubectl create secret generic {name} -n {self._namespace} {literals}"
        try:
            found = self._read(
                f"Secret {name} in namespace {self._namespace}",
                lambda api: api.read_namespaced_secret(name, self._namespace, _request_timeout=SECONDS),
                create,
            )
        except MissingError:
            if optional:
                return f"{name} is not there; a run goes without it"
            raise
        missing = [key for key in keys if key not in (found.data or {})]
        if missing:
            raise InputError(f"Secret {name} in {self._namespace} lacks {', '.join(missing)}; {create}")
        return f"{name} has {', '.join(keys)}"

    def claim(self, name: str) -> str:
        """See that the cache's volume claim exists and is bound."""
        found = self._read(
            f"PersistentVolumeClaim {name} in namespace {self._namespace}",
            lambda api: api.read_namespaced_persistent_volume_claim(name, self._namespace, _request_timeout=SECONDS),
            "create it, or leave cluster.cache_claim empty",
        )
        return f"{name} is {found.status.phase.lower()}"

    def priority_class(self, name: str) -> str:
        """See that the GPU steps' priority class exists."""
        from kubernetes.client import SchedulingV1Api

        self._read(
            f"PriorityClass {name}",
            lambda api: SchedulingV1Api(api.api_client).read_priority_class(name, _request_timeout=SECONDS),
            "create it, or leave cluster.priority_class empty",
        )
        return name

    def accelerator(self, need: GpuResources) -> str:
        """See that a node offers as many accelerators as one pod needs."""
        labels = ",".join(f"{key}={value}" for key, value in need.node_selector.items())
        nodes = self._read(
            "nodes", lambda api: api.list_node(label_selector=labels, _request_timeout=SECONDS), "is this a cluster?"
        ).items
        offers = [
            node for node in nodes if int(node.status.allocatable.get(need.accelerator, "0")) >= need.accelerators
        ]
        if not offers:
            others = sorted({name for node in nodes for name in node.status.allocatable if "/" in name})
            raise InputError(
                f"none of {len(nodes)} nodes{f' with {labels}' if labels else ''} offers {need.accelerators} "
                f"{need.accelerator} (they offer {', '.join(others) or 'no accelerator'}); install the device plugin, "
                "or set accelerator and node_selector in the candidates' resources"
            )
        return f"{len(offers)} of {len(nodes)} nodes can run a pod with {need.accelerators}"

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
                f"no access to the cluster: neither KUBECONFIG ({named or 'not set'}) nor a pod's service account "
                f"({error})"
            ) from error
        return client.CoreV1Api()

    def _read(self, what: str, read: Callable[[Any], Any], mend: str) -> Any:
        from kubernetes.client import ApiException

        api = self._api
        try:
            return read(api)
        except ApiException as error:
            if error.status == 404:
                raise MissingError(f"there is no {what}; {mend}") from error
            if error.status in (401, 403):
                raise UnseenError(f"the account of this kubeconfig may not read {what} ({error.status})") from error
            raise InputError(f"{what}: the cluster answers {error.status} {error.reason}") from error
        except urllib3.exceptions.HTTPError as error:
            raise InputError(f"the cluster does not answer ({type(error).__name__}); check KUBECONFIG") from error


def refuse_missing_account(namespace: str, name: str) -> None:
    """Refuse a service account that the namespace lacks: KFP would take the run, and none of its pods would start.

    Where the cluster cannot be asked, or has no such namespace and so is not KFP's, nothing is said.

    Raises:
        MissingError: The namespace is there, the account is not.
    """
    view = ClusterView(namespace)
    try:
        view.namespace_there()
    except Exception:  # whatever keeps this machine from looking is no reason to refuse
        return
    with contextlib.suppress(UnseenError):
        view.service_account(name)
