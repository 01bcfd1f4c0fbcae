"""The table of measurements that evaluate, explain and drift hand to gate: one row per number."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Measurement:
    """One measured number.

    Attributes:
        name: What was measured, such as "accuracy".
        value: The number; NaN where it is undefined, and then `note` says why.
        split: train, val, test or robustness.
        slice: "all", or a part of the split as `column=value`, such as "surface=wall".
        condition: "before" or "after" fine-tuning.
        low: Lower end of the 95 % interval, None where none was computed.
        high: Upper end of the 95 % interval.
        n: Number of images it rests on.
        note: One sentence a reader needs beside the number.
    """

    name: str
    value: float
    split: str = "test"
    slice: str = "all"
    condition: str = "after"
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""


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


FEW_PHOTOS = "few photos: its wrong answers do not fill one, so the interval may be too short"
DAGGER = (
    "† Few photos: the wrong answers do not fill one (where there are none, the least sure is taken for wrong), and "
    "the interval may be too short: a kind of photo that is missing here could change the number by more."
)
ACRONYMS = {name.lower(): name for name in ("AUROC", "F1", "MCC", "NLL", "ECE", "AUC", "Brier", "IoU", "ROAD")}


def spoken(name: str) -> str:
    """A measurement's name as people write it: "auroc" -> "AUROC", "recall_at_threshold" -> "recall at threshold"."""
    return " ".join(ACRONYMS.get(word, word) for word in name.split("_")).replace("p crack", "P(crack)")


def with_interval(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A number and its interval as people read them, "0.9125 [0.850, 0.956]"; "-" where it is undefined."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.4f}" if low is None or high is None else f"{value:.4f} [{low:.3f}, {high:.3f}]"


def shown_row(row: Measurement | None) -> str:
    """A measurement as people read it; "-" where there is none."""
    if row is None:
        return "-"
    return with_interval(row.value, row.low, row.high) + (" †" if row.note == FEW_PHOTOS else "")


def footnote(rows: Iterable[Measurement | None]) -> str:
    """What the dagger of `shown_row` means, "" where none of these rows bears it."""
    return DAGGER if any(row is not None and row.note == FEW_PHOTOS for row in rows) else ""


def write_measurements(rows: list[Measurement], path: str | Path) -> None:
    """Write rows as parquet, in the order given."""
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA), path)


def read_measurements(path: str | Path) -> list[Measurement]:
    """Read rows in the order written."""
    return [Measurement(**row) for row in pq.read_table(path, schema=SCHEMA).to_pylist()]
