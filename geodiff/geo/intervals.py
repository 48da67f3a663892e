"""Intervals of time as STAC writes them: a date, a year, or A/B with .. for an open end."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from geodiff.errors import UsageError


def interval(text: str | None) -> tuple[datetime, datetime]:
    """First and last moment of a date, a year, a month or an interval A/B; .. is an open end.

    Raises UsageError for another text.
    """
    start, end = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    if text is None:
        return start, end
    parts = text.split("/")
    edges = [_moments(part) for part in (parts * 2 if len(parts) == 1 else parts)]
    if len(edges) != 2 or None in edges:
        raise UsageError(f"datetime {text!r}: give 2020, 2020-06-01 or 2018-01-01/2020-12-31")
    first, last = edges[0], edges[1]
    assert first is not None
    assert last is not None
    if first[0] > last[1]:
        raise UsageError(f"datetime {text!r} ends before it begins")
    return first[0], last[1]


def _moments(part: str) -> tuple[datetime, datetime] | None:
    """First and last moment of one end of an interval; None where it is no date."""
    if part in ("", ".."):
        return datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    match = re.fullmatch(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?", part)
    try:
        if not match:
            moment = utc(datetime.fromisoformat(part))
            return moment, moment
        year, month, day = (int(number) if number else None for number in match.groups())
        assert year is not None
        first = datetime(year, month or 1, day or 1, tzinfo=UTC)
        if day:
            return first, first.replace(hour=23, minute=59, second=59, microsecond=999999)
        after = (year + 1, 1) if month in (None, 12) else (year, (month or 0) + 1)
        until = datetime(*after, 1, tzinfo=UTC)
    except ValueError:
        return None
    return first, datetime.fromtimestamp(until.timestamp() - 1e-3, UTC)


def told_interval(text: str | None) -> str | None:
    """An interval as the STAC API wants it: two moments in UTC, or .. for one open end.

    None for all times, which the API has no words for.
    """
    first, last = interval(text)
    begins = None if first == datetime.min.replace(tzinfo=UTC) else f"{first:%Y-%m-%dT%H:%M:%S}Z"
    ends = None if last == datetime.max.replace(tzinfo=UTC) else f"{last:%Y-%m-%dT%H:%M:%S}Z"
    return f"{begins or '..'}/{ends or '..'}" if begins or ends else None


def utc(moment: datetime) -> datetime:
    """The moment in UTC; one without a time zone is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
