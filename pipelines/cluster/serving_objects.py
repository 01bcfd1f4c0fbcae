"""What rollout reads in Kubernetes' objects, and the changes that it makes. All objects are as in JSON, except pods."""

from typing import Any

from components.shared.errors import InputError

FETCH = "fetch"  # the container that fetches the model version
MODEL_OPTION = "--model="
FAILURES = 2  # a container that failed so often will not start; a single failure can be one of the network
MIRROR = "RequestMirror"
Rules = list[dict[str, Any]]


def model_of(pod: dict[str, Any]) -> str:
    """Return the URI of the model version that a pod serves, from the arguments of its first container.

    Raises:
        InputError: The pod does not fetch a model as in components/serving.
    """
    for container in pod.get("initContainers", []):
        for argument in container.get("args", []):
            if container["name"] == FETCH and argument.startswith(MODEL_OPTION):
                return argument.removeprefix(MODEL_OPTION)
    raise InputError(
        f"the pods of the server have no container {FETCH} with the option {MODEL_OPTION}…, so rollout cannot choose "
        "their version; apply components/serving again"
    )


def with_model(pod: dict[str, Any], model: str) -> list[dict[str, Any]]:
    """Return the first containers of a pod, with another model version to fetch."""
    option = f"{MODEL_OPTION}{model_of(pod)}"
    containers = []
    for container in pod["initContainers"]:
        arguments = container.get("args", [])
        if container["name"] == FETCH:
            place = arguments.index(option)
            arguments = [*arguments[:place], f"{MODEL_OPTION}{model}", *arguments[place + 1 :]]
        containers.append({**container, "args": arguments})
    return containers


def is_rolled_out(deployment: dict[str, Any], model: str, replicas: int) -> bool:
    """Return whether all pods of a Deployment are ready and serve a model version, and no other pods are left."""
    if model_of(deployment["spec"]["template"]["spec"]) != model:
        return False  # KServe has not changed its Deployment yet
    status = deployment.get("status", {})
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return False

    counts = {status.get(count, 0) for count in ("replicas", "updatedReplicas", "availableReplicas")}
    return counts == {replicas}


def fetches(pod: Any, model: str) -> bool:
    """Return whether a pod (V1Pod) serves a model version."""
    arguments: list[str] = []
    for container in pod.spec.init_containers or []:
        arguments += container.args or []
    return f"{MODEL_OPTION}{model}" in arguments


def failures(pod: Any) -> list[str]:
    """Return the last words of the containers of a pod (V1Pod) that failed several times."""
    found = []
    for status in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        ended = status.last_state and status.last_state.terminated
        if ended and ended.exit_code and status.restart_count >= FAILURES - 1:
            lines = (ended.message or "").strip().splitlines()
            words = lines[-1] if lines else f"exit status {ended.exit_code}"
            found.append(f"its container {status.name} fails: {words}")
    return found


def route_problem(route: dict[str, Any]) -> str:
    """Return why no Gateway uses the route in its present form. Return "" if every Gateway uses it."""
    parents = route.get("status", {}).get("parents", [])
    if not parents:
        return "no Gateway knows it"
    for parent in parents:
        for condition in parent.get("conditions", []):
            if condition.get("observedGeneration", 0) < route["metadata"]["generation"]:
                return f"the Gateway {parent['parentRef']['name']} has not read its last change"
            if condition["type"] in ("Accepted", "ResolvedRefs") and condition["status"] != "True":
                return f"the Gateway {parent['parentRef']['name']} says {condition['reason']}: {condition['message']}"
    return ""


def with_traffic(rules: Rules, champion: str, challenger: str, port: int, weight: int, mirror: bool) -> Rules:
    """Return the rules of a route with another share of requests for the challenger.

    Only the rules that name the champion are changed.

    Args:
        rules: Rules of an HTTPRoute.
        champion: Name of the champion's Service.
        challenger: Name of the challenger's Service.
        port: Port of both.
        weight: Percentage of the requests that the challenger answers, 0 to 99.
        mirror: Whether the challenger gets a copy of each request. Nobody sees its answers.

    Raises:
        InputError: No rule names the champion, or such a rule names a third Service.
    """
    changed = []
    found = False
    for rule in rules:
        names = {backend["name"] for backend in rule.get("backendRefs", [])}
        if champion not in names:
            changed.append(rule)
            continue
        found = True
        others = names - {champion, challenger}
        if others:
            raise InputError(
                f"a rule of the route sends requests to {', '.join(sorted(others))}, too, so rollout does not know "
                "how to share them; give that Service a rule of its own"
            )
        changed.append(_with_traffic(rule, champion, challenger, port, weight, mirror))

    if not found:
        raise InputError(f"no rule of the route sends requests to {champion}; apply components/serving again")
    return changed


def _with_traffic(rule: dict, champion: str, challenger: str, port: int, weight: int, mirror: bool) -> dict:
    backends = [{"name": champion, "port": port, "weight": 100 - weight}]
    if weight:
        backends.append({"name": challenger, "port": port, "weight": weight})

    filters = []
    for one in rule.get("filters", []):
        if one["type"] != MIRROR or one["requestMirror"]["backendRef"]["name"] != challenger:
            filters.append(one)
    if mirror:
        filters.append({"type": MIRROR, "requestMirror": {"backendRef": {"name": challenger, "port": port}}})

    result = {**rule, "backendRefs": backends}
    result.pop("filters", None)
    return {**result, "filters": filters} if filters else result
