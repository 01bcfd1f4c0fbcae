"""Parameter files: reading, overriding, checking, and explaining what is wrong with them."""

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from components.shared.config import Config, StepConfig
from components.shared.errors import InputError
from components.train.config import TrainConfig
from pipelines.config.run_config import RunConfig


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars (5e-5 is a number, `on` and `no` are words), and no key twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own way to be configured)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # "<<", whose keys may be given again
                continue
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise InputError(f'line {key_node.start_mark.line + 1}: key "{key}" stands twice; keep one')
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parameter_schema() -> dict[str, Any]:
    """Return the JSON schema of a parameter file."""
    schema = RunConfig.model_json_schema()
    for kind in StepConfig.__subclasses__():
        properties = schema["$defs"].get(kind.__name__, {}).get("properties", {})
        for name in kind.GIVEN_BY_RUN:
            properties.pop(name, None)
    for section in schema["properties"].values():
        if isinstance(section.get("default"), dict):  # the same again, of all its parts
            del section["default"]
    return schema


def load_run_config(path: str | Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a parameter file.

    Args:
        path: YAML file.
        overrides: Each `dotted.key=value`, the value read as YAML.

    Raises:
        InputError: The file is missing or not YAML, a key is unknown, a value has the wrong type or range. The message
            names the file, the key, the value and what is allowed.
    """
    values = _read(Path(path))
    for override in overrides or []:
        _override(values, override)
    _refuse_given_keys(values, path)
    return _validated(values, path)


def check_arguments(config: RunConfig, arguments: Mapping[str, Any]) -> None:
    """See that a parameter file could hold these run-time parameters.

    Raises:
        InputError: One has the wrong type or range.
    """
    _validated({**config.model_dump(mode="json"), **arguments}, "run-time parameters")


def _validated(values: dict[str, Any], path: str | Path) -> RunConfig:
    try:
        # JSON, because strict validation of Python values would refuse YAML's lists for tuples
        return RunConfig.model_validate_json(json.dumps(values))
    except ValidationError as error:
        details: list[dict[str, Any]] = [dict(detail) for detail in error.errors()]
        places = [detail["loc"] for detail in details]
        causes = [  # a list that is "too short" because its item is wrong is not worth a line
            detail
            for detail in details
            if not any(place != detail["loc"] and place[: len(detail["loc"])] == detail["loc"] for place in places)
        ]
        raise InputError("\n".join(_explain(detail, path) for detail in causes)) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.name for file in (Path(__file__).parents[1] / "params").glob("*.yaml")))
        raise InputError(f"parameter file {path} does not exist; pipelines/params holds {known}") from error
    except (yaml.YAMLError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of parameters, got {type(values).__name__}")
    return values


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f'--set "{override}": expected key=value, such as candidates.cnn.train.steps=100')
    *parents, last = key.strip().split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise InputError(f'--set "{override}": "{parent}" holds a value, not a section')
    try:
        values[last] = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        values[last] = text  # a regular expression, say, that YAML would read as something else


def _refuse_given_keys(values: dict[str, Any], path: str | Path) -> None:
    """Refuse what `step_json` fills in."""
    kinds = {name: field.annotation for name, field in RunConfig.model_fields.items()}
    sections = [(name, values[name], kinds.get(name)) for name in values]
    candidates = values.get("candidates")
    for name, candidate in candidates.items() if isinstance(candidates, dict) else ():
        if isinstance(candidate, dict):
            sections.append((f"candidates.{name}.train", candidate.get("train"), TrainConfig))
    for name, section, kind in sections:
        if isinstance(section, dict) and isinstance(kind, type) and issubclass(kind, StepConfig):
            for key in sorted(kind.GIVEN_BY_RUN & set(section)):
                way_out = f'set "{key}" at the top' if key in kinds else "leave it out"
                raise InputError(f"{path}: {name}.{key} belongs to the run, not to a step; {way_out}")


def _explain(detail: dict[str, Any], path: str | Path) -> str:
    place = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(detail["loc"][-1]), _known_keys(detail["loc"][:-1]), n=1)
        hint = f'; did you mean "{near[0]}"?' if near else f"; known here: {', '.join(_known_keys(detail['loc'][:-1]))}"
        return f'{path}: unknown key "{place}"{hint}'
    if detail["type"] == "missing":
        return f'{path}: "{place}" is missing'
    if detail["type"] == "value_error":  # a validator of ours, whose message names the value, unless it is a secret
        return f"{path}: {place}: {detail['ctx']['error']}"
    return f"{path}: {place}: {detail['msg']} (got {detail['input']!r})"


def _known_keys(place: tuple) -> list[str]:
    """Keys of the section at a place of the parameter file, without those that `step_json` fills in."""
    section: Any = RunConfig
    for part in place:
        inner = [kind for kind in get_args(section) if isinstance(kind, type) and issubclass(kind, Config)]
        field = getattr(section, "model_fields", {}).get(part)
        section = inner[-1] if inner else field and field.annotation
    optional = [kind for kind in get_args(section) if isinstance(kind, type) and issubclass(kind, Config)]
    section = optional[-1] if optional else section
    return sorted(set(getattr(section, "model_fields", {})) - getattr(section, "GIVEN_BY_RUN", set()))
