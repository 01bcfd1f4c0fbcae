"""Read parameter files, override parameters, check them, and explain what is wrong."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from components.shared.config import Config, StepConfig
from components.shared.errors import InputError
from components.shared.regular_file import reason, require_file
from components.train.config import TrainConfig
from pipelines.config.run_config import RunConfig
from pipelines.config.yaml_reader import MAX_CHARACTERS, SyntaxInputError, find_source, read_yaml

SHIPPED_FILES = Path(__file__).parents[1] / "params"
LONGEST_QUOTE = 60

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Setting:
    """A parameter that the command line sets.

    Attributes:
        key: Place of the parameter in the file, such as ("candidates", "cnn", "train", "steps").
        value: Value of the parameter.
        written: The option that the user wrote, such as `--set "seed=2"`. Empty if the command itself chose the value.
        reserved: End of an error message: why `--set` must not set this parameter, and what to do instead. Empty if
            `--set` may set the parameter.
    """

    key: tuple[str, ...]
    value: Any
    written: str
    reserved: str = ""


@dataclass(frozen=True)
class _Origin:
    """The origin of the values that are checked: a file, options of the command line, or both.

    Attributes:
        name: Name of the file; "run-time parameters" if there is no file. Messages begin with this name, unless an
            option set the value.
        text: Text of the file; empty if there is no file.
        settings: Parameters that options of the command line set. They override the file. If several of them
            set the same parameter, the last one counts.
    """

    name: str
    text: str = ""
    settings: Sequence[Setting] = ()

    def of(self, place: Place) -> str:
        """Return the origin of the value at `place`: the file and the line, or an option of the command line."""
        for setting in reversed(self.settings):
            if setting.key == place[: len(setting.key)]:
                return setting.written
        for setting in reversed(self.settings):
            if place == setting.key[: len(place)]:
                return f"{self.name} with {setting.written}"

        source = find_source(self.text, place) if self.text and place else None
        return f"{self.name}: line {source.line}" if source else self.name

    def quote(self, place: Place, value: Any) -> str:
        """Return "; got VALUE" with the value as the user wrote it, or "" if the message already shows the value."""
        if any(setting.key == place[: len(setting.key)] for setting in self.settings):
            return ""

        written = json.dumps(value, default=str)
        source = find_source(self.text, place) if self.text else None
        if source is not None:
            written = source.text or "nothing"
        if "\n" in written or len(written) > LONGEST_QUOTE:
            written = f"a {type(value).__name__}"
        return f"; got {written}"


def parameter_schema() -> dict[str, Any]:
    """Return the JSON schema of a parameter file."""
    schema = RunConfig.model_json_schema()

    for kind in StepConfig.__subclasses__():
        properties = schema["$defs"].get(kind.__name__, {}).get("properties", {})
        for name in kind.GIVEN_BY_RUN:
            properties.pop(name, None)

    # The schema of a section also has a default, which only repeats the defaults of its fields. We remove it.
    for section in schema["properties"].values():
        if isinstance(section.get("default"), dict):
            del section["default"]
    return schema


def load_run_config(path: str | Path, overrides: Sequence[str] = (), options: Sequence[Setting] = ()) -> RunConfig:
    """Read and check a parameter file.

    Args:
        path: YAML file.
        overrides: Arguments of `--set`, each `dotted.key=value`. The value is read as YAML. If it is not valid YAML, it
            is taken as text.
        options: Parameters that other options of the command set. They override the file.

    Raises:
        InputError: The file is missing or not YAML, a key is unknown, a value has the wrong type or range, or `--set`
            sets a reserved parameter. The message names the file or option, the key, the value and what is allowed.
    """
    text = _read_file(Path(path))
    try:
        values = read_yaml(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected a mapping of parameters, such as `seed: 1`; got {_yaml_type(values)}")

    settings = _read_overrides(overrides)
    _refuse_reserved(settings, options)
    settings += options
    for setting in settings:
        _apply(values, setting)

    origin = _Origin(str(path), text, [setting for setting in settings if setting.written])
    _refuse_given_keys(values, origin)
    return _validated(values, origin)


def check_arguments(config: RunConfig, arguments: Mapping[str, Any]) -> None:
    """Check run-time parameters as if they were in the parameter file.

    Raises:
        InputError: A parameter has the wrong type or range.
    """
    _validated({**config.model_dump(mode="json"), **arguments}, _Origin("run-time parameters"))


def _validated(values: dict[str, Any], origin: _Origin) -> RunConfig:
    try:
        # We validate JSON, because strict validation of Python values would refuse a YAML list for a tuple.
        return RunConfig.model_validate_json(json.dumps(values))
    except ValidationError as error:
        details: list[dict[str, Any]] = [dict(detail) for detail in error.errors()]
        causes = []
        for detail in details:
            # If an item of a list is wrong, Pydantic also reports the list as too short. We show only the item.
            inner = [other for other in details if _is_inside(other["loc"], detail["loc"])]
            if not inner:
                causes.append(_explain(detail, origin))
        raise InputError("\n".join(causes)) from error


def _is_inside(place: Place, section: Place) -> bool:
    return len(place) > len(section) and place[: len(section)] == section


def _read_file(path: Path) -> str:
    try:
        require_file(path)
        with open(path, encoding="utf-8") as file:
            return file.read(MAX_CHARACTERS + 1)
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.name for file in SHIPPED_FILES.glob("*.yaml")))
        raise InputError(f"parameter file {path} does not exist; pipelines/params has {known}") from error
    except IsADirectoryError as error:
        raise InputError(f"parameter file {path} is a folder; give a YAML file") from error
    except OSError as error:
        raise InputError(
            f"parameter file {path} cannot be read: {reason(error)}; give a YAML file that can be read"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the file is not text in UTF-8 ({error}); give a YAML file") from error


def _read_overrides(overrides: Sequence[str]) -> list[Setting]:
    """Return the settings of all options `--set`. Two options must not set the same parameter, as in YAML."""
    settings: dict[tuple[str, ...], Setting] = {}
    for override in overrides:
        setting = _read_override(override)
        before = settings.setdefault(setting.key, setting)
        if before is not setting:
            raise InputError(f"{before.written} and {setting.written} set the same parameter; keep one")
    return list(settings.values())


def _read_override(override: str) -> Setting:
    written = f'--set "{override}"'
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"{written}: expected key=value, such as candidates.cnn.train.steps=100")

    try:
        value = read_yaml(text)
    except SyntaxInputError:
        value = text  # for example a regular expression
    except InputError as error:
        raise InputError(f"{written}: {error}") from error
    return Setting(tuple(key.strip().split(".")), value, written)


def _refuse_reserved(settings: Sequence[Setting], options: Sequence[Setting]) -> None:
    for option in options:
        for setting in settings:
            if option.reserved and setting.key == option.key:
                raise InputError(f"{setting.written}: {option.reserved}")


def _apply(values: dict[str, Any], setting: Setting) -> None:
    *parents, last = setting.key
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict) and not setting.written:
            return  # the file has a value where a section must be; the validation reports this error
        if not isinstance(values, dict):
            raise InputError(f'{setting.written}: "{parent}" is a value, not a section; check the key')
    values[last] = setting.value


def _refuse_given_keys(values: dict[str, Any], origin: _Origin) -> None:
    """Raise InputError if a step's section contains a key that the run fills in."""
    for name, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, StepConfig):
            _refuse_given_keys_of(field.annotation, (name,), values.get(name), origin)

    candidates = values.get("candidates")
    if not isinstance(candidates, dict):
        return
    for name, candidate in candidates.items():
        if isinstance(candidate, dict):
            _refuse_given_keys_of(TrainConfig, ("candidates", name, "train"), candidate.get("train"), origin)


