"""Recorded meter series as power over intervals; what a stamp marks, and its time zone, is always said."""

import itertools
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class MeterSeries:
    """Energy of intervals of ``interval_s`` seconds that begin at ``start_s`` (rising, seconds since 1970 UTC).

    ``repeated`` rows had the interval of an earlier one and were left out; ``missing`` intervals lie between others.
    """

    interval_s: int
    start_s: tuple[int, ...]
    kwh: tuple[float, ...]
    repeated: int

    @property
    def missing(self) -> int:
        """Intervals without a row between the first and the last."""
        return (self.start_s[-1] - self.start_s[0]) // self.interval_s + 1 - len(self.start_s)

    def power_kw(self, at_s: int) -> tuple[float, int]:
        """Mean power of the interval that holds ``at_s``, and where it ends; a missing interval repeats the one before.

        ValueError outside the series.
        """
        i = bisect_right(self.start_s, at_s) - 1
        end = self.start_s[i] + self.interval_s
        if i < 0 or (i + 1 == len(self.start_s) and at_s >= end):
            first, last = self.start_s[0], self.start_s[-1] + self.interval_s
            raise ValueError(f"second {at_s} is outside the recording, which covers {first} to {last}")
        if at_s >= end:
            end = self.start_s[i + 1]
        return self.kwh[i] * 3600.0 / self.interval_s, end


def series(
    rows: Iterable[tuple[datetime, float]],
    *,
    interval_s: int,
    stamp: Literal["start", "end"],
    zone: str | None = None,
    midnight_last: bool = False,
) -> MeterSeries:
    """Series of (stamp, kWh) rows in file order.

    ``zone`` is the time zone of stamps that tell none and must not be given for stamps that do. A naive stamp that
    comes a second time is the second hour of an autumn change of clocks where there is one. ``midnight_last``: each
    day's 00:00 row comes after its 23:45 row under the date of that day, and ends at the midnight that ends the day.
    ValueError says what does not fit.
    """
    try:
        clock = ZoneInfo(zone) if zone else None
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"no time zone {zone!r} is known here") from error
    found: dict[int, float] = {}
    repeated = 0
    before: datetime | None = None
    for when, kwh in rows:
        if (when.tzinfo is None) != (clock is not None):
            raise ValueError(
                f"{when.isoformat()} {'has no time zone: say which' if clock is None else f'tells its own, not {zone}'}"
            )
        wall = when
        if midnight_last and before is not None and when < before and when.time() == datetime.min.time():
            wall = when + DAY
        before = when
        start = _start_s(wall, clock, 0, interval_s, stamp)
        if start in found and clock is not None:
            start = _start_s(wall, clock, 1, interval_s, stamp)
        if start in found:
            repeated += 1
        elif not kwh >= 0:
            raise ValueError(f"{when.isoformat()} has {kwh} kWh")
        else:
            found[start] = kwh
    if not found:
        raise ValueError("no rows")
    starts = sorted(found)
    for a, b in itertools.pairwise(starts):
        if (b - a) % interval_s:
            raise ValueError(f"intervals of {interval_s} s cannot begin at {a} and {b}")
    return MeterSeries(interval_s, tuple(starts), tuple(found[s] for s in starts), repeated)


def _start_s(when: datetime, clock: ZoneInfo | None, fold: int, interval_s: int, stamp: str) -> int:
    aware = when if clock is None else when.replace(tzinfo=clock, fold=fold)
    since = aware - _EPOCH
    return since.days * 86_400 + since.seconds - (interval_s if stamp == "end" else 0)


def read_parquet(
    path: Path,
    *,
    time: str,
    value: str,
    interval_s: int,
    stamp: Literal["start", "end"],
    zone: str | None = None,
    midnight_last: bool = False,
) -> MeterSeries:
    """Series of two columns of a Parquet file; times may be ISO 8601 text. ValueError names the file. Needs pyarrow."""
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for column in (time, value):
        if column not in table.column_names:
            raise ValueError(f"{path}: no column {column!r}; it has {', '.join(table.column_names)}")
    stamps = [t if isinstance(t, datetime) else datetime.fromisoformat(t) for t in table[time].to_pylist()]
    try:
        rows = zip(stamps, table[value].to_pylist(), strict=True)
        return series(rows, interval_s=interval_s, stamp=stamp, zone=zone, midnight_last=midnight_last)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
