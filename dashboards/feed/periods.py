"""Time as the feed takes it: UTC, half-open [from, to), whole minutes. Never a local time, never a wall clock's zone."""

import datetime
import re
from typing import Final

import msgspec

MINUTE_NS: Final = 60_000_000_000
DAY_NS: Final = 86_400_000_000_000
LONGEST_DAYS: Final = 366  # one request; a longer series is asked for in years
EARLIEST: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
LATEST: Final = datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC)  # int64 nanoseconds end in 2262
FORM: Final = r"^[0-9]{4}-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}Z)?)?$"

_FORM: Final = re.compile(FORM)


class Period(msgspec.Struct, frozen=True, order=True):
    """[from_ns, to_ns), nanoseconds since 1970, UTC."""

    from_ns: int
    to_ns: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.to_ns - self.from_ns) / 1e9

    @property
    def days(self) -> tuple[datetime.date, datetime.date]:
        """First and last UTC day that it touches."""
        return _date(self.from_ns), _date(self.to_ns - 1)

    @property
    def is_month(self) -> bool:
        """Whether it is exactly one calendar month."""
        start = moment(self.from_ns)
        return self == month(start.year, start.month)

    def cut(self, to_ns: int) -> "Period":
        """Its part before ``to_ns``, in whole minutes; empty where it begins later."""
        end = max(self.from_ns, min(self.to_ns, to_ns // MINUTE_NS * MINUTE_NS))
        return Period(self.from_ns, end)


class PeriodError(ValueError):
    """A period that is none. The text says what to write."""


def moment(ns: int) -> datetime.datetime:
    """The UTC date and time of ``ns``, to the microsecond."""
    return datetime.datetime.fromtimestamp(ns // 1_000_000_000, datetime.UTC).replace(
        microsecond=ns // 1000 % 1_000_000
    )


def iso(ns: int) -> str:
    """``ns`` as ISO 8601 with Z, to the second where it is a whole one."""
    at = moment(ns)
    return at.replace(tzinfo=None).isoformat(timespec="milliseconds" if at.microsecond else "seconds") + "Z"


def _date(ns: int) -> datetime.date:
    return moment(ns).date()


def to_ns(at: datetime.datetime) -> int:
    """Nanoseconds of an aware time, exactly."""
    delta = at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1000


def month(year: int, number: int) -> Period:
    """A calendar month."""
    start = datetime.datetime(year, number, 1, tzinfo=datetime.UTC)
    end = datetime.datetime(year + number // 12, number % 12 + 1, 1, tzinfo=datetime.UTC)
    return Period(to_ns(start), to_ns(end))


def month_of(ns: int) -> Period:
    """The calendar month that ``ns`` lies in."""
    at = moment(ns)
    return month(at.year, at.month)


def year(number: int) -> Period:
    """A calendar year."""
    start = datetime.datetime(number, 1, 1, tzinfo=datetime.UTC)
    return Period(to_ns(start), to_ns(start.replace(year=number + 1)))


def parse_moment(text: str, name: str) -> int:
    """``2026-11``, ``2026-11-22`` or ``2026-11-22T10:00Z``, the start of what it names. Raises PeriodError."""
    if not _FORM.fullmatch(text):
        raise PeriodError(f"{name}={text!r} is no UTC time; write 2026-11, 2026-11-22 or 2026-11-22T10:00Z")
    parts = {7: "-01T00:00Z", 10: "T00:00Z"}
    try:
        at = datetime.datetime.strptime(text + parts.get(len(text), ""), "%Y-%m-%dT%H:%MZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        raise PeriodError(f"{name}={text!r} is no day of the calendar") from None
    if not EARLIEST <= at <= LATEST:
        raise PeriodError(f"{name}={text!r} is outside {EARLIEST.year} to {LATEST.year}")
    return to_ns(at)


def parse(start: str | None, end: str | None, now_ns: int) -> Period:
    """The period of a request. Without ``start`` the running month; without ``end`` the month that ``start`` begins.

    Raises PeriodError for one that is empty, turned round or longer than ``LONGEST_DAYS``.
    """
    if start is None:
        if end is not None:
            raise PeriodError("to stands without from; give both, or neither for the running month")
        return month_of(now_ns)
    from_ns = parse_moment(start, "from")
    if end is None:
        whole = month_of(from_ns)
        if whole.from_ns != from_ns:
            raise PeriodError(f"from={start!r} begins no month, so it needs a to")
        return whole
    to = parse_moment(end, "to")
    if to <= from_ns:
        raise PeriodError(f"to={end!r} is not after from={start!r}; the end is not part of the period")
    if to - from_ns > LONGEST_DAYS * DAY_NS:
        raise PeriodError(f"{start} to {end} is longer than {LONGEST_DAYS} days; ask for a year at a time")
    return Period(from_ns, to)


def year_fraction(period: Period) -> float:
    """The middle of ``period`` in years: 2026.5 for the calendar year 2026."""
    middle = (period.from_ns + period.to_ns) // 2
    whole = year(moment(middle).year)
    return moment(middle).year + (middle - whole.from_ns) / (whole.to_ns - whole.from_ns)
