"""Limits against measurements: a row and a reason for each, and the verdict over all."""

import math
import operator
from dataclasses import dataclass
from difflib import get_close_matches

from components.gate.config import Limit
from components.shared.results.measurements import FEW_PHOTOS, Measurements, spoken
from components.shared.results.slices import WHOLE

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


def judge(measurements: Measurements, limits: tuple[Limit, ...]) -> list[Row]:
    """Compare each limit with its measurement, in the order of the limits.

    A measurement that is missing, NaN, or without the interval that the limit asks for fails.
    """
    return [_row(measurements, limit) for limit in limits]


def _row(measurements: Measurements, limit: Limit) -> Row:
    measured = measurements.find(limit.name, limit.split, limit.slice, limit.condition)
    value, low, high = (_finite(getattr(measured, end, None)) for end in ("value", "low", "high"))
    compared = {"value": value, "low": low, "high": high}[limit.on]
    holds, words = OPERATORS[limit.op]
    passed = compared is not None and holds(compared, limit.limit)
    subject = f"{ENDS[limit.on]}{spoken(limit.name)} on {_place(limit)}"
    if measured is None:
        why = _missing(measurements, limit)
    elif compared is None:
        why = f"{subject} could not be measured: {measured.note or 'it is not a number'}."
    else:
        why = f"{subject} is {compared:.4g}, {'as asked' if passed else 'but must be'} {words} {limit.limit:.4g}."
        if passed and limit.on != "value" and measured.note == FEW_PHOTOS:
            why += " Few photos bear this interval: the wrong answers do not fill one, so it may be too short."
    return Row(
        name=limit.name,
        split=limit.split,
        slice=str(limit.slice),
        condition=limit.condition,
        value=value,
        low=low,
        high=high,
        op=limit.op,
        limit=limit.limit,
        passed=passed,
        why=why[0].upper() + why[1:],
    )


def _missing(measurements: Measurements, limit: Limit) -> str:
    names = sorted({row.name for row in measurements})
    if limit.name not in names:
        near = get_close_matches(limit.name, names, n=1)
        hint = f"; did you mean {near[0]}" if near else f"; measured are {', '.join(names) or 'none'}"
        return f"There is no measurement named {limit.name}{hint}."
    elsewhere = measurements.where(name=limit.name, condition=limit.condition)
    places = sorted({f"{row.split}, {row.slice}" for row in elsewhere})
    return f"{limit.name} was not measured on {_place(limit)}; it was on: {'; '.join(places) or 'nothing'}."


def _place(limit: Limit) -> str:
    part = "" if limit.slice == WHOLE else f" ({limit.slice})"
    return f"{limit.split}{part}{' before fine-tuning' if limit.condition == 'before' else ''}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
