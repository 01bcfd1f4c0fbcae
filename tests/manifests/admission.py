"""What the API server does with a MutatingAdmissionPolicy, as far as the policies of manifests/ go.

Expressions are evaluated by an implementation of CEL that is not the API server's; patches are merged by the API's own
schema, which says what fields there are, which lists are maps, and what is atomic and so may not be patched.
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
    """The API server would refuse the patch, and the pod with it."""


def admitted(policy: dict[str, Any], pod: dict[str, Any], params: dict[str, Any], version: str) -> dict[str, Any]:
    """Return a new pod as a policy leaves it, unchanged where the policy's conditions do not hold.

    Args:
        policy: A MutatingAdmissionPolicy.
        pod: As it is asked for.
        params: The object that the policy's binding names.
        version: Of Kubernetes, such as 1.36.
    """
    spec = policy["spec"]
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


def _evaluated(expression: str, pod: dict[str, Any], params: dict[str, Any]) -> Any:
    untyped = re.sub(r"\bObject(\.\w+)+(?=\{)", "Object", expression)  # the places are checked as the patch is merged
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
    """JSON Patch (RFC 6902), of which the policies use "add" to a mapping and to the end of a list."""
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
