"""Read a Kubernetes cluster and check that it has what a run needs. In Secrets, only the names of keys are used."""

import contextlib
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import urllib3

from components.shared.errors import InputError
from pipelines.config.cluster_config import GpuResources

ANSWER_SECONDS = 10
KFP_NAMESPACE = "kubeflow"  # the namespace of all pods if KFP serves one user
DEFAULT_KUBECONFIG = Path.home() / ".kube" / "config"


class UnseenError(Exception):
    """The error if this machine or account cannot check. The message says why."""


class MissingError(InputError):
    """The error if the cluster does not have an object that a run needs."""


class ClusterView:
    """A namespace of the cluster. It is read with the current kubeconfig context or the pod's service account.

    Every method returns a text about what it found. It raises `MissingError` or `InputError` if there is a problem; the
    message says what to do. It raises `UnseenError` if it cannot check.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def namespace_there(self) -> str:
        """Check that the namespace exists."""
        name = self._namespace
        self._read(
            f"namespace {name}",
            lambda api: api.read_namespace(name, _request_timeout=ANSWER_SECONDS),
            f"kubectl create ns {name}",
        )
        return name

    def service_account(self, name: str) -> str:
        """Check that the pods' service account exists."""
        self._read(
            f"service account {name} in namespace {self._namespace}",
            lambda api: api.read_namespaced_service_account(name, self._namespace, _request_timeout=ANSWER_SECONDS),
            "create it (manifests/), or set cluster.service_account to another account",
        )
        return f"{name} in {self._namespace}"

    def secret(self, name: str, keys: Sequence[str], optional: bool = False) -> str:
        """Check that a Secret exists and has the keys that the pods read.

        Args:
            name: Name of the Secret.
            keys: The keys that the Secret must have.
            optional: True if a run works without the Secret.
        """
        literals = " ".join(f"--from-literal={key}=…" for key in keys)
        create = f"kubectl create secret generic {name} -n {self._namespace} {literals}"
        try:
            found = self._read(
                f"Secret {name} in namespace {self._namespace}",
                lambda api: api.read_namespaced_secret(name, self._namespace, _request_timeout=ANSWER_SECONDS),
                create,
            )
        except MissingError:
            if optional:
                return f"{name} does not exist; a run works without it"
            raise

        missing = [key for key in keys if key not in (found.data or {})]
        if missing:
            raise InputError(
                f"Secret {name} in {self._namespace} does not have {', '.join(missing)}; create it again: {create}"
            )
        return f"{name} has {', '.join(keys)}"

    def claim(self, name: str) -> str:
        """Check that the cache's volume claim exists, and return its phase."""
        found = self._read(
            f"PersistentVolumeClaim {name} in namespace {self._namespace}",
            lambda api: api.read_namespaced_persistent_volume_claim(
                name, self._namespace, _request_timeout=ANSWER_SECONDS
            ),
            "create it, or leave cluster.cache_claim empty",
        )
        return f"{name} is {found.status.phase.lower()}"

    def priority_class(self, name: str) -> str:
        """Check that the GPU steps' priority class exists."""
        from kubernetes.client import SchedulingV1Api

        self._read(
            f"PriorityClass {name}",
            lambda api: SchedulingV1Api(api.api_client).read_priority_class(name, _request_timeout=ANSWER_SECONDS),
            "create it, or leave cluster.priority_class empty",
        )
        return name

    def accelerator(self, need: GpuResources) -> str:
        """Check that at least one node offers as many accelerators as one pod needs."""
        labels = ",".join(f"{key}={value}" for key, value in need.node_selector.items())
        nodes = self._read(
            "nodes",
            lambda api: api.list_node(label_selector=labels, _request_timeout=ANSWER_SECONDS),
            "check that KUBECONFIG names a cluster",
        ).items

        suitable = 0
        offered: set[str] = set()
        for node in nodes:
            allocatable = node.status.allocatable
            suitable += int(allocatable.get(need.accelerator, "0")) >= need.accelerators
            offered.update(name for name in allocatable if "/" in name)

        if not suitable:
            with_labels = f" with {labels}" if labels else ""
            raise InputError(
                f"none of the {len(nodes)} nodes{with_labels} offers {need.accelerators} {need.accelerator} (they "
                f"offer {', '.join(sorted(offered)) or 'no accelerator'}); install the device plugin, or set "
                "accelerator and node_selector in the candidates' resources"
            )
        return f"{suitable} of {len(nodes)} nodes can run a pod with {need.accelerators}"

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
                f"service account ({error})"
            ) from error
        return client.CoreV1Api()

    def _read(self, what: str, read: Callable[[Any], Any], advice: str) -> Any:
        """Read `what` and explain any failure. `advice` says what to do if `what` does not exist."""
        from kubernetes.client import ApiException

        api = self._api
        try:
            return read(api)
        except ApiException as error:
            if error.status == 404:
                raise MissingError(f"there is no {what}; {advice}") from error
            if error.status in (401, 403):
                raise UnseenError(
                    f"the account of this kubeconfig is not allowed to read {what} ({error.status})"
                ) from error
            raise InputError(
                f"could not read {what}: the cluster answers {error.status} {error.reason}; ask its administrator"
            ) from error
        except urllib3.exceptions.HTTPError as error:
            raise InputError(f"the cluster does not answer ({type(error).__name__}); check KUBECONFIG") from error


def refuse_missing_account(namespace: str, name: str) -> None:
    """Raise an error if the service account does not exist. KFP would accept the run, but no pod would start.

    No error is raised if the cluster cannot be read, or if the namespace does not exist. In the second case, the
    cluster is not the cluster of KFP.

    Raises:
        MissingError: The namespace exists, but the service account does not.
    """
    view = ClusterView(namespace)
    try:
        view.namespace_there()
    except Exception:  # if this machine cannot check, for any reason, the run is not refused
        return
    with contextlib.suppress(UnseenError):
        view.service_account(name)
