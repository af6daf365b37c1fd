"""Days and moments where the programme runs."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.calendar import (
    FIRST_DAY,
    LAST_DAY,
    day_of,
    end_of,
    holds_from,
    moment_asked,
    start_of,
    written,
)
from shared.errors import Invalid

ZONE = ZoneInfo("Europe/Amsterdam")
days = st.dates(min_value=FIRST_DAY, max_value=LAST_DAY)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (utc(2018, 12, 31, 22, 59, 59), date(2018, 12, 31)),
        (utc(2018, 12, 31, 23, 0, 0), date(2019, 1, 1)),
        (utc(2018, 7, 1, 21, 59, 59), date(2018, 7, 1)),
        (utc(2018, 7, 1, 22, 0, 0), date(2018, 7, 2)),
    ],
)
def test_a_day_turns_at_midnight_where_the_programme_runs(moment: datetime, day: date) -> None:
    assert day_of(moment, ZONE) == day


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2018, 3, 25), 23), (date(2018, 10, 28), 25), (date(2018, 10, 29), 24)]
)
def test_a_day_is_as_long_as_the_clock_makes_it(day: date, hours: int) -> None:
    assert start_of(day + timedelta(days=1), ZONE) - start_of(day, ZONE) == timedelta(hours=hours)


@given(day=days)
def test_a_day_begins_and_ends_on_itself_and_the_next_follows_at_once(day: date) -> None:
    assert day_of(start_of(day, ZONE), ZONE) == day_of(end_of(day, ZONE), ZONE) == day
    assert end_of(day, ZONE) + timedelta(microseconds=1) == start_of(day + timedelta(days=1), ZONE)


def test_a_fact_told_later_holds_from_the_start_of_its_day() -> None:
    assert holds_from(date(2018, 10, 19), utc(2018, 11, 1, 9), ZONE) == utc(2018, 10, 18, 22)


def test_a_fact_told_on_its_own_day_holds_from_when_it_was_told() -> None:
    told = utc(2018, 10, 19, 9, 30)
    assert holds_from(date(2018, 10, 19), told, ZONE) == told


def test_its_own_day_is_the_day_where_the_programme_runs() -> None:
    just_after_midnight = utc(2018, 10, 18, 22, 5)
    assert holds_from(date(2018, 10, 19), just_after_midnight, ZONE) == just_after_midnight


@pytest.mark.parametrize(
    ("asked", "moment"),
    [
        ("2018-12-31", utc(2018, 12, 31, 22, 59, 59, 999999)),
        ("2018-07-01", utc(2018, 7, 1, 21, 59, 59, 999999)),
        ("2018-12-31T12:00:00Z", utc(2018, 12, 31, 12)),
        ("2018-12-31T12:00:00+01:00", utc(2018, 12, 31, 11)),
        ("2018-12-31T12:00:00.123456Z", utc(2018, 12, 31, 12, 0, 0, 123456)),
        ("1900-01-01", end_of(FIRST_DAY, ZONE)),
        ("2200-12-31", end_of(LAST_DAY, ZONE)),
    ],
)
def test_a_date_asks_for_the_end_of_that_day_and_a_date_time_for_itself(asked: str, moment: datetime) -> None:
    assert moment_asked(asked, ZONE, "query:asOf") == moment


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "yesterday",
        "2018-13-01",
        "2018-02-30",
        "20181231",
        "1546300800",
        "2018-W01-1",
        "2018-W01-1T12:00:00Z",
        "20181231T120000Z",
        "2018-12-31T12:00:00",
        "2018-12-31 12:00:00Z",
        "2018-12-31T12:00:00-00:00",
        "2018-12-31T12:00:00-0000",
        "2018-12-31T25:00:00Z",
        "1899-12-31",
        "2201-01-01",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_anything_else_is_refused_with_the_field_that_is_at_fault(asked: str) -> None:
    with pytest.raises(Invalid, match="Give a da") as refusal:
        moment_asked(asked, ZONE, "query:asOf")
    assert refusal.value.field == "query:asOf"


@given(moment=st.datetimes(timezones=st.just(ZONE)))
def test_what_is_written_is_utc_to_the_microsecond_and_reads_back_the_same(moment: datetime) -> None:
    text = written(moment)
    assert text.endswith("Z") and len(text) == len("2018-12-31T12:00:00.000000Z")
    assert datetime.fromisoformat(text) == moment.astimezone(UTC)
