"""The table of measurements, with one row per number.

The evaluate, explain and drift steps write such a table, and the gate step reads their tables.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.shared.results.slices import WHOLE, Slice


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: The number. It is NaN if it is undefined; `note` then gives the reason.
        low: Lower end of the interval; None if no interval was computed.
        high: Upper end of the interval; None if no interval was computed.
        note: A remark that a reader of the number needs; may be empty.
    """

    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Measurement:
    """One measured number.

    Attributes:
        name: What was measured, such as "accuracy".
        value: The number. It is NaN if it is undefined; `note` then gives the reason.
        split: train, val, test or robustness.
        slice: The part of the split; the whole split by default.
        condition: "before" or "after" fine-tuning.
        low: Lower end of the 95 % interval; None if no interval was computed.
        high: Upper end of the 95 % interval; None if no interval was computed.
        n: Number of images on which the number was measured.
        note: A remark that a reader of the number needs; may be empty.
    """

    name: str
    value: float
    split: str = "test"
    slice: Slice = WHOLE
    condition: str = "after"
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""

    @classmethod
    def of(
        cls, name: str, estimate: Estimate, n: int, split: str = "test", slice: Slice = WHOLE, condition: str = "after"
    ) -> "Measurement":
        """Return an estimate as a measurement. `n` is the number of images on which the estimate was measured."""
        return cls(name, estimate.value, split, slice, condition, estimate.low, estimate.high, n, estimate.note)


class Measurements:
    """Measured numbers in a fixed order. `find` and `where` look them up.

    Name, split, slice and condition identify a number. If two numbers agree in all four, `find` returns the later one.
    """

    def __init__(self, rows: Iterable[Measurement] = ()):
        self._rows = tuple(rows)
        self._index = {(row.name, row.split, row.slice, row.condition): row for row in self._rows}

    def __iter__(self) -> Iterator[Measurement]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def find(
        self, name: str, split: str = "test", slice: Slice = WHOLE, condition: str = "after"
    ) -> Measurement | None:
        """Return one measured number; None if it was not measured."""
        return self._index.get((name, split, slice, condition))

    def where(
        self,
        name: str | None = None,
        split: str | None = None,
        slice: Slice | None = None,
        condition: str | None = None,
    ) -> list[Measurement]:
        """Return the numbers that match all arguments, in order. An argument that is None matches every number."""
        found = []
        for row in self._rows:
            same_name = name is None or row.name == name
            same_split = split is None or row.split == split
            same_slice = slice is None or row.slice == slice
            same_condition = condition is None or row.condition == condition
            if same_name and same_split and same_slice and same_condition:
                found.append(row)
        return found


SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("value", pa.float64()),
        ("split", pa.string()),
        ("slice", pa.string()),
        ("condition", pa.string()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("note", pa.string()),
    ]
)
assert [field.name for field in fields(Measurement)] == SCHEMA.names


FEW_ERRORS = "the number of errors is below the number of tiles in an average photo, so this interval may be too narrow"
DAGGER = (
    "† The number of errors is below the number of tiles in an average photo, so this interval may be too narrow. (If "
    "there was no error, we computed the interval as if the least certain answer of each class were wrong.)"
)
SPELLINGS = {name.lower(): name for name in ("AUROC", "F1", "MCC", "NLL", "ECE", "AUC", "Brier", "IoU", "ROAD")}
SPELLINGS["m2"] = "m²"


def spoken(name: str) -> str:
    """Return a measurement's display name.

    "auroc" becomes "AUROC", and "recall_at_threshold" becomes "recall at threshold".
    """
    words = [SPELLINGS.get(word, word) for word in name.split("_")]
    return " ".join(words).replace("p crack", "P(crack)")


def with_interval(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a text that shows a number and its interval, such as "0.9125 [0.850, 0.956]".

    The text is "-" if the number is undefined.
    """
    if value is None or math.isnan(value):
        return "-"
    if low is None or high is None:
        return f"{value:.4f}"
    return f"{value:.4f} [{low:.3f}, {high:.3f}]"


def shown_row(row: Measurement | None) -> str:
    """Return a text that shows a measurement. The text is "-" if `row` is None or its value is undefined.

    The text ends with a dagger if the measurement has the note FEW_ERRORS.
    """
    if row is None:
        return "-"
    dagger = " †" if row.note == FEW_ERRORS else ""
    return with_interval(row.value, row.low, row.high) + dagger


def footnote(rows: Iterable[Measurement | None]) -> str:
    """Return the sentence that explains the dagger of `shown_row`; "" if none of these rows has a dagger."""
    for row in rows:
        if row is not None and row.note == FEW_ERRORS:
            return DAGGER
    return ""


def write_measurements(rows: Iterable[Measurement], path: str | Path) -> None:
    """Write numbers as a parquet file in the given order. A slice is written as text, such as "surface=wall"."""
    table = pa.Table.from_pylist([vars(row) | {"slice": str(row.slice)} for row in rows], schema=SCHEMA)
    pq.write_table(table, path)


def read_measurements(path: str | Path) -> Measurements:
    """Read numbers, in the order in which they were written."""
    rows = pq.read_table(path, schema=SCHEMA).to_pylist()
    return Measurements(Measurement(**row | {"slice": Slice.parse(row["slice"])}) for row in rows)
