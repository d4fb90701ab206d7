"""Delivery without sockets: the core in a small seeded world, and each rule alone."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count, pairwise

import msgspec
import numpy as np
import pytest

from devices.actions import Action, Connect, Drop, Publish, Say
from devices.config import Broker, GatewayConfig
from devices.core import GatewayCore
from devices.counters import Counters
from devices.disk import MemoryDisk
from devices.ring import Ring
from devices.signals import SIGNALS
from devices.wire import MAX_PACKET_BYTES, Ack, GatewayState, Sample
from ingest.decode import Message, decode

BOOT = 77
START_NS = 1_700_000_000_000_000_000
READINGS = "fleet/v1/acme/truck-01/up/readings"


def config(**changes: object) -> GatewayConfig:
    base = GatewayConfig(device="truck-01", tenant="acme", broker=Broker(host="broker"))
    return msgspec.structs.replace(base, **changes)


def core_with(counters: Counters | None = None, **changes: object) -> GatewayCore:
    return GatewayCore(
        config(**changes), boot_id=BOOT, rng=random.Random(1), counters=counters or Counters(), sources=("can",)
    )


def sample(i: int, **values: float) -> Sample:
    return Sample(START_NS + i * 1_000_000_000, values or {"odometer_m": float(i)})


def batches(actions: list[Action]) -> list[Publish]:
    return [a for a in actions if isinstance(a, Publish) and a.topic == READINGS]


def rows(*published: Publish) -> dict[str, np.ndarray]:
    messages = [Message(p.topic, p.payload, START_NS + 10**18) for p in published]
    decoded = decode(messages, {"truck-01": 0}, ["acme"], earliest_ns=0)
    assert not decoded.rejected
    assert not decoded.bad_rows
    return decoded.columns


def seqs(*published: Publish) -> list[int]:
    return [int(s) for s in rows(*published)["seq"]] if published else []


def ack(next_seq: int, boot_id: int = BOOT) -> bytes:
    return msgspec.json.encode(Ack(boot_id, next_seq))


def connected_core(counters: Counters | None = None, **changes: object) -> GatewayCore:
    core = core_with(counters, **changes)
    core.on_connected(0.0)
    return core


def test_birth_is_retained_and_the_will_has_the_same_boot() -> None:
    core = core_with()
    (birth,) = core.on_connected(0.0)
    assert isinstance(birth, Publish)
    assert birth.retain
    assert birth.topic == "fleet/v1/acme/truck-01/up/state"
    born = msgspec.json.decode(birth.payload, type=GatewayState)
    will = msgspec.json.decode(core.will(), type=GatewayState)
    assert (born.status, will.status) == ("online", "offline")
    assert (born.is_will, will.is_will) == (False, True)
    assert born.boot_id == will.boot_id == BOOT
    assert born.sources == ("can",)


def test_birth_tells_what_is_kept() -> None:
    core = core_with()
    for i in range(3):
        core.on_sample(sample(i), float(i))
    birth = core.on_connected(3.0)[0]
    assert isinstance(birth, Publish)
    state = msgspec.json.decode(birth.payload, type=GatewayState)
    assert state.unconfirmed == 3
    assert state.oldest_unsent_ns == START_NS


def test_the_first_reading_goes_at_once_and_batches_grow_to_the_period() -> None:
    core = connected_core(batch_s=10)
    sent_at = []
    for t in map(float, range(60)):
        for b in batches([*core.on_sample(sample(int(t)), t), *core.on_tick(t)]):
            sent_at.append(t)
            core.on_ack(ack(max(seqs(b)) + 1), t)
    gaps = [b - a for a, b in pairwise(sent_at)]
    assert sent_at[0] == 0.0
    assert gaps == sorted(gaps)
    assert gaps[0] <= 2
    assert gaps[-1] == pytest.approx(10, abs=1)


def test_readings_before_the_connection_are_kept_and_sent_in_one_batch() -> None:
    core = core_with()
    assert core.on_sample(sample(0), 0.0) == []
    assert core.on_sample(sample(1), 1.0) == []
    assert seqs(*batches(core.on_connected(2.0))) == [0, 1]


def test_a_full_batch_does_not_wait() -> None:
    core = connected_core(batch_max=5, batch_s=100)
    actions = [a for i in range(11) for a in core.on_sample(sample(i), 0.5)]
    assert [len(seqs(b)) for b in batches(actions)] == [1, 5, 5]


def test_a_puback_drops_nothing() -> None:
    core = connected_core()
    (batch,) = batches(core.on_sample(sample(0), 0.0))
    core.on_puback(batch.token, 0, 0.1)
    assert len(core) == 1
    assert core.figures().unconfirmed == 1


def test_the_window_holds_back_until_a_puback() -> None:
    core = connected_core(window=1, batch_max=1)
    (first,) = batches(core.on_sample(sample(0), 0.0))
    assert batches(core.on_sample(sample(1), 0.0)) == []
    (second,) = batches(core.on_puback(first.token, 0, 0.1))
    assert seqs(second) == [1]


def test_only_the_server_drops_and_only_below_next() -> None:
    counters = Counters()
    core = connected_core(counters, batch_max=4)
    for i in range(9):
        core.on_sample(sample(i), 0.0)
    core.on_ack(ack(3), 0.2)  # in the middle of the batch 1 to 4, which stays whole
    assert core.figures().confirmed == 3
    assert len(core) == 8
    core.on_ack(ack(3), 0.3)
    core.on_ack(ack(1), 0.4)
    assert core.figures().confirmed == 3
    assert counters["readings_confirmed"] == 3


@pytest.mark.parametrize(
    ("payload", "counter"),
    [
        (ack(1, boot_id=BOOT + 1), "ack_other_boot"),
        (ack(2), "ack_beyond_sent"),
        (b"{", "ack_unreadable"),
        (b'{"boot_id":77,"next":-1}', "ack_unreadable"),
        (b'{"boot_id":77,"next":1.5}', "ack_unreadable"),
        (b"\xff", "ack_unreadable"),
    ],
)
def test_a_wrong_ack_is_ignored_and_counted(payload: bytes, counter: str) -> None:
    counters = Counters()
    core = connected_core(counters)
    core.on_sample(sample(0), 0.0)  # sent
    core.on_sample(sample(1), 0.0)  # numbered, not yet sent
    assert core.on_ack(payload, 0.1) == []
    assert len(core) == 2
    assert counters.snapshot()[counter] == 1  # type: ignore[index]


def test_without_progress_it_goes_back_to_next_one_batch_at_first() -> None:
    core = connected_core(batch_max=2)
    for i in range(9):
        core.on_sample(sample(i), 0.0)
    core.on_ack(ack(1), 1.0)
    assert batches(core.on_tick(5.9)) == []
    again = batches(core.on_tick(6.0))  # 5 s after the last progress
    assert [seqs(b) for b in again] == [[1, 2]]
    after = batches(core.on_ack(ack(3), 6.5))
    assert [seqs(b) for b in after] == [[3, 4], [5, 6]]


def test_a_silent_server_is_asked_ever_more_rarely_but_at_least_once_a_minute() -> None:
    core = connected_core()
    (batch,) = batches(core.on_sample(sample(0), 0.0))
    core.on_puback(batch.token, 0, 0.0)
    asked: list[float] = []
    t = 0.0
    while t < 600:
        t = core.wake_at()
        for batch in batches(core.on_tick(t)):
            asked.append(t)
            core.on_puback(batch.token, 0, t)
    gaps = [b - a for a, b in pairwise(asked)]
    assert asked[0] == pytest.approx(5.0)
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(60.0)


def test_a_slow_but_steady_server_is_not_taken_for_silent() -> None:
    counters = Counters()
    core = connected_core(counters, batch_s=1)
    pending: list[tuple[float, int]] = []
    stalled_at: list[int] = []
    for t in range(400):
        now = float(t)
        for b in batches([*core.on_sample(sample(t), now), *core.on_tick(now)]):
            core.on_puback(b.token, 0, now)
            pending.append((now + 20, max(seqs(b)) + 1))  # a round trip of 20 s
        while pending and pending[0][0] <= now:
            core.on_ack(ack(pending.pop(0)[1]), now)
        if counters["stalled"] > len(stalled_at):
            stalled_at.append(t)
    assert stalled_at  # at first it cannot know
    assert max(stalled_at) < 100


def test_after_a_reconnect_it_resumes_at_next() -> None:
    core = connected_core(batch_max=2)
    for i in range(4):
        core.on_sample(sample(i), 0.0)
    core.on_ack(ack(1), 0.5)
    (connect,) = [a for a in core.on_disconnected("gone", 1.0) if isinstance(a, Connect)]
    assert 0 <= connect.delay_s <= 1
    assert core.on_sample(sample(4), 2.0) == []
    assert [seqs(b) for b in batches(core.on_connected(3.0))] == [[1, 2], [3, 4]]


def test_the_longer_patience_stays_until_a_round_trip_is_known() -> None:
    core = connected_core()
    (batch,) = batches(core.on_sample(sample(0), 0.0))
    core.on_puback(batch.token, 0, 0.0)
    (again,) = batches(core.on_tick(5.0))
    core.on_puback(again.token, 0, 5.0)
    core.on_ack(ack(1), 6.0)  # of the first sending or of the second: nobody knows
    core.on_sample(sample(1), 6.0)
    (fresh,) = batches(core.on_tick(7.0))
    core.on_puback(fresh.token, 0, 7.0)
    assert core.wake_at() == pytest.approx(7.0 + 10.0)
    core.on_ack(ack(2), 8.0)
    core.on_sample(sample(2), 8.0)
    (fresh,) = batches(core.on_tick(10.0))
    core.on_puback(fresh.token, 0, 10.0)
    assert core.wake_at() == pytest.approx(10.0 + 5.0)


def test_a_late_confirmation_of_everything_ends_the_repeating() -> None:
    core = connected_core(batch_max=2, batch_s=100)
    for i in range(3):
        core.on_sample(sample(i), 0.0)
    assert [seqs(b) for b in batches(core.on_tick(5.0))] == [[0]]  # batches repeat as they were sealed
    core.on_ack(ack(3), 5.1)
    assert batches(core.on_sample(sample(3), 6.0)) == []  # a new reading waits for its batch


def test_without_a_link_there_is_nothing_to_wake_for() -> None:
    core = connected_core()
    core.on_sample(sample(0), 0.0)
    core.on_disconnected("gone", 1.0)
    assert core.wake_at() == math.inf


def test_a_second_absence_is_said_again() -> None:
    core = core_with()
    said: list[str] = []
    for _ in range(2):
        for t in (0.0, 1.0):
            said += [a.event for a in core.on_disconnected("away", t) if isinstance(a, Say)]
        core.on_connected(2.0)
    assert said == ["broker_unreachable", "broker_lost", "broker_unreachable"]


@pytest.mark.parametrize("reason", [0x10, 0x87, 0x97, 0x80])
def test_a_puback_that_says_not_delivered_makes_it_send_again(reason: int) -> None:
    counters = Counters()
    core = connected_core(counters)
    (first,) = batches(core.on_sample(sample(0), 0.0))
    actions = core.on_puback(first.token, reason, 0.1)
    assert [a.event for a in actions if isinstance(a, Say)] == ["publish_refused"]
    assert counters["publish_refused"] == 1
    assert 0.6 <= core.wake_at() <= 1.1
    (again,) = batches(core.on_tick(1.1))
    assert seqs(again) == [0]


def test_a_broker_that_takes_nothing_is_left() -> None:
    core = connected_core()
    core.on_sample(sample(0), 0.0)
    assert not any(isinstance(a, Drop) for a in core.on_tick(59.0))
    assert any(isinstance(a, Drop) for a in core.on_tick(60.0))


def test_reconnecting_waits_with_full_jitter_and_forgets_after_a_stable_minute() -> None:
    core = core_with()
    waits = [a.delay_s for _ in range(200) for a in core.on_disconnected("refused", 0.0) if isinstance(a, Connect)]
    assert all(w <= min(60, 2**k) for k, w in enumerate(waits))
    late = waits[10:]
    assert max(late) > 50
    assert min(late) < 10
    assert 25 < sum(late) / len(late) < 35  # uniform over 0 to 60
    core.on_connected(100.0)
    (after,) = [a.delay_s for a in core.on_disconnected("lost", 161.0) if isinstance(a, Connect)]
    assert after <= 1


def test_an_absent_broker_is_said_once_and_counted_each_time() -> None:
    counters = Counters()
    core = core_with(counters)
    said = [a for _ in range(5) for a in core.on_disconnected("127.0.0.1:1: refused", 0.0) if isinstance(a, Say)]
    assert len(said) == 1
    assert "127.0.0.1:1" in said[0].detail
    assert counters["connect_failed"] == 5


def test_a_backlog_is_marked_paced_and_in_large_batches() -> None:
    core = core_with(batch_s=1, batch_max=100)
    for i in range(1000):
        core.on_sample(sample(i), float(i))
    sent: list[tuple[float, Publish]] = [(1000.0, b) for b in batches(core.on_connected(1000.0))]
    now = 1000.0
    while len(core) > 2:
        now = max(core.wake_at(), now + 1e-6)
        for b in batches(core.on_tick(now)):
            sent.append((now, b))
            core.on_puback(b.token, 0, now)
            core.on_ack(ack(max(seqs(b)) + 1), now)
    assert seqs(*(b for _, b in sent)) == list(range(1000))
    for t, b in sent:
        got = rows(b)
        assert np.array_equal(
            got["historical"], got["seq"] < t - 2
        )  # older than two batch periods; seq n was taken at n
    assert [len(seqs(b)) for _, b in sent] == [100] * 10
    assert np.diff([t for t, _ in sent]) == pytest.approx(0.25, abs=0.01)


def test_old_and_young_readings_do_not_share_a_batch() -> None:
    core = core_with(batch_s=1)
    for t in [*range(10), 49.5, 49.9]:
        core.on_sample(sample(0), float(t))
    first = batches(core.on_connected(50.0))
    second = batches(core.on_tick(50.25))
    assert [seqs(b) for b in first + second] == [list(range(10)), [10, 11]]
    assert [bool(rows(b)["historical"].any()) for b in first + second] == [True, False]


def test_impossible_values_are_left_out_and_counted_by_signal() -> None:
    counters = Counters()
    core = connected_core(counters)
    bad = sample(0, speed_kmh=math.nan, lat_deg=1e9, fuel_rate_lph=-1.0, hdop=math.inf, odometer_m=5.0, colour=1.0)
    (batch,) = batches(core.on_sample(bad, 0.0))
    assert rows(batch)["odometer_m"].tolist() == [5.0]
    assert math.isnan(rows(batch)["speed_kmh"][0])
    assert counters.by_label("value_out_of_range") == {"speed_kmh": 1, "lat_deg": 1, "fuel_rate_lph": 1, "hdop": 1}
    assert counters.by_label("signal_unknown") == {"colour": 1}


@pytest.mark.parametrize("edge", ["low", "high"])
def test_every_signal_can_be_sent_at_the_edges_of_its_range(edge: str) -> None:
    core = connected_core()
    values = {s.name: float(getattr(s, edge)) for s in SIGNALS}
    (batch,) = batches(core.on_sample(Sample(START_NS, values), 0.0))
    got = rows(batch)
    for s in SIGNALS:
        assert got[s.name][0] == pytest.approx(values[s.name], abs=s.step, rel=1e-12)


def test_a_reading_without_values_is_still_a_reading() -> None:
    core = connected_core()
    (batch,) = batches(core.on_sample(Sample(START_NS, {}), 0.0))
    assert seqs(batch) == [0]


@pytest.mark.parametrize("time_ns", [0, -1, 2**63, -(2**70)])
def test_a_time_that_cannot_be_is_not_numbered(time_ns: int) -> None:
    counters = Counters()
    core = connected_core(counters)
    assert core.on_sample(Sample(time_ns, {}), 0.0) == []
    assert core.figures().sent == 0
    assert counters["time_impossible"] == 1


def test_times_far_apart_travel_in_one_batch() -> None:
    core = core_with()
    times = [1_000_000, 2**62, START_NS, 1_000_000]
    for t in times:
        core.on_sample(Sample(t, {}), 0.0)
    (batch,) = batches(core.on_connected(1.0))
    messages = [Message(batch.topic, batch.payload, 2**62)]
    decoded = decode(messages, {"truck-01": 0}, ["acme"], earliest_ns=0)
    assert [int(t) // 10**6 for t in decoded.columns["time_ns"]] == [t // 10**6 for t in times]


def test_the_worst_batch_stays_below_the_packet_limit() -> None:
    rng = random.Random(3)
    core = core_with(batch_max=1000, keep_max_readings=5000)
    for _ in range(1000):  # noise over the whole range of every signal, and of time, does not compress
        values = {s.name: rng.uniform(s.low, s.high) for s in SIGNALS if rng.random() < 0.97}
        core.on_sample(Sample(rng.randrange(1, 2**62), values), 0.0)
    (batch,) = batches(core.on_connected(1.0))
    assert len(batch.payload) + len(batch.topic) + 16 <= MAX_PACKET_BYTES


def test_at_the_end_what_is_left_goes_at_once() -> None:
    core = connected_core(batch_s=100)
    core.on_sample(sample(0), 0.0)
    core.on_sample(sample(1), 0.0)
    assert seqs(*batches(core.on_stop(0.1))) == [1]


def small_ring(segment_bytes: int = 1024) -> Ring:
    return Ring(MemoryDisk(6, segment_bytes), device="truck-01", tenant="acme")


def test_a_full_outbox_is_thinned_counted_and_exact_in_its_counters() -> None:
    counters = Counters()
    ring = small_ring(4096)
    core = GatewayCore(config(batch_max=20), boot_id=BOOT, rng=random.Random(1), counters=counters, ring=ring)
    said = [
        a for i in range(5000) for a in core.on_sample(sample(i, odometer_m=7.0 * i), float(i)) if isinstance(a, Say)
    ]
    assert [s.event for s in said] == ["outbox_full"]
    assert len(core) < 2500
    got = everything(core)
    assert int(got["merged"].sum()) == 5000
    assert counters["readings_thinned"] == core.figures().thinned == 5000 - len(got["seq"])
    assert np.array_equal(got["odometer_m"], 7.0 * got["seq"])  # the row of seq n holds what was measured at n
    assert got["seq"][-1] == 4999
    assert np.all(np.diff(got["seq"]) == got["merged"][1:])
    assert got["merged"][-100:].tolist() == [1] * 100  # the oldest are thinned first


def everything(core: GatewayCore) -> dict[str, np.ndarray]:
    """Drain a core that was never connected into a perfect server."""
    sent = batches(core.on_connected(1e6))
    done = 0
    now = 1e6
    while len(core):
        for b in sent[done:]:
            sent += batches(core.on_puback(b.token, 0, now))
            sent += batches(core.on_ack(ack(max(seqs(b)) + 1), now))
            done += 1
        now = core.wake_at() if core.wake_at() < math.inf else now
        sent += batches(core.on_tick(now))
    return rows(*sent)


@dataclass
class World:
    """A broker that may forget, a server that stores and acknowledges, and a link that breaks, all by dice."""

    seed: int
    seconds: int
    rate_hz: float
    faulty_until: float
    ring: Ring | None = None
    rng: random.Random = field(init=False)
    now: float = 0.0
    counters: Counters = field(default_factory=Counters)
    stored: dict[int, tuple[float, int]] = field(default_factory=dict)  # seq -> value, merged
    covered: set[int] = field(default_factory=set)
    next: int = 0
    repeats: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.core = GatewayCore(
            config(
                batch_s=self.rng.choice([1, 5, 10]),
                window=self.rng.choice([1, 3, 20]),
                batch_max=600 if self.ring is None else 20,
            ),
            boot_id=BOOT,
            rng=self.rng,
            counters=self.counters,
            ring=self.ring,
        )
        self.order = count()
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.link = 0  # number of the connection; odd while it stands
        self.server_up = True

    def at(self, delay_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + delay_s, next(self.order), what))

    def luck(self, chance: float) -> bool:
        return self.now < self.faulty_until and self.rng.random() < chance

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Connect):
                self.at(action.delay_s, self.connect)
            elif isinstance(action, Drop):
                self.lose(self.link)
            elif isinstance(action, Publish) and action.topic == READINGS:
                self.broker_takes(action, self.link)
        assert self.core.figures().confirmed <= self.next, "dropped before the server had it"

    def connect(self) -> None:
        if self.luck(0.3):
            self.do(self.core.on_disconnected("refused", self.now))
            return
        self.link += 1
        self.do(self.core.on_connected(self.now))
        if self.now < self.faulty_until:
            link = self.link
            self.at(self.rng.expovariate(1 / 40), lambda: self.lose(link))

    def lose(self, link: int) -> None:
        if link == self.link and link % 2:
            self.link += 1
            self.do(self.core.on_disconnected("lost", self.now))

    def broker_takes(self, message: Publish, link: int) -> None:
        if self.luck(0.05):
            return  # the broker died with it
        refused = self.luck(0.05)
        self.at(self.rng.uniform(0, 0.2), lambda: self.puback(message.token, 0x10 if refused else 0, link))
        if refused or self.luck(0.1):
            return  # PUBACKed and forgotten all the same
        for _ in range(1 + self.luck(0.2)):
            self.at(self.rng.uniform(0, 3 if self.luck(0.3) else 0.1), lambda: self.server_takes(message))

    def puback(self, token: int, reason: int, link: int) -> None:
        if link == self.link:
            self.do(self.core.on_puback(token, reason, self.now))

    def server_takes(self, message: Publish) -> None:
        if not self.server_up:
            return
        got = rows(message)
        for seq, merged, value in zip(got["seq"], got["merged"], got["odometer_m"], strict=True):
            row = (float(value), int(merged))
            if int(seq) in self.stored:
                assert self.stored[int(seq)] == row, "the same reading came twice with different content"
                self.repeats += 1
            self.stored[int(seq)] = row
            self.covered |= set(range(int(seq) - int(merged) + 1, int(seq) + 1))
        while self.next in self.covered:
            self.next += 1
        if not self.luck(0.2):
            durable, link = self.next, self.link
            self.at(self.rng.uniform(0, 1), lambda: self.acknowledge(durable, link))

    def acknowledge(self, durable: int, link: int) -> None:
        if link == self.link and link % 2:
            self.do(self.core.on_ack(ack(durable), self.now))

    def outage(self) -> None:
        self.server_up = not self.server_up or self.now >= self.faulty_until
        if self.now < self.faulty_until:
            self.at(self.rng.uniform(5, 60), self.outage)

    def run(self) -> "World":
        self.do(self.core.on_start())
        self.at(20.0, self.outage)
        for i in range(int(self.seconds * self.rate_hz)):
            self.at(i / self.rate_hz, lambda i=i: self.do(self.core.on_sample(sample(i), self.now)))  # type: ignore[misc]
        self.at(self.seconds, lambda: self.do(self.core.on_stop(self.now)))
        limit = self.seconds + 3600
        while self.events or self.core.wake_at() < math.inf:
            wake = self.core.wake_at()
            due = self.events[0][0] if self.events else math.inf
            self.now = max(self.now, min(wake, due))
            assert self.now < limit, "it does not come to rest"
            if wake < due:
                self.do(self.core.on_tick(self.now))
            else:
                heapq.heappop(self.events)[2]()
        return self


@pytest.mark.parametrize("seed", range(12))
def test_in_a_world_of_faults_every_reading_arrives_once(seed: int) -> None:
    world = World(seed, seconds=300, rate_hz=2, faulty_until=280).run()
    assert world.next == 600
    assert world.stored == {i: (float(i), 1) for i in range(600)}
    assert len(world.core) == 0
    assert world.repeats > 0  # the seeds do make trouble


@pytest.mark.parametrize("seed", range(6))
def test_in_a_world_of_faults_a_small_outbox_accounts_for_every_reading(seed: int) -> None:
    world = World(1000 + seed, seconds=400, rate_hz=5, faulty_until=390, ring=small_ring()).run()
    assert world.next == 2000
    assert sum(merged for _, merged in world.stored.values()) == 2000
    assert all(value == seq for seq, (value, _) in world.stored.items())
    assert world.counters["readings_thinned"] == 2000 - len(world.stored) > 0
