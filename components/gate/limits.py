"""Limits against measurements: a row and a reason for each, and the verdict over all."""

import math
import operator
from dataclasses import dataclass
from difflib import get_close_matches

from components.gate.config import Limit
from components.shared.results.measurements import FEW_PHOTOS, Measurement, spoken

Key = tuple[str, str, str, str]
OPERATORS = {
    ">=": (operator.ge, "at least"),
    ">": (operator.gt, "above"),
    "<=": (operator.le, "at most"),
    "<": (operator.lt, "below"),
}
ENDS = {"value": "", "low": "the lower end of the 95 % interval of ", "high": "the upper end of the 95 % interval of "}


@dataclass(frozen=True)
class Row:
    """One limit, what was measured, and one sentence why it passed or failed; numbers are None where undefined."""

    name: str
    split: str
    slice: str
    condition: str
    value: float | None
    low: float | None
    high: float | None
    op: str
    limit: float
    passed: bool
    why: str


def judge(measurements: list[Measurement], limits: tuple[Limit, ...]) -> list[Row]:
    """Compare each limit with its measurement, in the order of the limits.

    A measurement that is missing, NaN, or without the interval that the limit asks for fails.
    """
    found = {(row.name, row.split, row.slice, row.condition): row for row in measurements}
    return [_row(found, limit) for limit in limits]


def _row(found: dict[Key, Measurement], limit: Limit) -> Row:
    measured = found.get((limit.name, limit.split, limit.slice, limit.condition))
    value, low, high = (_finite(getattr(measured, end, None)) for end in ("value", "low", "high"))
    compared = {"value": value, "low": low, "high": high}[limit.on]
    holds, words = OPERATORS[limit.op]
    passed = compared is not None and holds(compared, limit.limit)
    subject = f"{ENDS[limit.on]}{spoken(limit.name)} on {_place(limit)}"
    if measured is None:
        why = _missing(found, limit)
    elif compared is None:
        why = f"{subject} could not be measured: {measured.note or 'it is not a number'}."
    else:
        why = f"{subject} is {compared:.4g}, {'as asked' if passed else 'but must be'} {words} {limit.limit:.4g}."
        if passed and limit.on != "value" and measured.note == FEW_PHOTOS:
            why += " Few photos bear this interval: the wrong answers do not fill one, so it may be too short."
    return Row(
        name=limit.name,
        split=limit.split,
        slice=limit.slice,
        condition=limit.condition,
        value=value,
        low=low,
        high=high,
        op=limit.op,
        limit=limit.limit,
        passed=passed,
        why=why[0].upper() + why[1:],
    )


def _missing(found: dict[Key, Measurement], limit: Limit) -> str:
    names = sorted({key[0] for key in found})
    if limit.name not in names:
        near = get_close_matches(limit.name, names, n=1)
        hint = f"; did you mean {near[0]}" if near else f"; measured are {', '.join(names) or 'none'}"
        return f"There is no measurement named {limit.name}{hint}."
    places = sorted({f"{key[1]}, {key[2]}" for key in found if key[0] == limit.name and key[3] == limit.condition})
    return f"{limit.name} was not measured on {_place(limit)}; it was on: {'; '.join(places) or 'nothing'}."


def _place(limit: Limit) -> str:
    part = "" if limit.slice == "all" else f" ({limit.slice})"
    return f"{limit.split}{part}{' before fine-tuning' if limit.condition == 'before' else ''}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
