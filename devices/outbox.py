"""Readings that are numbered but not in a batch yet, and how readings are thinned where room runs out.

The rows live in memory, each packed to about 0.3 kB. They are few as long as the disk takes what is sealed; while it does
not, they are bounded, and thinned when full, never dropped.
"""

import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
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
BATCH_ROWS: Final = 600  # rows in a batch of thinned readings at most
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
    """Rows in order of seq. At most ``keep_max``: then neighbours are merged, oldest first.

    Merging keeps the later row, adds what it stands for, and carries over a cumulative counter that the later row lacks, so
    counters stay exact.
    """

    __slots__ = ("_keep_max", "_names", "_rows", "numbered", "thinned")

    def __init__(self, keep_max: int) -> None:
        if keep_max < KEEP_LEAST:
            raise ValueError(f"keep_max {keep_max} is below {KEEP_LEAST}")
        self._keep_max = keep_max
        self._rows: list[Row] = []
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.numbered = 0  # readings numbered = the next seq
        self.thinned = 0  # readings that lost their own row

    def __len__(self) -> int:
        """Rows kept."""
        return len(self._rows)

    @property
    def first(self) -> int:
        """Seq of the oldest reading kept; ``numbered`` if there is none."""
        return self._rows[0].first if self._rows else self.numbered

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

    def accepted_s(self, seq: int = 0) -> float:
        """When the first row with a reading from ``seq`` on was taken, monotonic s; inf if there is none."""
        at = bisect_left(self._rows, seq, key=_last)
        return self._rows[at].accepted_s if at < len(self._rows) else inf

    def take(self, rows_max: int, *, seq: int = 0, before_s: float = inf) -> Batch:
        """The rows with a reading from ``seq`` on: at most ``rows_max``, and only those taken before ``before_s``.

        The first of them is given in any case, and all stay kept. IndexError if there is none.
        """
        at = bisect_left(self._rows, seq, key=_last)
        rows = self._rows[at : at + rows_max]
        rows = rows[: max(1, bisect_left(rows, before_s, key=_accepted))]
        return Batch(rows[0].first, rows[-1].last + 1, rows[0].accepted_s, [row.sample() for row in rows])

    def drop(self, end: int) -> None:
        """Forget the rows wholly below ``end``."""
        del self._rows[: bisect_left(self._rows, end, key=_last)]

    def _row(self, first: int, last: int, time_ns: int, accepted_s: float, values: Mapping[str, float]) -> Row:
        names = tuple(values)
        if len(self._names) < NAME_SETS_MAX:
            names = self._names.setdefault(names, names)
        return Row(first, last, time_ns, accepted_s, names, struct.pack(f"<{len(names)}d", *values.values()))

    def _thin(self) -> int:
        """Free a part of the room: merge the neighbours that stand for the fewest readings, the oldest of them first."""
        rows = self._rows
        wanted = len(rows) - max(1, self._keep_max // THIN_PART)
        before = len(rows)
        most = 2  # readings that a merged row may stand for
        while len(rows) > wanted:
            rows = self._thinner(rows, most, len(rows) - wanted)
            most *= 2
        self._rows = rows
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
        values = _carried(early.values()) | late.values()
        return self._row(early.first, late.last, late.time_ns, late.accepted_s, values)


def thinned(samples: Sequence[Sample], span_ns: int) -> list[Sample]:
    """``samples`` with the rows of each ``span_ns`` [ns] merged into one, or of ten times that, until at most half are left.

    A merged row is the last of its span, stands for all of them, and has each counter's newest value.
    """
    most = min(max(1, len(samples) // 2), BATCH_ROWS)
    while True:
        rows = list(_merged(samples, span_ns))
        if len(rows) <= most:
            return rows
        span_ns *= 10


def _merged(samples: Sequence[Sample], span_ns: int) -> Iterator[Sample]:
    made: Sample | None = None
    begin = 0
    for late in samples:
        if made is not None and abs(late.time_ns - begin) < span_ns:
            made = Sample(late.time_ns, _carried(made.values) | late.values, made.merged + late.merged)
            continue
        if made is not None:
            yield made
        made, begin = Sample(late.time_ns, dict(late.values), late.merged), late.time_ns
    if made is not None:
        yield made


def _carried(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name in CUMULATIVE}


def _last(row: Row) -> int:
    return row.last


def _accepted(row: Row) -> float:
    return row.accepted_s
