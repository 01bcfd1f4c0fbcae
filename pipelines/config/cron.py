"""Cron expressions as people know them: five fields, in UTC.

KFP's own has six, seconds first, and reads five as if the last were missing: "10 2 * * *" would run every hour, at
second 10 of minute 2 (kubeflow/pipelines#2318). Hence five are wanted here, checked, and sent as six. The rest follows
the parser that KFP uses, github.com/robfig/cron, version 1.
"""

import datetime
import re

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 6))
NAMES = {
    "month": {name: number for number, name in enumerate(MONTHS, 1)},
    "day of week": {name: number for number, name in enumerate(DAYS)},
}
HORIZON = 8 * 366  # days: the longest time between two 29 February


def cron_for_kfp(cron: str) -> str:
    """Return a cron expression in KFP's form, with the seconds first.

    Raises:
        ValueError: It does not parse, or its time never comes; the message names the field and what is allowed.
    """
    next_time(cron, datetime.datetime.now(datetime.UTC))
    return f"0 {' '.join(cron.split())}"


def next_time(cron: str, after: datetime.datetime) -> datetime.datetime:
    """Return the first time after `after`, in UTC, that a cron expression of five fields names.

    As in every cron, where both days are restricted one of them suffices.

    Raises:
        ValueError: It does not parse, or its time never comes.
    """
    texts = cron.split()
    if len(texts) != len(FIELDS):
        raise ValueError(
            f'"{cron}" has {len(texts)} fields; expected five: minute, hour, day of month, month, day of week (UTC), '
            'such as "0 2 * * 1" for Mondays at 02:00'
        )
    minutes, hours, days, months, weekdays = (_values(text, *field) for text, field in zip(texts, FIELDS, strict=True))
    either = texts[2][0] not in "*?" and texts[4][0] not in "*?"
    start = after.astimezone(datetime.UTC).replace(second=0, microsecond=0) + datetime.timedelta(minutes=1)
    for offset in range(HORIZON):
        day = start.date() + datetime.timedelta(days=offset)
        matches = (day.day in days, (day.weekday() + 1) % 7 in weekdays)
        if day.month not in months or not (any(matches) if either else all(matches)):
            continue
        for hour in sorted(hours):
            for minute in sorted(minutes):
                moment = datetime.datetime(day.year, day.month, day.day, hour, minute, tzinfo=datetime.UTC)
                if moment >= start:
                    return moment
    raise ValueError(f'"{cron}" names a day that never comes')


def _values(text: str, field: str, lowest: int, highest: int) -> set[int]:
    """Numbers that one field allows: a list of *, n, n-m, each with an optional /step."""
    found: set[int] = set()
    for part in text.split(","):
        whole = re.fullmatch(r"(\*|\?|(\w+)(?:-(\w+))?)(?:/(\d+))?", part)
        if not whole:
            raise ValueError(f'{field} "{part}": expected *, a number, a range such as 1-5, or a step such as */15')
        first = _number(whole[2], field) if whole[2] else lowest
        open_end = not whole[2] or whole[4]  # n/step goes on to the highest
        last = _number(whole[3], field) if whole[3] else highest if open_end else first
        step = int(whole[4] or 1)
        if not (lowest <= first <= last <= highest and step):
            raise ValueError(f'{field} "{part}": expected {lowest} to {highest}, ascending, and a step of 1 or more')
        found |= set(range(first, last + 1, step))
    return found


def _number(text: str, field: str) -> int:
    named = NAMES.get(field, {}).get(text.lower())
    if named is None and not text.isdecimal():
        raise ValueError(f'{field} "{text}": expected a number or one of {", ".join(NAMES.get(field, {})) or "none"}')
    return int(text) if named is None else named
