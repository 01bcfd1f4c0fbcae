"""Check cron expressions with five fields, in UTC.

KFP's own cron has six fields, and the first field is for seconds. KFP reads the first field as seconds even if there
are only five fields. So "10 2 * * *" would run every hour, at second 10 of minute 2 (kubeflow/pipelines#2318). We
accept exactly five fields, check them, and send six fields to KFP. We accept only syntax that cronsim and KFP's parser
(github.com/robfig/cron, version 1) read in the same way.
"""

import datetime
import re

from cronsim import CronSim, CronSimError

ALLOWED_VALUES = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day of month": "1 to 31",
    "month": "1 to 12 or jan to dec",
    "day of week": "0 to 6 or sun to sat",
}

PART = re.compile(r"[*?](/\d+)?|\w+(-\w+)?(/\d+)?")
# A step after a single weekday, such as 1/2, is not accepted, because cronsim would count Sunday twice, as 0 and as 7.
WEEKDAY_PART = re.compile(r"[*?](/\d+)?|[0-6]|[a-z]{3}|([0-6]|[a-z]{3})-([0-6]|[a-z]{3})(/\d+)?", re.IGNORECASE)
# cronsim also accepts L, the last day of the month, but KFP's parser refuses it.
LAST_DAY = re.compile(r"L|LW", re.IGNORECASE)


def cron_for_kfp(cron: str) -> str:
    """Return a cron expression in KFP's form, with the seconds first.

    Raises:
        ValueError: The expression cannot be read, or no time matches it. The message names the field and its allowed
            values.
    """
    next_time(cron, datetime.datetime.now(datetime.UTC))
    return f"0 {' '.join(cron.split())}"


def next_time(cron: str, after: datetime.datetime) -> datetime.datetime:
    """Return the next time, in UTC, that matches a cron expression of five fields. The time is later than `after`.

    If both the day of the month and the day of the week are restricted, a day needs to match only one of the two, as in
    every cron program.

    Raises:
        ValueError: The expression cannot be read, or no time matches it.
    """
    fields = cron.split()
    if len(fields) != len(ALLOWED_VALUES):
        raise ValueError(
            f'"{cron}" has {len(fields)} fields; expected five: minute, hour, day of month, month, day of week (UTC), '
            'such as "0 2 * * 1" for Mondays at 02:00'
        )
    for position, name in enumerate(ALLOWED_VALUES):
        _check_field(name, position, fields[position])

    try:
        times = CronSim(cron.replace("?", "*"), after.astimezone(datetime.UTC))
        return next(times)
    except (CronSimError, StopIteration) as error:
        raise ValueError(f'"{cron}" names a day that does not exist; correct the day or the month') from error


def _check_field(name: str, position: int, text: str) -> None:
    """Raise ValueError if this field cannot be read. For the check, all other fields are set to `*`."""
    alone = ["*"] * len(ALLOWED_VALUES)
    alone[position] = text.replace("?", "*")
    try:
        CronSim(" ".join(alone), datetime.datetime.now(datetime.UTC))
    except CronSimError:
        parses = False
    else:
        syntax = WEEKDAY_PART if name == "day of week" else PART
        parts = text.split(",")
        parses = all(syntax.fullmatch(part) and not LAST_DAY.fullmatch(part) for part in parts)

    if not parses or _has_range_of_one(text):
        raise ValueError(
            f'{name} "{text}": expected {ALLOWED_VALUES[name]}, or *, a list such as 1,3, an ascending range such as '
            "1-5, or a step of 1 or more such as */2"
        )


def _has_range_of_one(text: str) -> bool:
    """Return whether a range has equal ends, such as 5-5/2.

    cronsim reads this range as 5, 7, 9, …, but KFP's parser reads it as 5.
    """
    return any(first == last for first, last in re.findall(r"(\w+)-(\w+)", text))
