"""The servers and the route of manifests/components/serving on a cluster: read them, change them and wait for them."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from components.shared.errors import InputError
from pipelines.cluster.kubernetes_view import ANSWER_SECONDS, ClusterView, MissingError, UnseenError, reason_of_waiting
from pipelines.cluster.serving_objects import (
    Rules,
    failures,
    fetches,
    is_rolled_out,
    model_of,
    route_problem,
    with_model,
)

CHAMPION = "crack-champion"
CHALLENGER = "crack-challenger"
ROUTE = "crack-classifier"
ATTEMPTS = 5  # a controller may change an object between our reading and our writing
CONFLICT = 409
POLL_SECONDS = 2.0
ROUTE_SECONDS = 60.0
HOW_TO_INSTALL = "apply an overlay with components/serving, as in manifests/README.md"
HOW_TO_ALLOW = "give the account the Role crack-rollout of components/serving"


@dataclass(frozen=True)
class Kind:
    """A kind of objects, as the paths of Kubernetes' API name it."""

    group: str
    version: str
    plural: str


DEPLOYMENTS = Kind("apps", "v1", "deployments")
ROUTES = Kind("gateway.networking.k8s.io", "v1", "httproutes")


@dataclass(frozen=True)
class Form:
    """A form of the two servers.

    Attributes:
        kind: Kind of the objects that are changed.
        pod: Path of the pods' specification in such an object.
        replicas: Path of the number of pods.
        suffix: What the names of the Deployments and Services have after the name of the server.
        port: Port of the Services.
    """

    kind: Kind
    pod: tuple[str, ...]
    replicas: tuple[str, ...]
    suffix: str
    port: int


PLAIN = Form(DEPLOYMENTS, ("spec", "template", "spec"), ("spec", "replicas"), "", 8080)
KSERVE = Form(
    Kind("serving.kserve.io", "v1beta1", "inferenceservices"),
    ("spec", "predictor"),
    ("spec", "predictor", "minReplicas"),
    "-predictor",
    80,
)


@dataclass(frozen=True)
class State:
    """What a server is told to serve: the URI of the model version, and the number of pods."""

    model: str
    replicas: int


