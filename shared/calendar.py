"""Days and moments: which day it is where the programme runs, and the moment a question is about."""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from shared.errors import Invalid

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2200, 12, 31)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DATE_TIME = re.compile(_DATE.pattern + r"T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)", re.ASCII)
# `fromisoformat` takes more: weeks (2018-W01-1), and forms without dashes.


def day_of(moment: datetime, zone: ZoneInfo) -> date:
    return moment.astimezone(zone).date()


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a day, in UTC."""
    return datetime.combine(day, time.min, zone).astimezone(UTC)


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """The last microsecond of a day, in UTC."""
    return start_of(day + timedelta(days=1), zone) - timedelta(microseconds=1)


def holds_from(effective_from: date, recorded_at: datetime, zone: ZoneInfo) -> datetime:
    """The moment from which a fact holds: the start of its day, or, told on that very day, when it was told."""
    if effective_from == day_of(recorded_at, zone):
        return recorded_at
    return start_of(effective_from, zone)


def moment_asked(text: str, zone: ZoneInfo, field: str) -> datetime:
    """What `asOf` or `knownAt` means: a date is the end of that day, a date-time needs its offset.

    Raises Invalid for anything else, and for years outside 1900 to 2200.
    """
    try:
        if _DATE.fullmatch(text):
            day = date.fromisoformat(text)
            _within_bounds(day, field)
            return end_of(day, zone)
        if not _DATE_TIME.fullmatch(text) or text.endswith("-00:00"):
            raise ValueError
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            "Give a date (2018-12-31, the end of that day) or a date-time with an offset (2018-12-31T12:00:00Z).",
            field=field,
        ) from None
    _within_bounds(moment.date(), field)
    return moment.astimezone(UTC)


def _within_bounds(day: date, field: str) -> None:
    if not FIRST_DAY <= day <= LAST_DAY:
        raise Invalid(f"Give a day between {FIRST_DAY} and {LAST_DAY}.", field=field)


def written(moment: datetime) -> str:
    """A moment as every answer and event writes it: UTC, microseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
