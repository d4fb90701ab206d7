"""Readings on their way onto the disk: numbered, kept open in memory, noted in the journal, sealed into batches.

Sans-I/O apart from the ring's writes, which do not wait: what must be waited for is a ``Sync`` action.
"""

from collections.abc import Sequence
from math import inf
from typing import Final

from devices.actions import Action, Say, Sync
from devices.clock import ClockLog, ClockState, coarse
from devices.config import GatewayConfig
from devices.counters import Counters
from devices.disk import SEGMENTS_LEAST, MemoryDisk
from devices.envelope import Sign
from devices.outbox import Outbox
from devices.ring import Ring
from devices.wire import MAX_READINGS, Sample, encode_batch

DISK_RETRY_MOST_S: Final = 60.0  # ceiling of the wait after the disk refused; begins at 1 s and doubles
NO_ROOM_S: Final = 1.0  # a ring without room is asked again so often
MEMORY_MIB: Final = 16  # an outbox in memory, at most: a quarter of a gateway's memory, two weeks at 1 Hz


def memory_ring(config: GatewayConfig, sign: Sign | None = None) -> Ring:
    """An outbox that ends with its process."""
    size = config.outbox.segment_kib * 1024
    segments = max(SEGMENTS_LEAST, min(config.outbox.max_mib, MEMORY_MIB) * 2**20 // size)
    return Ring(MemoryDisk(segments, size), device=config.device, tenant=config.tenant, sign=sign)


class Once:
    """What a person was told and what has not been mended since, so that it is not said again and again."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, event: str, detail: str) -> list[Action]:
        """Say it unless it stands already."""
        if event in self._said:
            return []
        self._said.add(event)
        return [Say(event, detail)]

    def mended(self, *events: str) -> None:
        """It may be said again."""
        self._said.difference_update(events)


class Store:
    """The readings of one start, and the ring they go to. ``config`` may be changed; ``durable_seq``: below it all is on the disk."""

    def __init__(self, config: GatewayConfig, boot_id: int, ring: Ring, counters: Counters, once: Once) -> None:
        self.config = config
        self.ring = ring
        self.open = Outbox(config.keep_max_readings)  # readings that are in no batch yet
        self.durable_seq = 0
        self.clock = ClockState("none" if config.clock == "auto" else config.clock, config.clock_error_ms)
        self._clocks = ClockLog(self.clock)
        self._boot_id = boot_id
        self._counters = counters
        self._once = once
        self._noted = 0  # readings below it are in the journal or in a batch
        self._syncing_seq = 0
        self._counted = 0  # of the ring's thinned
        self._failures = 0
        self.retry_at = -inf  # the disk is left alone until then

    @property
    def rows(self) -> int:
        """Rows that wait for confirmation."""
        return len(self.open) + self.ring.rows

    @property
    def thinned(self) -> int:
        """Readings that lost their own row."""
        return self.open.thinned + self.ring.thinned

    @property
    def settled(self) -> bool:
        """Whether every reading is in a batch on the disk, or confirmed."""
        return not len(self.open) and not self.ring.dirty and not self.ring.syncing

    def on_clock(self, state: ClockState) -> None:
        """What the readings to come are dated with; those taken before keep what they had."""
        self.clock = coarse(state)
        self._clocks.note(self.open.numbered, self.clock)

    def append(self, sample: Sample, values: dict[str, float], now: float) -> list[Action]:
        """Number a reading and keep it open."""
        thinned = self.open.append(sample.time_ns, values, now)
        self._counters.add("readings_numbered")
        return self._count_thinned(thinned)

    def write_at(self, *, ending: bool) -> float:
        """When something must be sealed, noted or synced, whatever the link does. ``ending``: no more readings come."""
        if self.ring.syncing:
            return inf
        if self.ring.dirty or self.must_seal(ending=ending):
            return self.retry_at
        if self.ring.volatile:
            return inf
        return max(self.open.accepted_s(self._noted) + self.config.outbox.commit_s, self.retry_at)

    def must_seal(self, *, ending: bool) -> bool:
        """Whether a batch is full, or the last one."""
        return self._full or (ending and len(self.open) > 0)

    @property
    def _full(self) -> bool:
        return len(self.open) >= min(self.config.batch_max, self.config.keep_max_readings)

    def seal(self, now: float, cursor: int) -> list[Action]:
        """Make a batch of the oldest open readings and write it. Unless it is full, old ones and young ones do not share it.

        ``cursor``: batches of the ring before it are on their way and stay as they are.
        """
        old_before = now - 2 * self.config.batch_s
        before_s = old_before if not self._full and self.open.accepted_s() < old_before else inf
        rows = self.config.batch_max
        try:
            while True:
                batch = self.open.take(rows, before_s=before_s)
                frame = self._encode(batch.seq0, batch.end, batch.samples)
                if len(frame) <= self.ring.largest or len(batch.samples) == 1:
                    break
                rows = len(batch.samples) // 2
            entry = self.ring.append(frame, batch.accepted_s, cursor=cursor)
        except OSError as error:
            return self._refused(str(error), now)
        if entry is None:
            self.retry_at = now + NO_ROOM_S
            return self._once.say("outbox_full", "the outbox has no room; readings stay in memory and are merged")
        self.open.drop(batch.end)
        self._clocks.forget(batch.end)
        self._noted = max(self._noted, batch.end)
        return self._count_thinned(0)

    def commit(self, now: float, cursor: int, *, ending: bool) -> list[Action]:
        """Have the disk keep what was written, and every ``commit_s`` the readings that are in no batch yet."""
        if now < self.write_at(ending=ending) or self.ring.volatile:
            return []
        said: list[Action] = []
        try:
            if self.open.accepted_s(self._noted) + self.config.outbox.commit_s <= now:
                batch = self.open.take(MAX_READINGS, seq=self._noted)
                if self.ring.note(self._encode(batch.seq0, batch.end, batch.samples)):
                    self._noted = batch.end
                else:
                    said = self.seal(now, cursor)
            files = tuple(self.ring.begin_sync())
        except OSError as error:
            return [*said, *self._refused(str(error), now)]
        if not files:
            self.ring.synced()
            return said
        self._syncing_seq = max(self._noted, self.open.first)
        return [*said, Sync(files)]

    def on_synced(self) -> None:
        """The disk has done what ``Sync`` asked for."""
        self.ring.synced()
        self._counters.add("outbox_commits")
        self.durable_seq = self._syncing_seq
        self._failures, self.retry_at = 0, -inf
        self._once.mended("outbox_refused")
        entries = self.ring.entries
        if self._noted <= self.open.first and (not entries or self.ring.is_durable(entries[-1])):
            self.ring.forget_journal()

    def on_sync_failed(self, reason: str, now: float) -> list[Action]:
        """The disk has not; it is asked again."""
        self.ring.sync_failed()
        return self._refused(reason, now)

    def _refused(self, reason: str, now: float) -> list[Action]:
        self._counters.add("outbox_refused")
        self.retry_at = now + min(DISK_RETRY_MOST_S, 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        return self._once.say("outbox_refused", f"{reason}; readings stay in memory until the disk takes them")

    def _encode(self, seq0: int, end: int, rows: Sequence[Sample]) -> bytes:
        """1,000 readings of noise in every signal stay far below the packet limit."""
        clock = self._clocks.over(seq0, end)
        return encode_batch(
            self.config.device, self._boot_id, seq0, rows, clock_source=clock.source, clock_error_ms=clock.error_ms
        )

    def _count_thinned(self, more: int) -> list[Action]:
        more += self.ring.thinned - self._counted
        self._counted = self.ring.thinned
        if self.ring.damaged:
            self._counters.add("outbox_damaged", self.ring.damaged)
            self.ring.damaged = 0
        if not more:
            return []
        self._counters.add("readings_thinned", more)
        return self._once.say("outbox_full", f"{self.rows} rows are unconfirmed; the oldest are merged from now on")