class Serving:
    """The servers and the route in one namespace."""

    def __init__(self, namespace: str) -> None:
        """Find the servers.

        Raises:
            InputError: The servers are not installed, or the cluster cannot be read.
        """
        self.namespace = namespace
        self._view = ClusterView(namespace)
        self.form = self._find_form()

    def _find_form(self) -> Form:
        for form in (PLAIN, KSERVE):
            try:
                self._get(form.kind, CHAMPION)
                self._get(form.kind, CHALLENGER)
            except MissingError:
                continue
            return form
        raise InputError(
            f"namespace {self.namespace} has no servers {CHAMPION} and {CHALLENGER}, neither as Deployments nor as "
            f"InferenceServices; {HOW_TO_INSTALL}, or give another --namespace"
        )

    def require_route(self) -> None:
        """Check that the cluster has the Gateway API, and that a Gateway uses the route.

        Raises:
            InputError: One of these is missing. The message says which.
        """
        from kubernetes.client import CustomObjectsApi

        self._read(
            f"Gateway API ({ROUTES.group}/{ROUTES.version}) in this cluster",
            lambda api: CustomObjectsApi(api.api_client).get_api_resources(
                ROUTES.group, ROUTES.version, _request_timeout=ANSWER_SECONDS
            ),
            "install it with a gateway such as Envoy Gateway, Istio or Cilium, and apply the overlay again",
        )
        problem = route_problem(self._get(ROUTES, ROUTE))
        if problem:
            raise InputError(
                f"requests do not reach the servers through the route {ROUTE}: {problem}; correct parentRefs in "
                "components/serving/route.yaml, and wait for the Gateway"
            )

    def state(self, server: str) -> State:
        """Return what a server is told to serve."""
        item = self._get(self.form.kind, server)
        return State(model_of(_at(item, self.form.pod)), _at(item, self.form.replicas))

    def set_state(self, server: str, state: State, dry_run: bool = False) -> None:
        """Tell a server what to serve. With `dry_run`, the cluster only says whether it would accept the change."""
        form = self.form

        def change(item: dict[str, Any]) -> dict[str, Any]:
            containers = with_model(_at(item, form.pod), state.model)
            return _nested({(*form.pod, "initContainers"): containers, form.replicas: state.replicas})

        self._change(form.kind, server, change, dry_run)

    def wait(self, server: str, state: State, seconds: float) -> None:
        """Wait until all pods of a server are ready and serve the version.

        Raises:
            InputError: A container of a pod fails, or the pods are not ready in time. The message has the reason.
        """
        deadline = time.monotonic() + seconds
        while not is_rolled_out(self._get(DEPLOYMENTS, f"{server}{self.form.suffix}"), state.model, state.replicas):
            pods = [pod for pod in self._pods(server) if fetches(pod, state.model)]
            failed, waiting = set(), set()
            for pod in pods:
                failed.update(failures(pod))
                waiting.add(reason_of_waiting(pod))
            if failed:
                raise InputError(f"{server} cannot serve {state.model}: {'; '.join(sorted(failed))}")
            if time.monotonic() > deadline:
                why = "; ".join(sorted(waiting - {""})) or "its pods do not get ready"
                raise InputError(f"{server} does not serve {state.model} after {seconds:g} seconds: {why}")
            time.sleep(POLL_SECONDS)

    def _pods(self, server: str) -> list[Any]:
        labels = f"app.kubernetes.io/name={server}"
        return self._read(
            f"pods in namespace {self.namespace}",
            lambda api: api.list_namespaced_pod(self.namespace, label_selector=labels, _request_timeout=ANSWER_SECONDS),
            "check that KUBECONFIG names the cluster",
        ).items

    def rules(self) -> Rules:
        """Return the rules of the route."""
        return self._get(ROUTES, ROUTE)["spec"]["rules"]

    def set_rules(self, change: Callable[[Rules], Rules], dry_run: bool = False) -> None:
        """Replace the rules of the route by `change(rules)`. `dry_run` is as for `set_state`."""
        self._change(ROUTES, ROUTE, lambda item: {"spec": {"rules": change(item["spec"]["rules"])}}, dry_run)

    def wait_for_route(self) -> str:
        """Wait until every Gateway uses the last change of the route. Return why not, or ""."""
        deadline = time.monotonic() + ROUTE_SECONDS
        while True:
            problem = route_problem(self._get(ROUTES, ROUTE))
            if not problem or time.monotonic() > deadline:
                return problem
            time.sleep(POLL_SECONDS)

    def _change(self, kind: Kind, name: str, change: Callable[[dict], dict], dry_run: bool) -> None:
        """Apply the JSON merge patch (RFC 7386) `change(object)` to an object, if nobody has changed it since.

        Raises:
            InputError: The cluster refuses the change, or other programs change the object again and again.
        """
        options = {"dry_run": "All"} if dry_run else {}
        for _ in range(ATTEMPTS):
            item = self._get(kind, name)
            body = change(item)
            body["metadata"] = {"resourceVersion": item["metadata"]["resourceVersion"]}
            place = (kind.group, kind.version, self.namespace, kind.plural, name, body)
            if self._read(name, partial(_patched, place=place, options=options), HOW_TO_INSTALL):
                return
        raise InputError(f"{name} in namespace {self.namespace} is changed by another program; try again later")

    def _get(self, kind: Kind, name: str) -> dict[str, Any]:
        from kubernetes.client import CustomObjectsApi

        place = (kind.group, kind.version, self.namespace, kind.plural, name)
        return self._read(
            f"{name} among the {kind.plural} of namespace {self.namespace}",
            lambda api: CustomObjectsApi(api.api_client).get_namespaced_custom_object(
                *place, _request_timeout=ANSWER_SECONDS
            ),
            HOW_TO_INSTALL,
        )

    def _read(self, what: str, request: Callable[[Any], Any], advice: str) -> Any:
        try:
            return self._view.read(what, request, advice)
        except UnseenError as error:
            raise InputError(f"{error}; {HOW_TO_ALLOW}") from error


def _patched(api: Any, place: tuple, options: dict[str, str]) -> bool:
    """Send a merge patch. Return False if somebody else has changed the object in the meantime."""
    from kubernetes.client import ApiException, CustomObjectsApi

    try:
        CustomObjectsApi(api.api_client).patch_namespaced_custom_object(
            *place, _request_timeout=ANSWER_SECONDS, **options
        )
    except ApiException as error:
        if error.status == CONFLICT:
            return False
        _, _, namespace, plural, name, _ = place
        advice = HOW_TO_ALLOW if error.status in (401, 403) else "correct what the message names"
        raise InputError(
            f"the cluster does not let this account change {name} among the {plural} of namespace {namespace} "
            f"({error.status}): {_message(error.body)}; {advice}"
        ) from error
    return True


def _message(body: str | bytes | None) -> str:
    """Return the message in an answer of Kubernetes' API."""
    try:
        return json.loads(body or "")["message"]
    except (ValueError, KeyError, TypeError):
        return str(body)


def _at(item: dict[str, Any], path: tuple[str, ...]) -> Any:
    for key in path:
        item = item[key]
    return item


def _nested(values: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    """Return a nested dict with each value at its path."""
    result: dict[str, Any] = {}
    for path, value in values.items():
        place = result
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
    return result
