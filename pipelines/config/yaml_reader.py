"""Read YAML 1.2, and find the line of every value.

The size of the text is limited. The values must be text, numbers, true, false, null, lists or mappings.

In YAML 1.2, `5e-5` is a number, and `on`, `no`, `1:30` and `2026-11-30` are words. ruamel.yaml does the parsing.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode
from ruamel.yaml.parser import ParserError
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scanner import ScannerError
from ruamel.yaml.tag import Tag

from components.shared.errors import InputError

# A parameter file has about a hundred lines, which is far below these limits. A file at the limits is read in less than
# a second.
MAX_CHARACTERS = 50_000
MAX_DEPTH = 20
MAX_VALUES = 5_000

MERGE_TAG = "tag:yaml.org,2002:merge"
TIMESTAMP_TAG = "tag:yaml.org,2002:timestamp"
TEXT_TAG = "tag:yaml.org,2002:str"


class SyntaxInputError(InputError):
    """The text is not YAML."""


@dataclass(frozen=True)
class Source:
    """The text that a person wrote for one value.

    Attributes:
        line: Number of the first line of the text, counted from 1.
        text: The characters, including quotes and brackets; empty if the person left the value empty.
    """

    line: int
    text: str


class _Resolver(VersionedResolver):
    """A resolver that reads dates as text, because YAML 1.2 has no dates."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Tag:
        tag = super().resolve(kind, value, implicit)
        return Tag(suffix=TEXT_TAG) if str(tag) == TIMESTAMP_TAG else tag


class _Composer(Composer):
    """A composer that refuses deep nesting. So its recursion cannot exceed Python's stack."""

    _depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            line = self.parser.peek_event().start_mark.line + 1
            raise InputError(f"line {line}: the values are nested more than {MAX_DEPTH} levels deep; use fewer levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def read_yaml(text: str) -> Any:
    """Return the values of one YAML document: str, int, float, bool, None, and lists and dicts of these.

    If the text uses a YAML alias, every place of the alias gets its own copy of the value.

    Raises:
        SyntaxInputError: The text is not YAML.
        InputError: The text is too large, is nested too deeply, has a key twice, or contains values of other types. The
            message names the line or the place.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(
            f"the text has more than {MAX_CHARACTERS:,} characters; check that you gave the right file or value"
        )
    parser = _parser()
    with _explaining(text):
        node = parser.compose(text)
    if node is None:
        return None

    _ExpandedSize().of(node)
    with _explaining(text):
        values = parser.constructor.construct_document(node)
    return _plain_copy(values, "")


def find_source(text: str, place: tuple[str | int, ...]) -> Source | None:
    """Return the text of the value at a place, or None if there is no such place.

    Args:
        text: YAML that `read_yaml` can read.
        place: Keys and list positions from the top, such as ("gate", "limits", 0, "name").
    """
    node = _parser().compose(text)
    for part in place:
        node = _child(node, part)
        if node is None:
            return None
    return Source(node.start_mark.line + 1, text[node.start_mark.index : node.end_mark.index].strip())


def _parser() -> YAML:
    parser = YAML(typ="safe", pure=True)
    parser.Composer = _Composer
    parser.Resolver = _Resolver
    return parser


@contextlib.contextmanager
def _explaining(text: str) -> Iterator[None]:
    """Turn an error of the YAML parser into an InputError. Its message is short and names the line of the text."""
    try:
        yield
    except DuplicateKeyError as error:
        key = re.match(r'found duplicate key "(.*)" with value', error.problem, re.DOTALL)
        named = f'key "{key[1]}"' if key else "a key"
        raise InputError(f"line {error.problem_mark.line + 1}: {named} appears twice; keep one") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = [part for part in (error.context, error.problem) if part]
        kind = SyntaxInputError if isinstance(error, ScannerError | ParserError) else InputError
        raise kind(f"line {mark.line + 1}: {', '.join(words)}") from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SyntaxInputError(
            f"line {line}: the character {chr(error.character)!r} is not allowed in YAML; remove it"
        ) from error
    except InputError:
        raise
    except (ValueError, KeyError) as error:  # such as `!!int two`
        raise InputError(f"a value cannot be read: {error}; correct it") from error


class _ExpandedSize:
    """Counts the values of a document. An alias or a merge counts as all the values that it stands for."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()  # the ids of the nodes that contain the current node

    def of(self, node: Node) -> int:
        """Return the number of values in a node.

        Raises:
            InputError: The node contains itself, or more than `MAX_VALUES` values.
        """
        line = node.start_mark.line + 1
        if id(node) in self._open:
            raise InputError(
                f"line {line}: an alias stands for a value that contains the alias itself; remove the alias"
            )
        if id(node) in self._sizes:
            return self._sizes[id(node)]

        self._open.add(id(node))
        size = 1
        if isinstance(node, SequenceNode):
            for inner in node.value:
                size += self.of(inner)
        elif isinstance(node, MappingNode):
            for key, inner in node.value:
                size += self.of(key) + self.of(inner)
        self._open.remove(id(node))

        if size > MAX_VALUES:
            raise InputError(
                f"line {line}: with all aliases expanded, the document has more than {MAX_VALUES:,} values; use "
                "fewer aliases or values"
            )
        self._sizes[id(node)] = size
        return size


def _plain_copy(value: Any, place: str) -> Any:
    """Return a copy of nested values. If a value occurs at two places, each place gets a copy of its own.

    Raises:
        InputError: A value has a type that a parameter cannot have.
    """
    named = place or "the document"
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list):
        return [_plain_copy(inner, f"{place}.{position}".lstrip(".")) for position, inner in enumerate(value)]
    if not isinstance(value, dict):
        raise InputError(
            f"{named}: expected text, a number, true, false, null, a list or a mapping, got {type(value).__name__}"
        )
    copy = {}
    for key, inner in value.items():
        if not isinstance(key, str):
            raise InputError(f"{named}: the key {key} is not text; put the key in quotes")
        copy[key] = _plain_copy(inner, f"{place}.{key}".lstrip("."))
    return copy


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part]
    if not isinstance(node, MappingNode):
        return None

    merged: list[Node] = []
    for key, value in node.value:
        if key.value == part:
            return value
        if str(key.tag) == MERGE_TAG:
            merged += value.value if isinstance(value, SequenceNode) else [value]

    for section in merged:
        found = _child(section, part)
        if found is not None:
            return found
    return None