def _refuse_given_keys_of(kind: type[StepConfig], place: Place, section: Any, origin: _Origin) -> None:
    if not isinstance(section, dict):
        return
    for key in sorted(kind.GIVEN_BY_RUN & set(section)):
        way_out = f'set "{key}" at the top of the file' if key in RunConfig.model_fields else "remove it"
        raise InputError(
            f"{origin.of((*place, key))}: {_dotted((*place, key))} belongs to the run, so no step can set it; {way_out}"
        )


def _explain(detail: dict[str, Any], origin: _Origin) -> str:
    place: Place = detail["loc"]
    name = _dotted(place)
    start = origin.of(place)

    if detail["type"] == "extra_forbidden":
        known = _known_keys(place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"known keys: {', '.join(known)}"
        return f'{start}: unknown key "{name}"; {hint}'

    if detail["type"] == "json_invalid":
        return f"{start}: a text has a character that is not Unicode, such as \\ud800; remove it"

    if detail["type"] == "missing":
        return f'{start}: "{name}" is missing; add it'

    # Our own validators decide whether their messages show the value, because some values must not be shown.
    if detail["type"] == "value_error":
        return f"{start}: {name}: {detail['ctx']['error']}"

    return f"{start}: {name}: {detail['msg']}{origin.quote(place, detail['input'])}"


def _dotted(place: Place) -> str:
    return ".".join(map(str, place))


def _yaml_type(value: Any) -> str:
    if value is None:
        return "an empty document"
    return "a list" if isinstance(value, list) else f"the value {value!r}"


def _known_keys(place: Place) -> list[str]:
    """Return the keys of the section at a place, without the keys that the run fills in."""
    kind: Any = RunConfig
    for part in place:
        inner = _config_inside(kind)
        if inner is not None:  # the part is a key of a dict or a position in a list
            kind = inner
            continue
        field = getattr(kind, "model_fields", {}).get(part)
        kind = field.annotation if field else None

    kind = _config_inside(kind) or kind
    fields = set(getattr(kind, "model_fields", {}))
    return sorted(fields - getattr(kind, "GIVEN_BY_RUN", set()))


def _config_inside(kind: Any) -> type[Config] | None:
    """Return the configuration class in a type such as `dict[str, Candidate]`. Return None if there is none."""
    found = [argument for argument in get_args(kind) if isinstance(argument, type) and issubclass(argument, Config)]
    return found[-1] if found else None
