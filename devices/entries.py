"""What the ring knows of its batches: one entry each, what a start found, and which readings are held."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from devices.counters import CounterName
from devices.unbatch import head, samples
from devices.wire import ClockSource, Sample


class DamagedError(Exception):
    """A batch that cannot be read again."""


@dataclass(slots=True, eq=False)
class Entry:
    """A batch that is not confirmed: the readings ``first`` to ``end`` - 1 of a boot. ``accepted_s`` -inf: of an earlier boot."""

    boot_id: int
    first: int
    end: int
    rows: int
    time_ns: int
    file: int
    offset: int
    length: int
    accepted_s: float
    mark: int  # the sync that makes it durable
    level: int = 0  # how often its readings were thinned
    sent: bool = False
    confirmed: bool = False


@dataclass(slots=True)
class Recovered:
    """What a start found. Counts of batches and of readings; ``torn`` of files whose last record was cut off."""

    batches: int = 0
    readings: int = 0
    journal: int = 0  # readings that came from the journal
    damaged: int = 0
    torn: int = 0
    dropped: int = 0  # readings of the oldest starts, given up because there was no room at all

    @property
    def faults(self) -> list[tuple[CounterName, int]]:
        """What went wrong, by counter."""
        found: list[tuple[CounterName, int]] = [
            ("outbox_damaged", self.damaged),
            ("outbox_torn", self.torn),
            ("outbox_dropped", self.dropped),
        ]
        return [(name, n) for name, n in found if n]


def entry_of(frame: bytes, file: int, offset: int, level: int) -> Entry | None:
    """The entry of a batch that lies at ``offset`` of ``file``; None if it is none."""
    try:
        top = head(frame)
    except ValueError:
        return None
    return Entry(top.boot_id, top.seq0, top.end, top.n, top.t0_ns, file, offset, len(frame), -inf, 0, level)


def clock_of(frame: bytes) -> tuple[int, ClockSource, int]:
    """Boot, clock source and bound on its error [ms]: what readings of one batch have in common."""
    top = head(frame)
    return top.boot_id, top.clock_source, top.clock_error_ms


def runs(frames: Iterable[bytes], held: "Ranges") -> list[tuple[int, list[Sample]]]:
    """(number of the first reading, rows) of each unbroken run of readings that are not ``held``, which takes them in.

    A damaged record leaves a gap. Rows are held from their end on: batches end where rows do.
    """
    found: list[tuple[int, list[Sample]]] = []
    end = 0
    for frame in frames:
        seq = head(frame).seq0
        for row in samples(frame):
            seq += row.merged
            first = held.free_from(seq - row.merged, seq)
            if first >= seq:
                continue
            if not found or first != end:
                found.append((first, []))
            found[-1][1].append(Sample(row.time_ns, row.values, seq - first))
            held.add(first, seq)
            end = seq
    return found


class Ranges:
    """Readings held, as ranges that do not touch."""

    __slots__ = ("_ends", "_firsts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []

    def free_from(self, first: int, end: int) -> int:
        """Where the readings begin that are not held and reach up to ``end`` - 1, not before ``first``; ``end`` if that one is held."""
        at = bisect_right(self._firsts, end - 1) - 1
        return first if at < 0 else min(end, max(first, self._ends[at]))

    def add(self, first: int, end: int) -> bool:
        """Add ``first`` to ``end`` - 1; False if all of them are held."""
        at = bisect_right(self._firsts, first) - 1
        if at >= 0 and self._ends[at] >= end:
            return False
        low = at if at >= 0 and self._ends[at] >= first else at + 1
        high = bisect_right(self._firsts, end)
        if low < high:
            first, end = min(first, self._firsts[low]), max(end, self._ends[high - 1])
        self._firsts[low:high], self._ends[low:high] = [first], [end]
        return True
