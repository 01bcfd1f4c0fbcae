"""Apply a MutatingAdmissionPolicy to a pod as the API server does. Only features that manifests/ uses are supported.

We evaluate expressions with celpy, which is not the CEL of the API server. Patches are merged by the API's schema: it
says which fields exist, which lists are maps, and what is atomic and so cannot be patched.
"""

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import celpy
import kubernetes_validate

SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
POD = "io.k8s.api.core.v1.Pod"


class RefusedError(Exception):
    """The API server would refuse the pod."""


def admitted(
    policy: dict[str, Any], pod: dict[str, Any], params: dict[str, Any] | None, version: str
) -> dict[str, Any]:
    """Apply a policy to a new pod and return the result. If the policy does not match the pod, return it unchanged.

    Args:
        policy: A MutatingAdmissionPolicy. Its binding refuses the pod if the parameter object does not exist.
        pod: The pod that somebody creates.
        params: The object that the policy's binding names; None if it does not exist.
        version: Version of Kubernetes, such as 1.36.

    Raises:
        RefusedError: The parameter does not exist, or the patch does not fit the API.
    """
    spec = policy["spec"]
    if not _selected(spec.get("matchConstraints", {}).get("objectSelector", {}), pod):
        return pod
    if "paramKind" in spec and params is None:
        raise RefusedError(f"{policy['metadata']['name']}: no params found")
    if not all(_evaluated(item["expression"], pod, params) for item in spec["matchConditions"]):
        return pod
    for mutation in spec["mutations"]:
        if mutation["patchType"] == "JSONPatch":
            for operation in _evaluated(mutation["jsonPatch"]["expression"], pod, params):
                pod = _patched(pod, operation)
        else:
            pod = _merged(
                pod, _evaluated(mutation["applyConfiguration"]["expression"], pod, params), POD, _schema(version)
            )
    return pod


def _selected(selector: dict[str, Any], pod: dict[str, Any]) -> bool:
    labels = pod["metadata"].get("labels", {})
    for requirement in selector.get("matchExpressions", []):
        assert requirement["operator"] == "Exists"
        if requirement["key"] not in labels:
            return False
    return True


def _evaluated(expression: str, pod: dict[str, Any], params: dict[str, Any] | None) -> Any:
    untyped = re.sub(r"\bObject(\.\w+)+(?=\{)", "Object", expression)  # `_merged` checks the fields
    types = {"Object": celpy.celtypes.MessageType, "JSONPatch": celpy.celtypes.MessageType}
    environment = celpy.Environment(annotations=types)
    context = {"object": celpy.json_to_cel(pod), "params": celpy.json_to_cel(params)}
    value = environment.program(environment.compile(untyped)).evaluate(context)
    return json.loads(json.dumps(value, cls=celpy.adapter.CELJSONEncoder))


def _merged(value: dict[str, Any], patch: dict[str, Any], kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    if schema[kind].get("x-kubernetes-map-type") == "atomic":
        raise RefusedError(f"{kind} is atomic")
    result = dict(value)
    for name, new in patch.items():
        field = schema[kind]["properties"].get(name)
        if field is None:
            raise RefusedError(f"{kind} has no {name}")
        inner = field.get("$ref", field.get("items", {}).get("$ref", "")).rpartition("/")[2]
        if isinstance(new, dict):
            result[name] = _merged(value.get(name, {}), new, inner, schema)
        elif isinstance(new, list):
            if field.get("x-kubernetes-list-type") != "map":
                raise RefusedError(f"{kind}.{name} is atomic")
            (key,) = field["x-kubernetes-list-map-keys"]
            known = {item[key]: item for item in value.get(name, [])}
            known |= {item[key]: _merged(known.get(item[key], {}), item, inner, schema) for item in new}
            result[name] = list(known.values())
        else:
            result[name] = new
    return result


def _patched(pod: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """Apply a JSON Patch (RFC 6902). The policies use only "add", to a mapping or to the end of a list."""
    assert operation["op"] == "add"
    patched = copy.deepcopy(pod)
    *parents, last = operation["path"].removeprefix("/").split("/")
    place: Any = patched
    for name in parents:
        place = place[int(name) if isinstance(place, list) else name]
    if last == "-":
        place.append(operation["value"])
    else:
        assert isinstance(place, dict)
        place[last] = operation["value"]
    return patched


@cache
def _schema(version: str) -> dict[str, Any]:
    return json.loads((SCHEMAS / f"v{version}.0-local" / "_definitions.json").read_text())["$defs"]
