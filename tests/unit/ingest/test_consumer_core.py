"""What the consumer decides: which readings stand, which frames prove them, what the gateways are told."""

import itertools
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.config import Broker
from devices.counters import Counters
from devices.envelope import as_historical, batch_hash, seal
from devices.wire import Ack, GatewayState, Hole, Position, Sample, encode_batch, topic
from ingest.config import FleetConfig
from ingest.core import ConsumerCore, Publish, Work
from ingest.decode import Message
from ingest.signatures import Signatures
from storage.schema import BATCHES
from stream.fleet import Vehicle
from stream.pipeline import start
from tests.support import T0_NS, fleet

NOW_NS = T0_NS + 3_600_000_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw().hex()
DEVICES = ("d-t1", "d-t2")


class Bench:
    """A consumer whose commits always succeed."""

    def __init__(self, *, keys: dict[str, str] | None = None, required: bool = False, **changes: Any) -> None:
        config = FleetConfig(tenants=("acme", "globex"), registry="r", lake="l", broker=Broker(host="none"), **changes)
        vehicles = [
            Vehicle(d[2:], d, "artic_40t", "diesel_b7", vin=v, tenant=t)
            for d, v, t in zip(DEVICES, ("WVIN0000000000001", None), (None, "globex"), strict=True)
        ]
        self.counters = Counters()
        state = start(fleet(*vehicles))
        self.core = ConsumerCore(config, state.fleet, state, self.counters, Signatures(keys or {}, required=required))
        self.work: list[Work] = []

    def take(self, *messages: Message, now: float = 0.0) -> Work | None:
        work = self.core.take(messages, now, NOW_NS)
        if work is not None:
            self.core.stored(work, now)
            self.work.append(work)
        return work

    def acks(self, now: float = 0.0) -> dict[str, Ack]:
        return {
            p.topic: msgspec.json.decode(p.payload, type=Ack)
            for p in self.core.due(now, at_once=True)
            if p.topic.endswith("dn/ack")
        }

    def stored(self) -> list[tuple[int, int]]:
        """(boot, seq) in the order of the commits."""
        return [
            (b, s)
            for w in self.work
            for b, s in zip(w.commit.readings["boot_id"].to_pylist(), w.commit.readings["seq"].to_pylist(), strict=True)
        ]

    def frames(self) -> list[bytes]:
        return [f for w in self.work for f in w.commit.batches["frame"].to_pylist()]


def frame(seq0: int, n: int = 5, boot: int = 7, device: str = "d-t1", sign: Any = None, tenant: str = "acme") -> bytes:
    rows = [Sample(T0_NS + (seq0 + i) * 10**9, {"odometer_m": 5.0 * (seq0 + i)}) for i in range(n)]
    made = encode_batch(device, boot, seq0, rows)
    return seal(made, tenant, previous=bytes(32) if sign else None, replaces=None, sign=sign)


def message(payload: bytes, device: str = "d-t1", tenant: str = "acme", leaf: Any = "up/readings") -> Message:
    return Message(topic(tenant, device, leaf), payload, NOW_NS)


ACK = topic("acme", "d-t1", "dn/ack")


def test_an_ack_names_the_newest_boot_and_the_old_ones_just_heard() -> None:
    bench = Bench()
    bench.take(message(frame(0, boot=7)))
    assert bench.acks() == {ACK: Ack(7, 5)}
    bench.take(message(frame(0, 3, boot=8)))
    assert bench.acks() == {ACK: Ack(8, 3)}
    bench.take(message(frame(5, 2, boot=7)))
    assert bench.acks() == {ACK: Ack(8, 3, (Position(7, 7),))}
    bench.take(message(frame(0, 3, boot=8)))  # a repeat is confirmed again
    assert bench.acks() == {ACK: Ack(8, 3)}
    assert bench.acks() == {}
    old_gateway = msgspec.json.decode(msgspec.json.encode(Ack(8, 3, (Position(7, 7),))), type=dict)
    assert (old_gateway["boot_id"], old_gateway["next"]) == (8, 3)  # where it looks, it finds what it knows


