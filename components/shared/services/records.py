"""Write and read small JSON objects in the store. Each object contains the sha256 of its content. Readers verify it."""

import json
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from components.shared.events import log
from components.shared.hashing import digest
from components.shared.services.s3_client import ATTEMPTS
from components.shared.services.store import DamagedObjectError, Store

SEAL = "sha256"  # the field with the digest of all other fields

Record = TypeVar("Record")


def write_record(store: Store, key: str, record: Any) -> None:
    """Write a record as JSON, with the digest of its content.

    Args:
        store: Storage root.
        key: Key of the object to write.
        record: A dataclass, or a dict of JSON values, without the field `SEAL`.
    """
    content = asdict(record) if is_dataclass(record) and not isinstance(record, type) else dict(record)
    if SEAL in content:
        raise ValueError(f"the record {key} has a field {SEAL}, but the digest needs this name; rename the field")
    sealed = {**content, SEAL: digest(content)}
    store.put_bytes(key, json.dumps(sealed, indent=1).encode())


def read_record(store: Store, key: str, kind: type[Record], way_out: str) -> Record:
    """Read an object that `write_record` wrote.

    Args:
        store: Storage root.
        key: Key of the object.
        kind: Type of the result: a dataclass with the record's fields, or a dict type such as `dict[str, Any]`.
        way_out: End of the error message for a damaged object. It says what the user can do, or what happens next.

    Raises:
        MissingObjectError: The object does not exist.
        DamagedObjectError: The object is not a record of this kind, or its content does not match its digest.
    """
    problem = ""
    for _ in range(ATTEMPTS):
        try:
            return _opened(store.get_bytes(key), kind)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            problem = f"{field}: {first['msg']}" if field else first["msg"]
        except (json.JSONDecodeError, UnicodeDecodeError, _UnsealedError) as error:
            problem = str(error)
        log.warning("%s/%s cannot be read (%s); reading it again", store.uri, key, problem)
    raise DamagedObjectError(
        f"{store.uri}/{key} is damaged, or another release of this project wrote it ({problem}); {way_out}"
    )


class _UnsealedError(Exception):
    """The record does not have the digest of its content."""


def _opened(data: bytes, kind: type[Record]) -> Record:
    sealed = json.loads(data)
    if not isinstance(sealed, dict) or SEAL not in sealed:
        raise _UnsealedError(f"it has no {SEAL}")

    expected = sealed.pop(SEAL)
    if digest(sealed) != expected:
        raise _UnsealedError(f"its content does not match its {SEAL}")
    return TypeAdapter(kind).validate_json(json.dumps(sealed), strict=True)
