"""From samples of several sources to readings that can be numbered: dated, joined, watched. Pure; no tasks.

While the clock is not known, samples wait in the order they came and are dated when it is. A date that a source gave
itself stays as it is, but keeps its place in the order.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from devices.clock import ClockState, Timekeeper, is_dated
from devices.config import GatewayConfig
from devices.counters import Counters
from devices.outbox import CUMULATIVE
from devices.source_join import Joiner
from devices.still import StillSignals
from devices.wire import Sample

WAITING_MAX: Final = 20_000  # undated samples, about 0.5 kB each: an hour and more of five sources at 1 Hz


@dataclass(slots=True)
class SourceFigures:
    """One source so far. Times are monotonic s, None = never; ``error`` is blank once it gives samples again."""

    name: str
    samples: int = 0
    sample_at: float | None = None
    error: str = ""
    error_at: float | None = None


class _Waiting(NamedTuple):
    source: int
    sample: Sample
    weight: int = 1  # samples it stands for


class Intake:
    """Takes samples by the place of their source in ``names``; gives readings in the order they are to be numbered."""

    def __init__(
        self,
        config: GatewayConfig,
        names: Sequence[str],
        *,
        clock: Timekeeper | None,
        counters: Counters,
        on_stuck: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.sources = tuple(SourceFigures(name) for name in names)
        self._joiner = (
            Joiner(sample_s=config.sample_s, hold_s=config.hold_s, hold_by_signal=config.hold)
            if len(names) > 1
            else None
        )
        self._still = StillSignals(config.stuck_s)
        self._clock = clock
        self._counters = counters
        self._on_stuck = on_stuck
        self._waiting: list[_Waiting] = []
        self._waiting_since: float | None = None
        self._cell_since: float | None = None

    @property
    def held_since(self) -> float | None:
        """When the oldest sample was taken that is in no reading yet, monotonic s; None if there is none."""
        since = [s for s in (self._waiting_since, self._cell_since) if s is not None]
        return min(since, default=None)

    @property
    def waiting(self) -> int:
        """Samples that wait for the clock."""
        return len(self._waiting)

    @property
    def stuck(self) -> tuple[str, ...]:
        """Signals that stand still although others say they must move."""
        return self._still.named

    @property
    def missing(self) -> tuple[str, ...]:
        """Sources that have a fault and have given nothing since."""
        return tuple(s.name for s in self.sources if s.error)

    def on_sample(self, index: int, sample: Sample, now: float) -> list[Sample]:
        """Readings that a sample of the source at ``index`` completes; ``now`` is monotonic s."""
        source = self.sources[index]
        source.samples += 1
        source.sample_at, source.error = now, ""
        clock = self._clock
        if clock is None:
            return self._joined_at(now, [(index, sample)])
        if not clock.known and (self._waiting or not is_dated(sample.time_ns)):
            self._waiting.append(_Waiting(index, sample))
            self._waiting_since = now if self._waiting_since is None else self._waiting_since
            if len(self._waiting) > WAITING_MAX:
                self._thin()
            return []
        return [*self.on_clock(), *self._joined_at(now, [(index, clock.dated(sample))])]

    def on_clock(self) -> list[Sample]:
        """Readings that waited for the clock, if it is known now."""
        if self._clock is None or not self._clock.known or not self._waiting:
            return []
        dated = [(w.source, self._clock.dated(w.sample)) for w in self._waiting]
        self._waiting.clear()
        since, self._waiting_since = self._waiting_since, None
        return self._joined_at(since or 0.0, dated)

    def on_fault(self, index: int, error: str, now: float) -> None:
        """The source at ``index`` failed."""
        self.sources[index].error, self.sources[index].error_at = error, now

    def clock_state(self, of_ns: int | None = None) -> ClockState | None:
        """What a reading of ``of_ns`` UTC is dated with, or one of now; None if the configuration says it."""
        return None if self._clock is None else self._clock.state(of_ns)

    def flush(self) -> list[Sample]:
        """The joined reading in work, when no more will come."""
        self._cell_since = None
        return [] if self._joiner is None else self._watch(self._joiner.flush())

    def _joined_at(self, now: float, samples: list[tuple[int, Sample]]) -> list[Sample]:
        done = self._join(samples)
        if self._joiner is not None and (done or self._cell_since is None):
            self._cell_since = now
        return done

    def _join(self, samples: Iterable[tuple[int, Sample]]) -> list[Sample]:
        if self._joiner is None:
            return self._watch([sample for _, sample in samples])
        return self._watch([done for index, sample in samples for done in self._joiner.on_sample(index, sample)])

    def _watch(self, readings: list[Sample]) -> list[Sample]:
        for reading in readings:
            for signal in self._still.on_reading(reading):
                self._on_stuck(signal)
        return readings

    def _thin(self) -> None:
        """Join neighbours of one source, first those that stand for few samples: so the resolution sinks evenly."""
        weights = sorted(waiting.weight for waiting in self._waiting)
        gone = self._join_light(weights[len(weights) // 2]) or self._join_light(weights[-1])
        self._counters.add("readings_undated_lost", len(gone))
        self._waiting = [waiting for place, waiting in enumerate(self._waiting) if place not in gone]

    def _join_light(self, few: int) -> set[int]:
        """Places whose samples went over to the next one of their source: the later keeps its time, and gains counters it lacks."""
        gone: set[int] = set()
        last: dict[int, int] = {}  # source: place of a row that the next one may take in
        for place, late in enumerate(self._waiting):
            before = last.pop(late.source, None)
            if late.weight > few:
                continue
            if before is None:
                last[late.source] = place
                continue
            early = self._waiting[before]
            carried = {name: value for name, value in early.sample.values.items() if name in CUMULATIVE}
            joined = Sample(late.sample.time_ns, carried | late.sample.values)
            self._waiting[place] = _Waiting(late.source, joined, early.weight + late.weight)
            gone.add(before)
        return gone