def test_frames_are_landed_with_their_readings_once() -> None:
    bench = Bench()
    frames = [frame(5 * i, sign=KEY.sign) for i in range(4)]
    bench.take(message(frames[0]), message(frames[0]))
    bench.take(message(frames[2]))  # waits
    assert bench.frames() == frames[:1]
    bench.take(message(as_historical(frames[1])), message(frames[3]))
    bench.take(*(message(f) for f in frames))
    assert sorted(map(batch_hash, bench.frames())) == sorted(map(batch_hash, frames))
    assert bench.stored() == [(7, s) for s in range(20)]
    table = bench.work[0].commit.batches
    assert table.schema == BATCHES
    (row,) = table.to_pylist()
    assert (row["tenant"], row["device"], row["boot_id"], row["first_seq"], row["n"]) == ("acme", "d-t1", 7, 0, 5)
    assert (row["time_ns"], row["received_ns"]) == (T0_NS, NOW_NS)
    assert (row["frame"], row["frame_sha256"]) == (frames[0], batch_hash(frames[0]))
    assert row["previous_sha256"] == bytes(32)
    assert row["signature"] in frames[0]


@given(st.permutations(list(range(8))), st.lists(st.integers(0, 7), max_size=8), st.integers(1, 5))
@settings(max_examples=60)
def test_any_order_and_any_repeats_land_every_reading_and_every_frame_once(
    order: list[int], repeats: list[int], per_commit: int
) -> None:
    bench = Bench()
    frames = [frame(3 * (i % 4), 3, boot=7 + i // 4) for i in range(8)]
    first = [i for i in order if i < 4] + [i for i in order if i >= 4]  # a gateway sends its boots one after the other
    arrivals = [*first, *repeats]
    for some in (
        itertools.batched(arrivals, per_commit) if hasattr(itertools, "batched") else _batched(arrivals, per_commit)
    ):
        bench.take(*(message(frames[i]) for i in some))
    assert sorted(bench.stored()) == [(b, s) for b in (7, 8) for s in range(12)]
    assert sorted(bench.frames()) == sorted(frames)
    assert bench.core.open_holes == 0


def _batched(items: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(items[i : i + n]) for i in range(0, len(items), n)]


def test_a_hole_is_asked_for_and_what_comes_closes_it() -> None:
    bench = Bench(hole_s=600)
    bench.take(message(frame(0)), message(frame(10)), now=0.0)
    assert bench.core.open_holes == 1
    assert bench.acks(1.0) == {ACK: Ack(7, 5)}
    assert nacks(bench.core.due(599.0)) == []
    assert nacks(bench.core.due(600.0)) == [(topic("acme", "d-t1", "dn/nack"), Hole(7, 5, 10))]
    assert nacks(bench.core.due(601.0)) == []
    bench.take(message(frame(5)), now=602.0)
    assert bench.core.open_holes == 0
    assert nacks(bench.core.due(9999.0)) == []
    assert bench.stored() == [(7, s) for s in range(15)]
    assert bench.counters["holes"] == 0


def nacks(said: list[Publish]) -> list[tuple[str, Hole]]:
    return [(p.topic, msgspec.json.decode(p.payload, type=Hole)) for p in said if p.topic.endswith("dn/nack")]


@pytest.mark.parametrize("boot", [7, 9])
def test_what_the_gateway_says_is_gone_is_counted_kept_and_passed_over(boot: int) -> None:
    bench = Bench()
    begin = 5 if boot == 7 else 0  # 9 was never heard of
    bench.take(message(frame(0)), message(frame(10, boot=boot)))
    gone = message(msgspec.json.encode(Hole(boot, begin, 10)), leaf="up/gone")
    work = bench.take(gone)
    assert work is not None
    assert [s for b, s in bench.stored() if b == boot and s >= 10] == list(range(10, 15))
    assert (bench.acks(1.0)[ACK].boot_id, bench.core.state.rows[0]["next_seq"]) == (boot, 15)
    assert bench.counters["readings_lost"] == 10 - begin
    assert bench.counters["holes"] == 1
    (row,) = work.commit.quarantine.to_pylist()
    assert (row["reason"], row["device"], row["boot_id"], row["seq"]) == ("hole", "d-t1", boot, begin)
    assert bench.take(gone) is None  # said twice: nothing waits there any more
    assert bench.take(message(msgspec.json.encode(Hole(boot, 0, 15)), leaf="up/gone")) is None
    assert bench.counters["readings_lost"] == 10 - begin


def test_what_was_thought_to_be_gone_and_comes_with_the_message_that_says_so_is_taken() -> None:
    bench = Bench()
    bench.take(message(frame(0)), message(frame(10)))
    gone = message(msgspec.json.encode(Hole(7, 5, 10)), leaf="up/gone")
    bench.take(gone, message(frame(5)))
    assert bench.stored() == [(7, s) for s in range(15)]
    assert bench.counters["readings_lost"] == bench.counters["holes"] == 0
    bench.take(message(frame(20)), gone)
    later = [message(msgspec.json.encode(Hole(7, 15, end)), leaf="up/gone") for end in (17, 20, 20)]
    bench.take(*later)
    assert bench.stored()[15:] == [(7, s) for s in range(20, 25)]
    assert bench.counters["readings_lost"] == 5


def wrong_time(seq0: int, boot: int = 7) -> bytes:
    """Three readings, the second one dated an hour ahead of its receipt."""
    times = [T0_NS + (seq0 + i) * 10**9 + (i == 1) * 2 * 3600 * 10**9 for i in range(3)]
    return encode_batch("d-t1", boot, seq0, [Sample(t, {"odometer_m": 5.0}) for t in times])


def test_a_wrong_time_is_kept_aside_when_its_reading_is_taken_however_it_came() -> None:
    bench = Bench()
    bench.take(message(wrong_time(3)))  # waits for the readings before it
    assert [w for w in bench.work if w.kept] == []
    bench.take(message(frame(0, 3)), message(wrong_time(6)))
    bench.take(
        message(wrong_time(9)), message(frame(0, 3, boot=8))
    )  # its boot is the one before, at the end of the commit
    bench.take(message(wrong_time(3)), message(wrong_time(9)))  # copies
    kept = [(r["reason"], r["boot_id"], r["seq"]) for w in bench.work for r in w.commit.quarantine.to_pylist()]
    assert kept == [("time_future", 7, s) for s in (4, 7, 10)]
    assert sorted(bench.stored()) == [(7, s) for s in range(12) if s not in (4, 7, 10)] + [(8, s) for s in range(3)]


def test_a_hole_is_given_up_only_while_its_gateway_speaks() -> None:
    bench = Bench(hole_s=600, hole_lost_s=1800)
    bench.take(message(frame(0)), message(frame(10)), now=0.0)
    for tick in range(600, 100_000, 600):
        bench.core.due(float(tick))
        assert bench.take(now=float(tick)) is None  # silent: it may be in a tunnel, and have them
    assert bench.counters["nacks_published"] == 1
    now = 100_000.0
    for _ in range(10):
        bench.take(message(frame(15)), now=now)
        bench.core.due(now)
        now += 600
    assert bench.counters["readings_lost"] == 5
    assert bench.stored() == [(7, s) for s in [*range(5), *range(10, 20)]]
    assert bench.core.open_holes == 0
    assert bench.core.state.rows[0]["next_seq"] == 20


@pytest.mark.parametrize(
    ("payload", "tenant", "device", "reason"),
    [
        (b"{", "acme", "d-t1", "bad_json"),
        (b'{"boot_id":7,"begin":-1,"end":3}', "acme", "d-t1", "bad_json"),
        (b'{"boot_id":7,"begin":0,"end":3}', "acme", "d-none", "device_unknown"),
        (b'{"boot_id":7,"begin":0,"end":3}', "nobody", "d-t1", "tenant_unknown"),
        (b'{"boot_id":7,"begin":0,"end":3}', "acme", "d-t2", "tenant_unknown"),
    ],
)
def test_a_gone_that_cannot_be_is_kept_aside(payload: bytes, tenant: str, device: str, reason: str) -> None:
    bench = Bench()
    bench.take(message(payload, device, tenant, "up/gone"))
    assert bench.counters.by_label("rejected") == {reason: 1}
    assert bench.stored() == []


def test_a_signed_batch_of_a_registered_key_is_taken_and_a_wrong_one_kept_aside() -> None:
    bench = Bench(keys={"d-t1": PUBLIC})
    good = frame(0, sign=KEY.sign)
    altered = bytearray(good)
    altered[-6] ^= 1
    late = as_historical(frame(5, sign=KEY.sign))
    bench.take(
        message(good),
        message(frame(5)),
        message(frame(5, sign=OTHER.sign)),
        message(frame(5, sign=KEY.sign, tenant="globex")),
        message(late),
        message(frame(0, device="d-t2", tenant="globex"), "d-t2", "globex"),  # no key registered: believed by its login
    )
    assert bench.counters.by_label("rejected") == {"signature_missing": 1, "signature_bad": 2}
    assert bench.counters["readings_stored"] == 15
    assert bench.frames() == [good, late, frame(0, device="d-t2")]
    bench.take(message(bytes(altered)))
    assert sum(bench.counters.by_label("rejected").values()) == 4  # the frame's own checksum, or the signature
    reasons = [r for w in bench.work for r in w.commit.quarantine["reason"].to_pylist()]
    assert len(reasons) == 4


def test_json_of_a_device_that_must_sign_is_kept_aside() -> None:
    text = b'{"device":"d-t1","boot_id":7,"seq":0,"time_ns":%d,"signals":{"speed_kmh":1}}' % T0_NS
    bench = Bench(keys={"d-t1": PUBLIC})
    bench.take(message(text, leaf="up/json"))
    assert bench.counters.by_label("rejected") == {"signature_missing": 1}
    free = Bench()
    free.take(message(text, leaf="up/json"))
    assert free.counters["readings_stored"] == 1
    assert free.frames() == []


def test_where_signatures_are_required_an_unknown_key_is_refused() -> None:
    bench = Bench(keys={"d-t1": PUBLIC}, required=True)
    bench.take(
        message(frame(0, sign=KEY.sign)),
        message(frame(0, device="d-t2", sign=KEY.sign, tenant="globex"), "d-t2", "globex"),
    )
    assert bench.counters.by_label("rejected") == {"key_unknown": 1}
    assert bench.counters["readings_stored"] == 5


def test_a_key_that_is_none_names_its_device() -> None:
    with pytest.raises(ValueError, match="public_key of d-t1"):
        Signatures({"d-t1": "ab" * 31})


def test_a_device_of_another_tenant_is_kept_aside() -> None:
    bench = Bench()
    bench.take(message(frame(0, device="d-t2"), "d-t2", "acme"), message(frame(0, device="d-t2"), "d-t2", "globex"))
    assert bench.counters.by_label("rejected") == {"tenant_mismatch": 1}
    assert bench.counters["readings_stored"] == 5


def state_of(vin: str) -> bytes:
    return msgspec.json.encode(GatewayState("online", 7, "test", 0, None, ("can",), vin=vin))


def test_a_gateway_in_another_vehicle_is_told_once() -> None:
    bench = Bench()
    bench.take(message(state_of("WVIN0000000000001"), leaf="up/state"))
    assert bench.counters["vin_mismatch"] == 0
    for _ in range(3):
        bench.take(message(state_of("WVIN0000000000009"), leaf="up/state"))
    assert bench.counters["vin_mismatch"] == 1
    (row,) = bench.work[0].commit.quarantine.to_pylist()
    assert row["reason"] == "vin_mismatch"
    assert "WVIN0000000000009" in row["detail"]


def test_frames_that_wait_are_bounded_and_their_readings_are_given_up_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ingest.envelope.HELD_BYTES", 2000)
    bench = Bench()
    frames = [frame(5 * i) for i in range(40)]
    bench.take(*(message(f) for f in frames[1:]))
    assert bench.counters["readings_waiting_dropped"] == 195
    assert bench.core.state.waiting["seq"].size == 0
    bench.take(*(message(f) for f in frames))
    assert bench.stored() == [(7, s) for s in range(200)]
    assert bench.frames() == frames


def test_the_age_of_late_data_is_told_while_it_comes() -> None:
    bench = Bench()
    bench.take(message(as_historical(frame(0))))
    assert bench.core.backlog_age_s(NOW_NS) == pytest.approx(3600.0)
    bench.take(message(frame(5)))
    assert bench.core.backlog_age_s(NOW_NS) == 0.0


def test_damaged_frames_never_raise() -> None:
    rng = random.Random(4)
    bench = Bench(keys={"d-t1": PUBLIC})
    good = frame(0, sign=KEY.sign)
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(rng.choice([1, 2, 30])):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        bench.take(message(bytes(bad[: rng.choice([len(bad), rng.randrange(len(bad))])])))
    assert bench.counters["readings_stored"] in (0, 5)  # the historical bit alone may have been hit
    assert np.array_equal(sorted({s for _, s in bench.stored()}), sorted(s for _, s in bench.stored()))


def test_a_revoked_gateway_is_refused_from_now_on_and_counted() -> None:
    bench = Bench()
    bench.take(message(frame(0)))
    bench.core.revoked = frozenset({"d-t1"})
    work = bench.take(
        message(frame(5)), message(b"{}", leaf="up/gone"), message(frame(0, device="d-t2"), "d-t2", "globex")
    )
    assert work is not None
    assert [(r.reason, r.payload) for r in work.kept] == [("device_revoked", frame(5)), ("device_revoked", b"{}")]
    assert bench.counters.by_label("rejected")["device_revoked"] == 2
    assert sorted(bench.stored()) == [(7, s) for s in sorted([*range(5), *range(5)])]
    bench.core.revoked = frozenset()
    bench.take(message(frame(5)))
    assert len(bench.stored()) == 15


def dated(seq0: int, boot: int, seconds: list[int]) -> bytes:
    return encode_batch("d-t1", boot, seq0, [Sample(T0_NS + s * 10**9, {"odometer_m": 5.0}) for s in seconds])


FUTURE_S = 10 * 365 * 86_400


def test_a_reading_with_an_impossible_time_that_had_to_wait_is_kept_once() -> None:
    bench = Bench()
    early = message(dated(5, 7, [5, FUTURE_S, 7]))
    bench.take(early)
    bench.take(early)
    assert not any(w.kept for w in bench.work)  # it waits with its batch
    bench.take(message(dated(0, 7, [0, 1, 2, 3, 4])))
    bench.take(early)
    assert [(r.reason, r.boot_id, r.seq) for w in bench.work for r in w.kept] == [("time_future", 7, 6)]
    assert [s for _, s in bench.stored()] == [0, 1, 2, 3, 4, 5, 7]


def test_a_reading_with_an_impossible_time_of_an_earlier_boot_is_kept_once() -> None:
    bench = Bench()
    bench.take(message(dated(0, 7, [0, 1])))
    bench.take(message(dated(0, 8, [10, 11])))
    for _ in range(2):
        bench.take(message(dated(2, 7, [2, FUTURE_S, 4])))
    assert [(r.reason, r.boot_id, r.seq) for w in bench.work for r in w.kept] == [("time_future", 7, 3)]


def test_refusals_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.quarantine.WAITING_MAX", 1)
    bench = Bench()
    bench.take(message(dated(5, 7, [FUTURE_S, FUTURE_S])))
    assert bench.core.state.waiting["seq"].size == 0
    assert bench.counters["readings_waiting_dropped"] == 2
    bench.take(message(dated(0, 7, [0, 1, 2, 3, 4])))
    bench.take(message(dated(5, 7, [FUTURE_S, FUTURE_S])))
    assert [r.seq for w in bench.work for r in w.kept] == [5, 6]
