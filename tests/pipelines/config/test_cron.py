"""Cron expressions of five fields: the times that match, checked with the calendar and another parser, and errors."""

import datetime

import pytest
from huey import crontab  # comes with MLflow
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.config.cron import cron_for_kfp, next_time

UTC = datetime.UTC


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 2 * * 6", "2026-11-23 12:00", "2026-11-28 02:00"),
        ("0 2 * * sat", "2026-11-28 02:00", "2026-12-05 02:00"),  # after: not the time itself
        ("*/20 * * * *", "2026-11-23 23:45", "2026-11-24 00:00"),
        ("5/20 * * * *", "2026-11-23 12:26", "2026-11-23 12:45"),
        ("30 4 1,15 * *", "2026-11-23 12:00", "2026-12-01 04:30"),
        ("0 0 29 feb *", "2026-01-01 00:00", "2028-02-29 00:00"),
        ("0 0 13 * 5", "2026-11-23 12:00", "2026-11-27 00:00"),  # Friday, or the 13th
        ("0 6 * * MON-FRI", "2026-11-27 06:00", "2026-11-30 06:00"),
    ],
)
def test_the_next_time_is_the_calendar_s(cron, after, expected):
    moment = datetime.datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert next_time(cron, moment) == datetime.datetime.fromisoformat(expected).replace(tzinfo=UTC)


one_or_all = [
    st.one_of(st.just("*"), st.integers(low, high).map(str))
    for low, high in ((0, 59), (0, 23), (1, 28), (1, 12), (0, 6))
]
fields = [*(st.one_of(field, st.integers(2, 9).map("*/{}".format)) for field in one_or_all[:2]), *one_or_all[2:]]


@settings(max_examples=40, deadline=None)
@given(st.tuples(*fields).filter(lambda parts: "*" in (parts[2][0], parts[4][0])))
def test_it_fires_when_another_cron_library_says_so(parts):
    after = datetime.datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    moment = next_time(" ".join(parts), after)
    day, weekday = parts[2], parts[4]
    fires = crontab(minute=parts[0], hour=parts[1], day=day, month=parts[3], day_of_week=weekday)
    assert fires(moment.replace(tzinfo=None))
    earlier = [after + datetime.timedelta(minutes=number) for number in range(1, 700)]
    assert not [it for it in earlier if it < moment and fires(it.replace(tzinfo=None))]


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("0 0 2 * * 6", "has 6 fields; expected five"),
        ("@weekly", "has 1 fields"),
        ("60 2 * * *", 'minute "60": expected 0 to 59'),
        ("0 2 * * 7", 'day of week "7": expected 0 to 6'),
        ("0 2 31-1 * *", 'day of month "31-1"'),
        ("0 2 * foo *", 'month "foo": expected 1 to 12 or jan'),
        ("0 2 * * */0", "a step of 1 or more"),
        ("0 2 L * *", 'day of month "L"'),
        ("0 2-4-6 * * *", 'hour "2-4-6"'),
        ("0 2 LW * *", 'day of month "LW"'),
        ("0 2 * * fri#2", 'day of week "fri#2"'),
        ("0 2 * * 1/2", 'day of week "1/2"'),
        ("5-5/10 2 * * *", 'minute "5-5/10"'),
        ("0 2 30 2 *", "names a day that does not exist"),
    ],
)
def test_what_does_not_parse_names_the_field(cron, message):
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        next_time(cron, datetime.datetime.now(UTC))


def test_kfp_gets_the_seconds_it_wants():
    assert cron_for_kfp("0  2 * * 6") == "0 0 2 * * 6"
