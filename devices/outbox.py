"""Readings kept until the server has confirmed them: numbered, bounded, thinned when full, never dropped.

The rows live in memory, each packed to about 0.3 kB, so that the default of 60,000 (17 h at 1 Hz) fits a Raspberry Pi.
"""

import struct
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from devices.signals import SIGNALS
from devices.wire import Sample

KEEP_LEAST: Final = 16  # rows; fewer leave nothing to merge
NAME_SETS_MAX: Final = 1000  # sets of names kept once; a source has a few, more would be a leak
THIN_PART: Final = (
    16  # a full outbox thins this part of itself at a time: rarely enough to be cheap, little enough to be even
)
CUMULATIVE: Final = frozenset(
    s.name
    for s in SIGNALS
    if "_total" in s.name
    or s.name in ("odometer_m", "grid_import_kwh", "grid_export_kwh", "pv_kwh", "forklift_kwh", "gas_kwh_gross")
)


class Row(NamedTuple):
    """One row: it stands for the readings ``first`` to ``last`` and holds the values of ``last``."""

    first: int
    last: int
    time_ns: int
    accepted_s: float
    names: tuple[str, ...]
    packed: bytes

    def sample(self) -> Sample:
        """The row as the wire takes it."""
        return Sample(self.time_ns, self.values(), self.last - self.first + 1)

    def values(self) -> dict[str, float]:
        """Values by signal."""
        return dict(zip(self.names, struct.unpack(f"<{len(self.names)}d", self.packed), strict=True))


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows: the readings ``seq0`` to ``end`` - 1. ``accepted_s`` is the monotonic time of the oldest."""

    seq0: int
    end: int
    accepted_s: float
    samples: Sequence[Sample]


class Outbox:
    """Rows in order of seq. At most ``keep_max``: then neighbours that were never sent are merged, oldest first.

    Merging keeps the later row, adds what it stands for, and carries over a cumulative counter that the later row lacks, so
    counters stay exact. A row that was sent is never merged, because the server may have stored it already; so that there is
    always something to merge, only the older half of the room is handed out before the server confirms.
    """

    __slots__ = ("_keep_max", "_names", "_rows", "confirmed", "numbered", "sent_end", "thinned")

    def __init__(self, keep_max: int) -> None:
        if keep_max < KEEP_LEAST:
            raise ValueError(f"keep_max {keep_max} is below {KEEP_LEAST}")
        self._keep_max = keep_max
        self._rows: list[Row] = []
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.numbered = 0  # readings numbered = the next seq
        self.confirmed = 0  # readings the server has confirmed = its next
        self.sent_end = 0  # one above the highest seq ever handed out
        self.thinned = 0  # readings that lost their own row

    def __len__(self) -> int:
        """Rows kept."""
        return len(self._rows)

    @property
    def oldest_ns(self) -> int | None:
        """Time of the oldest row kept."""
        return self._rows[0].time_ns if self._rows else None

    def append(self, time_ns: int, values: Mapping[str, float], now: float) -> int:
        """Number a reading and keep it. Gives how many readings were merged away to make room."""
        lost = self._thin() if len(self._rows) >= self._keep_max else 0
        self._rows.append(self._row(self.numbered, self.numbered, time_ns, now, values))
        self.numbered += 1
        return lost

    def confirm(self, next_seq: int) -> int:
        """Drop the rows that lie wholly below ``next_seq``; gives how many readings became confirmed."""
        gained = max(0, next_seq - self.confirmed)
        self.confirmed += gained
        del self._rows[: bisect_left(self._rows, next_seq, key=_last)]
        return gained

    def pending(self, cursor: int) -> int:
        """Rows from ``cursor`` on that may be handed out."""
        return max(0, min(len(self._rows), self._keep_max // 2) - self._index(cursor))

    def accepted_s(self, cursor: int) -> float:
        """When the row at ``cursor`` was taken, monotonic s; IndexError if there is none."""
        return self._rows[self._index(cursor)].accepted_s

    def take(self, cursor: int, rows_max: int, *, before_s: float = inf) -> Batch:
        """Hand out the rows from ``cursor`` on: at most ``rows_max`` of those pending, and only those taken before ``before_s``.

        The first of them is handed out in any case. IndexError if nothing is pending.
        """
        at = self._index(cursor)
        rows = self._rows[at : at + min(rows_max, self.pending(cursor))]
        rows = rows[: max(1, bisect_left(rows, before_s, key=_accepted))]
        self.sent_end = max(self.sent_end, rows[-1].last + 1)
        return Batch(rows[0].first, rows[-1].last + 1, rows[0].accepted_s, [row.sample() for row in rows])

    def _index(self, cursor: int) -> int:
        return bisect_left(self._rows, cursor, key=_last)

    def _row(self, first: int, last: int, time_ns: int, accepted_s: float, values: Mapping[str, float]) -> Row:
        names = tuple(values)
        if len(self._names) < NAME_SETS_MAX:
            names = self._names.setdefault(names, names)
        return Row(first, last, time_ns, accepted_s, names, struct.pack(f"<{len(names)}d", *values.values()))

    def _thin(self) -> int:
        """Free a part of the room: merge the neighbours that stand for the fewest readings, the oldest of them first."""
        at = self._index(self.sent_end)
        rows = self._rows[at:]
        wanted = len(rows) - max(1, self._keep_max // THIN_PART)
        before = len(rows)
        most = 2  # readings that a merged row may stand for
        while len(rows) > wanted:
            rows = self._thinner(rows, most, len(rows) - wanted)
            most *= 2
        self._rows[at:] = rows
        self.thinned += before - len(rows)
        return before - len(rows)

    def _thinner(self, rows: list[Row], most: int, pairs: int) -> list[Row]:
        """``rows`` with at most ``pairs`` pairs merged, none into a row of more than ``most`` readings."""
        out: list[Row] = []
        i = 0
        while i < len(rows) - 1 and pairs:
            if rows[i + 1].last - rows[i].first < most:
                out.append(self._merge(rows[i], rows[i + 1]))
                i, pairs = i + 2, pairs - 1
            else:
                out.append(rows[i])
                i += 1
        return out + rows[i:]

    def _merge(self, early: Row, late: Row) -> Row:
        carried = {name: value for name, value in early.values().items() if name in CUMULATIVE}
        return self._row(early.first, late.last, late.time_ns, late.accepted_s, carried | late.values())


def _last(row: Row) -> int:
    return row.last


def _accepted(row: Row) -> float:
    return row.accepted_s
