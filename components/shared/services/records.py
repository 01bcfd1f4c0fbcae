"""Small JSON objects in the store, validated when they are read."""

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from components.shared.services.store import DamagedObjectError, Store

READS = 2  # one failed read can be an error of the connection; two mean that the object is damaged

Record = TypeVar("Record")


def read_record(store: Store, key: str, kind: type[Record], way_out: str) -> Record:
    """Read an object that holds one record as JSON.

    Args:
        store: Storage root.
        key: The object.
        kind: A dataclass with the record's fields.
        way_out: What the user should do if the object is damaged.

    Raises:
        MissingObjectError: The object does not exist.
        DamagedObjectError: The object does not hold such a record.
    """
    problem = ""
    for _ in range(READS):
        data = store.get_bytes(key)
        try:
            return TypeAdapter(kind).validate_json(data, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            problem = f"{field}: {first['msg']}" if field else first["msg"]
    raise DamagedObjectError(
        f"{store.uri}/{key} is damaged, or another release of this project wrote it ({problem}); {way_out}"
    )
