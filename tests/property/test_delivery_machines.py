"""What delivery rests on, as machines driven by hypothesis: the ring on its disk, the dropping of copies, the counters."""

import itertools
import random
from dataclasses import dataclass, field

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from devices.ring import Ring
from devices.unbatch import head, samples
from devices.wire import encode_batch
from stream.columns import UNKNOWN
from stream.counters import advance
from stream.pipeline import start, step
from stream.state import COUNTER
from tests.disk_world import FaultDisk, opened, sample
from tests.support import fleet, join, readings


@dataclass
class Kept:
    """The readings ``first`` to ``end`` - 1, written as a batch (``frame``) or into the journal."""

    boot: int
    first: int
    end: int
    frame: bytes = b""
    durable: bool = False


class RingMachine(RuleBasedStateMachine):
    """Batches and notes go in, the server confirms, the power goes: what was synced is there, as it was, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = FaultDisk(10, 4096)
        self.rng = random.Random(1)
        self.boot = 0
        self.sealed: list[Kept] = []
        self.noted: list[Kept] = []
        self.confirmed: dict[int, int] = {}
        self.ring: Ring
        self.begin()

    def begin(self) -> None:
        self.ring, self.recovered = opened(self.disk)
        self.boot += 1
        self.first = 0
        self.noted_to = 0

    def readings(self, n: int) -> bytes:
        return encode_batch("truck-01", self.boot, self.first, [sample(self.boot, self.first + i, i) for i in range(n)])

    @rule(n=st.integers(1, 30))
    def seal(self, n: int) -> None:
        if self.ring.free_segments <= 3:
            return  # thinning has tests of its own
        entry = self.ring.append(self.readings(n), 0.0)
        assert entry is not None
        self.sealed.append(Kept(self.boot, entry.first, entry.end, self.ring.read(entry)))
        self.first += n
        self.noted_to = max(self.noted_to, self.first)

    @precondition(lambda self: self.noted_to == self.first)
    @rule(n=st.integers(1, 10))
    def note(self, n: int) -> None:
        if self.ring.note(self.readings(n)):
            self.noted.append(Kept(self.boot, self.first, self.first + n))
            self.noted_to = self.first + n

    @rule()
    def sync(self) -> None:
        self.disk.sync(self.ring.begin_sync())
        self.ring.synced()
        for what in (*self.sealed, *self.noted):
            what.durable = True
        assert all(self.ring.is_durable(entry) for entry in self.ring.entries)

    @rule()
    def sync_fails(self) -> None:
        if self.ring.begin_sync():
            self.ring.sync_failed()
        else:
            self.ring.synced()

    @precondition(lambda self: self.ring.entries)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        entry = data.draw(
            st.sampled_from([e for e in self.ring.entries if self.ring.is_durable(e)] or self.ring.entries)
        )
        if self.ring.is_durable(entry):
            self.ring.confirm(entry.boot_id, entry.end)
            self.confirmed[entry.boot_id] = max(entry.end, self.confirmed.get(entry.boot_id, 0))

    @rule(power=st.booleans(), seed=st.integers(0, 2**32 - 1))
    def ends(self, power: bool, seed: int) -> None:
        if power:
            self.disk = self.disk.cut(random.Random(seed))
        before = (self.sealed, self.noted)
        self.begin()
        held = {(e.boot_id, seq) for e in self.ring.entries for seq in range(e.first, e.end)}
        for what in (*before[0], *before[1]):
            if what.durable or not power:
                wanted = range(max(what.first, self.confirmed.get(what.boot, 0)), what.end)
                assert all((what.boot, seq) in held for seq in wanted), "lost"
        self.confirmed = {
            e.boot_id: self.ring.confirmed(e.boot_id) for e in self.ring.entries
        }  # the last may be forgotten
        frames = {(s.boot, s.first): s.frame for s in before[0]}
        self.sealed, self.noted = [], []
        for entry in self.ring.entries:
            frame = self.ring.read(entry)
            if frame != frames.get((entry.boot_id, entry.first)):
                rows = samples(frame)  # of the journal
                assert [r.values for r in rows] == [
                    sample(entry.boot_id, seq, 0).values for seq in range(entry.first, entry.end)
                ]
            self.sealed.append(Kept(entry.boot_id, entry.first, entry.end, frame, durable=True))

    @invariant()
    def in_order_and_counted(self) -> None:
        ring = self.ring
        assert ring.rows == sum(e.rows for e in ring.entries)
        for a, b in itertools.pairwise(ring.entries):
            assert a.boot_id != b.boot_id or a.end <= b.first
        for entry in ring.entries:
            assert entry.end > self.confirmed.get(entry.boot_id, 0) or entry is not ring.entries[0]
            top = head(ring.read(entry))
            assert (top.boot_id, top.seq0, top.end) == (entry.boot_id, entry.first, entry.end)
        assert 0 <= ring.fill() <= 1


@dataclass
class Plain:
    """What dropping copies means, one row at a time."""

    next: dict[int, int] = field(default_factory=dict)
    waiting: set[tuple[int, int, int]] = field(default_factory=set)
    taken: list[tuple[int, int]] = field(default_factory=list)
    duplicates: int = 0

    def give(self, rows: list[tuple[int, int, int]]) -> None:
        """Rows (boot, first, last)."""
        for row in rows:
            if row in self.waiting or row[2] < self.next.get(row[0], 0):
                self.duplicates += 1
            else:
                self.waiting.add(row)
        found = True
        while found:
            found = False
            for row in sorted(self.waiting):
                if row[1] == self.next.get(row[0], 0):
                    self.waiting.remove(row)
                    self.next[row[0]] = row[2] + 1
                    self.taken.append((row[0], row[2]))
                    found = True


class DedupeMachine(RuleBasedStateMachine):
    """Rows of a few starts come in any order, any number of times, over restarts of the server: each is taken once."""

    BOOTS = (71, 5, 33)

    def __init__(self) -> None:
        super().__init__()
        self.state = start(fleet())
        self.plain = Plain()
        self.taken: list[tuple[int, int]] = []

    @initialize(cuts=st.lists(st.integers(1, 4), min_size=12, max_size=12))
    def rows_are_cut(self, cuts: list[int]) -> None:
        ends = list(itertools.accumulate(cuts))
        self.pieces = [(end - n, end - 1) for end, n in zip(ends, cuts, strict=True)]

    @rule(chosen=st.lists(st.tuples(st.sampled_from(BOOTS), st.integers(0, 11)), min_size=1, max_size=12))
    def arrive(self, chosen: list[tuple[int, int]]) -> None:
        given = [(boot, *self.pieces[i]) for boot, i in chosen]
        parts = []
        for boot, first, last in given:
            part = readings([10_000.0 * boot + last], boot_id=boot, seq0=last, odometer_m=[5.0 * last])
            part["merged"][:] = last - first + 1
            parts.append(part)
        self.plain.give(given)
        self.state, results = step(self.state, join(*parts))
        self.taken += zip(results.readings["boot_id"].tolist(), results.readings["seq"].tolist(), strict=True)
        assert results.waiting == len(self.plain.waiting)

    @rule()
    def the_server_starts_again(self) -> None:
        self.state = start(self.state.fleet, self.state.to_bytes())
        self.plain.waiting.clear()

    @invariant()
    def taken_once_and_in_order(self) -> None:
        assert sorted(self.taken) == sorted(self.plain.taken)
        for boot in self.BOOTS:
            seqs = [seq for b, seq in self.taken if b == boot]
            assert seqs == sorted(set(seqs))


class CounterMachine(RuleBasedStateMachine):
    """A counter that rises, resets, jumps and falls silent: no amount is negative or more than possible, and good ones add up."""

    CAP = 100.0  # per second
    TICK = 5

    def __init__(self) -> None:
        super().__init__()
        self.records = np.zeros(1, COUNTER)
        for name in ("last", "suspect", "ahead"):
            self.records[name] = UNKNOWN
        self.now_ns = 10**18
        self.true = 10**6
        self.booked = 0
        self.expected: int | None = None  # since the last thing that was wrong
        self.seconds = 0.0

    def read(self, value: int, seconds: float) -> int:
        self.now_ns += int(seconds * 1e9)
        self.seconds += seconds
        risen = int(advance(self.records[0], value, self.now_ns, self.CAP, self.TICK, 1))
        assert risen == UNKNOWN or 0 <= risen <= self.CAP * self.seconds + 2 * self.TICK
        if risen != UNKNOWN:
            self.booked += risen
            self.seconds = 0.0
        return risen

    @rule(share=st.floats(0, 1), seconds=st.integers(1, 600))
    def rises(self, share: float, seconds: int) -> None:
        rise = int(share * self.CAP * seconds)
        self.true += rise
        risen = self.read(self.true, seconds)
        if self.expected is None:
            self.expected = self.booked
            return
        self.expected += rise
        assert risen != UNKNOWN
        assert self.booked == self.expected

    @rule(seconds=st.integers(1, 600))
    def is_not_read(self, seconds: int) -> None:
        before = self.records.copy()
        assert self.read(UNKNOWN, seconds) == UNKNOWN
        assert before.tobytes() == self.records.tobytes()

    @rule(value=st.integers(0, 2**40), seconds=st.integers(1, 60))
    def shows_anything(self, value: int, seconds: int) -> None:
        self.read(value, seconds)
        self.true = value
        self.read(value, 1.0)  # a second reading that agrees
        self.read(value, 1.0)
        self.expected = None


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestDedupe = DedupeMachine.TestCase
TestDedupe.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestCounter = CounterMachine.TestCase
TestCounter.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
