"""Several sources of one device, joined by time onto one sample clock. Pure: the times of the samples drive it."""

from collections.abc import Mapping
from typing import NamedTuple

from devices.wire import Sample


class _Held(NamedTuple):
    value: float
    time_ns: int
    source: int


class Joiner:
    """Joins readings into cells of ``sample_s`` [s]; a value is repeated for at most ``hold_s`` [s], by its own age.

    ``hold_by_signal`` [s] stands instead of ``hold_s`` for its signals, such as weights that are told only when they change.
    Where two sources give the same signal, the one listed first is believed while its value is not too old. A joined
    reading has the time of its newest value. A step of the clock back by more than ``hold_s`` forgets what was held.
    """

    __slots__ = ("_cell", "_dirty", "_held", "_hold_by", "_hold_ns", "_newest_ns", "_period_ns")

    def __init__(self, *, sample_s: float, hold_s: float, hold_by_signal: Mapping[str, float] | None = None) -> None:
        self._period_ns = max(1, round(sample_s * 1e9))
        self._hold_ns = round(hold_s * 1e9)
        self._hold_by = {name: round(seconds * 1e9) for name, seconds in (hold_by_signal or {}).items()}
        self._held: dict[str, _Held] = {}
        self._cell = 0
        self._newest_ns = 0
        self._dirty = False

    def on_sample(self, source: int, sample: Sample) -> list[Sample]:
        """Take a reading of the ``source`` listed at that place; gives the joined readings it completes, 0 or 1."""
        done: list[Sample] = []
        cell = sample.time_ns // self._period_ns
        stepped_back = sample.time_ns < self._newest_ns - self._hold_ns - self._period_ns
        if stepped_back or cell > self._cell:
            done = self.flush()
            if stepped_back:
                self._held.clear()
            self._cell = cell
            self._newest_ns = sample.time_ns
        self._newest_ns = max(self._newest_ns, sample.time_ns)
        self._dirty = self._dirty or cell == self._cell
        for name, value in sample.values.items():
            old = self._held.get(name)
            if old is None or self._replaces(name, sample.time_ns, source, old):
                self._held[name] = _Held(value, sample.time_ns, source)
        return done

    def flush(self) -> list[Sample]:
        """The reading of the cell in work, if anything came for it since the last."""
        if not self._dirty:
            return []
        self._dirty = False
        newest, by, hold = self._newest_ns, self._hold_by, self._hold_ns
        self._held = {n: held for n, held in self._held.items() if newest - held.time_ns <= by.get(n, hold)}
        return [Sample(self._newest_ns, {name: held.value for name, held in self._held.items()})]

    def _replaces(self, name: str, time_ns: int, source: int, old: _Held) -> bool:
        if source == old.source:
            return time_ns >= old.time_ns
        return source < old.source or time_ns - old.time_ns > self._hold_by.get(name, self._hold_ns)
