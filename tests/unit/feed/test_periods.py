"""Periods are UTC, half-open, and refused when they make no sense."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.feed.periods import Period, PeriodError, iso, moment, month, month_of, parse, to_ns, year, year_fraction

NOW = to_ns(datetime.datetime(2026, 11, 22, 10, 30, tzinfo=datetime.UTC))


def _ns(text: str) -> int:
    return to_ns(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC))


@pytest.mark.parametrize(
    ("start", "end", "want"),
    [
        (None, None, ("2026-11-01", "2026-12-01")),
        ("2026-12", None, ("2026-12-01", "2027-01-01")),
        ("2026-01-05", "2026-01-06", ("2026-01-05", "2026-01-06")),
        ("2026-01-05T10:00Z", "2026-01-05T10:01Z", ("2026-01-05T10:00", "2026-01-05T10:01")),
        ("2024-01", "2025-01", ("2024-01-01", "2025-01-01")),
    ],
)
def test_periods(start: str | None, end: str | None, want: tuple[str, str]) -> None:
    assert parse(start, end, NOW) == Period(_ns(want[0]), _ns(want[1]))


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        (None, "2026-01", "without from"),
        ("2026-01-05", None, "begins no month"),
        ("2026-01-05", "2026-01-05", "is not after"),
        ("2026-02", "2026-01", "is not after"),
        ("2024-01", "2026-01", "longer than"),
        ("2026-02-30", "2026-03-01", "no day"),
        ("2026-13", None, "no day"),
        ("1999-12", None, "outside"),
        ("9999-12", None, "outside"),
        ("2026-01-01T10:00+02:00", "2026-01-02", "no UTC time"),
        ("yesterday", None, "no UTC time"),
        ("٢٠٢٦-01", None, "no UTC time"),
    ],
)
def test_refused(start: str | None, end: str | None, says: str) -> None:
    with pytest.raises(PeriodError, match=says):
        parse(start, end, NOW)


def test_months_and_years() -> None:
    assert month(2026, 12).to_ns == year(2027).from_ns
    assert month_of(NOW).is_month
    assert not Period(NOW, NOW + 1).is_month
    assert year_fraction(year(2026)) == pytest.approx(2026.5, abs=1e-9)
    assert year_fraction(year(2024)) == pytest.approx(2024.5, abs=1e-9)
    assert month(2026, 1).days == (datetime.date(2026, 1, 1), datetime.date(2026, 1, 31))


@given(st.integers(946_684_800_000_000, 7_258_118_400_000_000))
def test_moments_are_exact(us: int) -> None:
    assert to_ns(moment(us * 1000)) == us * 1000


def test_iso_and_cut() -> None:
    assert iso(NOW) == "2026-11-22T10:30:00Z"
    assert iso(NOW + 1_500_000) == "2026-11-22T10:30:00.001Z"
    assert month_of(NOW).cut(NOW + 59 * 10**9).to_ns == NOW
    assert month_of(NOW).cut(0).seconds == 0.0
