"""Compare measurements with limits. The result for each limit is a row, with the reason in words."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from components.gate.config import Limit
from components.shared.results.measurements import FEW_ERRORS, Measurement, Measurements, spoken
from components.shared.results.slices import WHOLE


@dataclass(frozen=True)
class Operator:
    """A comparison of two numbers, and its name in a sentence, such as "at least"."""

    holds: Callable[[float, float], bool]
    words: str


OPERATORS = {
    ">=": Operator(operator.ge, "at least"),
    ">": Operator(operator.gt, "above"),
    "<=": Operator(operator.le, "at most"),
    "<": Operator(operator.lt, "below"),
}
ENDS = {"low": "lower", "high": "upper"}


@dataclass(frozen=True)
class Row:
    """A limit and its measurement, as they are written to verdict.json.

    Attributes:
        name, split, slice, condition: The measurement that the limit names. `slice` is written as text.
        value, low, high: The measured number and the ends of its 95 % interval. Each is None if it is undefined or
            missing.
        op, limit: The comparison and the number that the limit requires.
        passed: True if the measurement reaches the limit.
        why: A sentence that gives the reason.
    """

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

    A limit fails if its measurement is missing or NaN. A limit on an end of the interval also fails if there is no
    interval.
    """
    return [_row(measurements, limit) for limit in limits]


def _row(measurements: Measurements, limit: Limit) -> Row:
    measured = measurements.find(limit.name, limit.split, limit.slice, limit.condition)
    compared = _finite(measured, limit.on)
    passed = compared is not None and OPERATORS[limit.op].holds(compared, limit.limit)

    why = _why(measurements, measured, compared, limit, passed)
    return Row(
        name=limit.name,
        split=limit.split,
        slice=str(limit.slice),
        condition=limit.condition,
        value=_finite(measured, "value"),
        low=_finite(measured, "low"),
        high=_finite(measured, "high"),
        op=limit.op,
        limit=limit.limit,
        passed=passed,
        why=why[0].upper() + why[1:],
    )


def _finite(measured: Measurement | None, end: str) -> float | None:
    """Return the field `value`, `low` or `high` of a measurement. Return None if the field has no finite number."""
    number = getattr(measured, end, None)
    if number is None or not math.isfinite(number):
        return None
    return number


def _why(
    measurements: Measurements, measured: Measurement | None, compared: float | None, limit: Limit, passed: bool
) -> str:
    if measured is None:
        return _missing(measurements, limit)

    subject = f"{spoken(limit.name)} on {_place(limit)}"
    if limit.on != "value":
        subject = f"for {subject}, the {ENDS[limit.on]} end of the 95 % interval"
    if compared is None:
        return f"{subject} could not be measured: {measured.note or 'it is not a number'}."

    words = OPERATORS[limit.op].words
    asked = f"and must be {words}" if passed else f"but must be {words}"
    why = f"{subject} is {compared:.4g}, {asked} {limit.limit:.4g}."
    if passed and limit.on != "value" and measured.note == FEW_ERRORS:
        why += f" {FEW_ERRORS[0].upper()}{FEW_ERRORS[1:]}."
    return why


def _missing(measurements: Measurements, limit: Limit) -> str:
    """Return sentences that say that a measurement is missing.

    They name a similar measurement, or the splits and slices on which the measurement exists.
    """
    names = sorted({row.name for row in measurements})
    if limit.name not in names:
        near = get_close_matches(limit.name, names, n=1)
        hint = f" Did you mean {near[0]}?" if near else f" The measurements are: {', '.join(names) or 'none'}."
        return f"There is no measurement named {limit.name}.{hint}"

    elsewhere = measurements.where(name=limit.name, condition=limit.condition)
    places = sorted({f"{row.split}, {row.slice}" for row in elsewhere})
    return f"{limit.name} was not measured on {_place(limit)}. It was measured on: {'; '.join(places) or 'nothing'}."


def _place(limit: Limit) -> str:
    place: str = limit.split
    if limit.slice != WHOLE:
        place += f" ({limit.slice})"
    if limit.condition == "before":
        place += " before fine-tuning"
    return place
