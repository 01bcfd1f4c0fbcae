"""Validate an object with the definition of its kind (a CustomResourceDefinition), as strictly as an API server can be.

Unknown fields are errors. Defaults are set, and the definition's rules in CEL are evaluated, by another implementation
than the API server's. Rules about the object before a change are left out.
"""

from pathlib import Path
from typing import Any

import celpy
import jsonschema
import yaml


def problems(item: dict[str, Any], definition: dict[str, Any]) -> list[str]:
    """Return what an API server would say against an object."""
    _, _, version = item["apiVersion"].partition("/")
    (schema,) = (one["schema"]["openAPIV3Schema"] for one in definition["spec"]["versions"] if one["name"] == version)
    validator = jsonschema.Draft202012Validator(strict(schema))
    found = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(item)]
    return found or list(broken_rules(with_defaults(item, schema), schema, "$"))


def definition_of(kind: str, folder: Path) -> dict[str, Any]:
    """Return the definition of a kind from a folder with one file per definition."""
    for file in folder.glob("*.yaml"):
        definition = yaml.load(file.read_text(), yaml.CSafeLoader)
        if definition["spec"]["names"]["kind"] == kind:
            return definition
    raise AssertionError(f"{folder} has no definition of {kind}")


def strict(schema: dict[str, Any], root: bool = True) -> dict[str, Any]:
    """Return the same schema as JSON Schema that allows no unknown field."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    result = {key: value for key, value in schema.items() if not key.startswith("x-") and key != "format"}
    if "properties" in schema:
        inner = {name: strict(field, root=False) for name, field in schema["properties"].items()}
        result["properties"] = inner | ({"metadata": {"type": "object"}} if root else {})
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = strict(schema["additionalProperties"], root=False)
    if "items" in schema:
        result["items"] = strict(schema["items"], root=False)
    return result


def with_defaults(value: Any, schema: dict[str, Any]) -> Any:
    """Return a value with the schema's defaults."""
    if isinstance(value, list):
        return [with_defaults(one, schema.get("items", {})) for one in value]
    if not isinstance(value, dict):
        return value
    result = dict(value)
    for name, field in schema.get("properties", {}).items():
        if name not in result and "default" in field:
            result[name] = field["default"]
        if name in result:
            result[name] = with_defaults(result[name], field)
    return result


def broken_rules(value: Any, schema: dict[str, Any], path: str):
    """Yield the messages of the rules that a value breaks."""
    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], value):
            yield f"{path}: {rule.get('message', rule['rule'])}"
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from broken_rules(one, schema.get("items", {}), f"{path}[{number}]")
    elif isinstance(value, dict):
        for name, field in schema.get("properties", {}).items():
            if name in value:
                yield from broken_rules(value[name], field, f"{path}.{name}")


def _holds(rule: str, value: Any) -> bool:
    environment = celpy.Environment()
    program = environment.program(environment.compile(rule))
    return bool(program.evaluate({"self": celpy.json_to_cel(value)}))
