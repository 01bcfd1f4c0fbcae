"""KFP's published v2beta1 REST API, read from the client that was generated from it (`kfp-server-api`)."""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import kfp_server_api


@dataclass
class Operation:
    """One method of the generated client, read from its source."""

    name: str
    verb: str
    path: re.Pattern
    queries: frozenset[str]
    body: str | None
    response: str

    @classmethod
    def of(cls, name: str) -> "Operation":
        """Read the operation from the generated client."""
        apis = [getattr(kfp_server_api.api, api) for api in dir(kfp_server_api.api) if api.endswith("ServiceApi")]
        source = next(inspect.getsource(getattr(api, f"{name}_with_http_info")) for api in apis if hasattr(api, name))
        path, verb = re.search(r"'(/apis/[^']+)', '([A-Z]+)'", source).groups()
        body = re.search(r"body_params = local_var_params\['(\w+)'\]", source)
        return cls(
            name=name,
            verb=verb,
            path=re.compile(re.sub(r"\{([\w.]+)\}", r"(?P<\1>[^/:]+)", path) + "$"),
            queries=frozenset(re.findall(r"query_params\.append\(\('(\w+)'", source)),
            body=body and re.search(rf":type {body[1]}: (\w+)", source)[1],
            response=re.search(r"response_type='(\w+)'", source)[1],
        )


def violations_of(value: Any, kind: str, place: str) -> Iterator[str]:
    """Yield the places where a JSON value does not match a type of the generated models."""
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        for number, item in enumerate(value):
            yield from violations_of(item, inner[1], f"{place}[{number}]")
    elif inner := re.fullmatch(r"dict\(str, (.+)\)", kind):
        for key, item in value.items():
            yield from violations_of(item, inner[1], f"{place}.{key}")
    elif kind in ("str", "datetime", "bool", "int", "object"):
        expected = {"str": str, "datetime": str, "bool": bool, "int": int, "object": object}[kind]
        if not isinstance(value, expected):
            yield f"{place}: {value!r} is not a {kind}"
    else:
        model = getattr(kfp_server_api, kind)
        if hasattr(model, "allowable_values"):
            if value not in model.allowable_values:
                yield f"{place}: {value!r} is not a {kind}"
            return
        types = {model.attribute_map[name]: inner for name, inner in model.openapi_types.items()}
        for key, item in value.items():
            if key not in types:
                yield f"{place}.{key} is not in {kind}"
            else:
                yield from violations_of(item, types[key], f"{place}.{key}")
