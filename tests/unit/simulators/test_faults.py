from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from devices import wire
from devices.wire import JsonReading, Sample, encode_batch, parse_topic, topic
from ingest.decode import Message as Received
from ingest.decode import decode
from simulators.fault_columns import disturb_batches, disturb_columns, split
from simulators.fault_messages import POISONS, SPOOFS, Message, identity, poison, spoof
from simulators.faults import FaultKind, FaultPlan, Ledger, disturb, disturb_all
from simulators.rng import derive, uniform

T0 = 1_736_150_400_000_000_000
SECOND = 1_000_000_000
DEVICES = ("gw-one", "gw-two", "gw-three")
PER_BATCH = 5


def batch(device: str, number: int) -> Message:
    """Batch ``number`` of a gateway that samples at 1 Hz and sends every 5 s."""
    samples = [
        Sample(T0 + (number * PER_BATCH + i) * SECOND, {"speed_kmh": 10.0 + i, "fuel_total_hr_l": 100.0 + number})
        for i in range(PER_BATCH)
    ]
    payload = encode_batch(device, 77, number * PER_BATCH, samples)
    return Message(topic("acme", device, "up/readings"), payload, samples[-1].time_ns)


def json_reading(device: str, number: int) -> Message:
    reading = JsonReading(
        v=1, device=device, boot_id=77, seq=number, time_ns=T0 + number * SECOND, signals={"speed_kmh": 50.0}
    )
    return Message(topic("acme", device, "up/json"), msgspec.json.encode(reading), reading.time_ns)


def stream(n: int = 200) -> list[Message]:
    return [batch(device, number) for number in range(n) for device in DEVICES]


def received(messages: Sequence[Message]) -> tuple[list[tuple[str, int, int]], list[str]]:
    """(device, boot_id, seq) of what the server's decoder accepts, and why it refused the rest."""
    index = {name: i for i, name in enumerate(DEVICES)}
    now = max(m.time_ns for m in messages)
    found = decode([Received(m.topic, m.payload, now) for m in messages], index, {"acme"}, earliest_ns=0)
    columns = found.columns
    rows = zip(columns["device"].tolist(), columns["boot_id"].tolist(), columns["seq"].tolist(), strict=True)
    return [(DEVICES[d], b, s) for d, b, s in rows], [r.reason for r in found.rejected]


ALL = {(d, 77, s) for d in DEVICES for s in range(200 * PER_BATCH)}


def test_without_faults_the_stream_is_as_it_was() -> None:
    out, ledger = disturb_all(stream(), FaultPlan(), seed=1)
    assert out == stream()
    assert ledger.arriving() == ALL
    assert not ledger.lost()
    assert ledger.counts() == {}


@pytest.mark.parametrize(
    "kind", ["drop", "duplicate", "reorder", "delay", "offline", "reboot", "clock_step", "poison", "spoof"]
)
def test_a_class_that_is_on_does_its_work_and_no_others(kind: FaultKind) -> None:
    _, ledger = disturb_all(stream(), FaultPlan(**{kind: 0.05}), seed=3)  # type: ignore[arg-type]
    counts = ledger.counts()
    assert set(counts) == {kind}
    if kind == "offline":
        assert counts[kind] > 30  # a whole outage's messages
    else:
        assert counts[kind] == pytest.approx(0.05 * 600, abs=15)


def test_what_the_ledger_says_arrives_is_what_the_server_decodes() -> None:
    plan = FaultPlan(
        drop=0.05,
        duplicate=0.1,
        reorder=0.1,
        delay=0.1,
        offline=0.01,
        reboot=0.02,
        poison=0.1,
        spoof=0.1,
        offline_max_s=300,
    )
    out, ledger = disturb_all(stream(), plan, seed=9)
    got, refused = received(out)
    assert set(got) == ledger.arriving()
    assert ledger.lost()
    assert not ledger.arriving() & ledger.lost()
    assert len(ledger.arriving()) + len(ledger.lost()) == len(ALL)
    assert len(got) == sum(f.arrivals * f.covered for f in ledger.fates)
    assert len(refused) == len(ledger.hostile) > 50


def test_messages_arrive_by_time_and_never_before_they_were_sent() -> None:
    plan = FaultPlan(duplicate=0.2, reorder=0.2, delay=0.2, offline=0.02, poison=0.1)
    out, ledger = disturb_all(stream(), plan, seed=4)
    assert [m.time_ns for m in out] == sorted(m.time_ns for m in out)
    sent = {f.index: m.time_ns for f, m in zip(ledger.fates, stream(), strict=True)}
    by_identity = {(f.device, f.boot_id, f.seq0): sent[f.index] for f in ledger.fates}
    for message in out:
        if message not in [h.message for h in ledger.hostile]:
            parsed = parse_topic(message.topic)
            assert parsed is not None
            boot, seq0, _ = identity(message)
            assert message.time_ns >= by_identity[parsed.device, boot, seq0]


def test_switching_a_class_on_leaves_the_others_as_they_were() -> None:
    alone = disturb_all(stream(), FaultPlan(drop=0.1), seed=5)[1].lost()
    both = disturb_all(stream(), FaultPlan(drop=0.1, duplicate=0.3, delay=0.3, poison=0.2), seed=5)[1].lost()
    assert alone == both
    assert alone != disturb_all(stream(), FaultPlan(drop=0.1), seed=6)[1].lost()


def test_reorder_lets_up_to_depth_later_messages_of_the_device_pass() -> None:
    out, _ = disturb_all(stream(), FaultPlan(reorder=0.2, reorder_depth=3), seed=2)
    assert sorted(m.payload for m in out) == sorted(m.payload for m in stream())
    passed = []
    for device in DEVICES:
        order = [identity(m)[1] for m in out if f"/{device}/" in m.topic]
        passed += [sum(later > number for later in order[:place]) for place, number in enumerate(order)]
    assert max(passed) == 3
    assert sum(n > 0 for n in passed) == pytest.approx(0.2 * 600, abs=40)


def test_reboot_gives_a_new_boot_with_seq_from_0_and_unbroken_numbers() -> None:
    out, ledger = disturb_all(stream(), FaultPlan(reboot=0.05), seed=8)
    boots: dict[tuple[str, int], list[int]] = {}
    for message in out:
        parsed = parse_topic(message.topic)
        assert parsed is not None
        boot, seq0, covered = identity(message)
        boots.setdefault((parsed.device, boot), []).extend(range(seq0, seq0 + covered))
    assert len(boots) == 3 + ledger.counts()["reboot"]
    assert all(seqs == list(range(len(seqs))) for seqs in boots.values())
    assert sum(len(seqs) for seqs in boots.values()) == len(ALL)
    assert set(received(out)[0]) == ledger.arriving()


def test_clock_step_moves_the_readings_time_by_what_the_ledger_says() -> None:
    out, ledger = disturb_all(stream(), FaultPlan(clock_step=0.05, clock_step_max_s=100), seed=8)
    index = {name: i for i, name in enumerate(DEVICES)}
    columns = decode([Received(m.topic, m.payload, T0 * 2) for m in out], index, {"acme"}, earliest_ns=0).columns
    shift = {(f.device, s): f.shift_ns for f in ledger.fates for s in range(f.seq0, f.seq0 + f.covered)}
    rows = zip(columns["device"].tolist(), columns["seq"].tolist(), columns["time_ns"].tolist(), strict=True)
    off = [(time_ns - (T0 + seq * SECOND), shift[DEVICES[d], seq]) for d, seq, time_ns in rows]
    assert all(a == b for a, b in off)
    assert len({b for _, b in off}) > 10
    assert max(abs(b) for _, b in off) <= 100 * SECOND


def test_offline_holds_everything_of_one_device_and_marks_it_historical() -> None:
    out, ledger = disturb_all(stream(), FaultPlan(offline=0.01, offline_max_s=400), seed=12)
    held = [f for f in ledger.fates if "offline" in f.faults]
    assert len(held) > 20
    flags = {(m.topic, identity(m)[1]): m.payload[3] & 1 for m in out}
    for fate in ledger.fates:
        assert flags[topic("acme", fate.device, "up/readings"), fate.seq0] == ("offline" in fate.faults)
    assert set(received(out)[0]) == ALL
    for device in DEVICES:
        assert [identity(m)[1] for m in out if f"/{device}/" in m.topic] == list(range(0, 1000, PER_BATCH))


@pytest.mark.parametrize("kind", POISONS)
@pytest.mark.parametrize("real", [batch("gw-one", 3), json_reading("gw-one", 3)], ids=["batch", "json"])
def test_poison_is_always_refused(kind: str, real: Message) -> None:
    assert kind in POISONS
    for key in range(40):
        bad = poison(real, kind, key)
        got, refused = received([bad])
        assert (got, len(refused)) == ([], 1), bad


@pytest.mark.parametrize("trick", SPOOFS)
@pytest.mark.parametrize("real", [batch("gw-one", 3), json_reading("gw-one", 3)], ids=["batch", "json"])
def test_spoofed_identity_is_always_refused_for_what_it_is(trick: str, real: Message) -> None:
    assert trick in SPOOFS
    got, refused = received([spoof(real, trick, "gw-three")])
    wanted = {"unknown_device": "device_unknown", "unknown_tenant": "tenant_unknown"}.get(trick, "device_mismatch")
    assert (got, refused) == ([], [wanted])


def test_json_readings_suffer_too_and_other_topics_pass() -> None:
    state = Message(topic("acme", "gw-one", "up/state"), b"{}", T0 + 50 * SECOND)
    messages = [json_reading("gw-one", n) for n in range(50)] + [state]
    out, ledger = disturb_all(messages, FaultPlan(drop=0.2, reboot=0.1, clock_step=0.1, duplicate=0.1), seed=1)
    assert state in out
    assert set(received([m for m in out if m != state])[0]) == ledger.arriving()
    assert set(ledger.counts()) == {"drop", "reboot", "clock_step", "duplicate"}


def test_it_works_as_a_stream_that_holds_back_no_more_than_it_must() -> None:
    ledger = Ledger()
    flow = disturb(stream(), FaultPlan(), seed=1, ledger=ledger)
    next(flow)
    assert len(ledger.fates) == 1


def test_a_message_that_is_no_reading_is_our_mistake_and_a_wrong_plan_is_named() -> None:
    with pytest.raises(ValueError, match="not a batch"):
        disturb_all([Message(topic("acme", "gw-one", "up/readings"), b"hello", T0)], FaultPlan(), seed=1)
    with pytest.raises(msgspec.ValidationError, match=r"drop"):
        msgspec.convert({"drop": 1.5}, FaultPlan)
    with pytest.raises(msgspec.ValidationError, match=r"dorp"):
        msgspec.convert({"dorp": 0.5}, FaultPlan)


def columns(n: int = 3000) -> dict[str, np.ndarray]:
    device = np.arange(n, dtype=np.int32) % 3
    seq = np.arange(n, dtype=np.int64) // 3
    return {
        "device": device,
        "boot_id": np.full(n, 7, np.int64),
        "seq": seq,
        "time_ns": T0 + seq * SECOND,
        "speed_kmh": np.arange(n, dtype=np.float64),
    }


def joined(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


def test_rows_without_faults_come_through_in_order_in_many_batches() -> None:
    batches, ledger = disturb_columns(columns(), FaultPlan(), seed=1, batch_rows=100)
    assert len(batches) > 30
    assert max(b["seq"].size for b in batches) <= 100
    assert min(b["seq"].size for b in batches) >= 1
    for name, values in joined(batches).items():
        assert np.array_equal(values, columns()[name]), name
    assert (ledger.arrivals == 1).all()


def test_rows_arrive_as_often_as_the_ledger_says() -> None:
    plan = FaultPlan(drop=0.1, duplicate=0.2, reorder=0.2, delay=0.2, delay_max_s=60)
    batches, ledger = disturb_columns(columns(), plan, seed=2)
    arrived = joined(batches)
    count = np.bincount(arrived["speed_kmh"].astype(np.int64), minlength=3000)
    assert np.array_equal(count, ledger.arrivals)
    assert (ledger.arrivals == 0).mean() == pytest.approx(0.1, abs=0.02)
    assert (ledger.arrivals > 1).mean() == pytest.approx(0.18, abs=0.03)
    assert (np.diff(arrived["time_ns"]) < 0).sum() > 300
    row = arrived["speed_kmh"].astype(np.int64)
    assert np.array_equal(arrived["seq"], columns()["seq"][row])


def test_rows_get_new_boots_and_wrong_clocks() -> None:
    plan = FaultPlan(reboot=0.01, clock_step=0.01, clock_step_max_s=50)
    batches, ledger = disturb_columns(columns(), plan, seed=3)
    arrived = joined(batches)
    for d in range(3):
        own = arrived["device"] == d
        for boot in np.unique(arrived["boot_id"][own]):
            seqs = arrived["seq"][own & (arrived["boot_id"] == boot)]
            assert seqs.tolist() == list(range(seqs.size))
        assert np.unique(arrived["boot_id"][own]).size > 4
    off = ledger.time_ns - columns()["time_ns"]
    assert np.abs(off).max() <= 50 * SECOND
    assert np.unique(off).size > 10


def test_rows_of_a_device_out_of_reach_come_later_in_order() -> None:
    batches, ledger = disturb_columns(columns(), FaultPlan(offline=0.005, offline_max_s=200), seed=4)
    arrived = joined(batches)
    assert (ledger.arrivals == 1).all()
    assert (np.diff(arrived["time_ns"]) < 0).any()
    for d in range(3):
        assert (np.diff(arrived["seq"][arrived["device"] == d]) == 1).all()


def test_columns_know_no_poison_and_the_vector_draws_are_the_scalar_ones() -> None:
    with pytest.raises(ValueError, match="poison"):
        disturb_columns(columns(), FaultPlan(poison=0.1), seed=1)
    from simulators.fault_columns import _draws

    assert _draws(99, 4, 50).tolist() == [uniform(derive(99, 4), i) for i in range(50)]


def test_batches_are_dropped_repeated_and_overtaken() -> None:
    batches = list(range(1000))
    plan = FaultPlan(drop=0.1, duplicate=0.1, reorder=0.2, reorder_depth=5)
    out = disturb_batches(batches, plan, seed=1)
    assert 1000 - len(set(out)) == pytest.approx(100, abs=30)
    assert len(out) - len(set(out)) == pytest.approx(180, abs=60)
    assert out != sorted(out)
    assert disturb_batches(batches, FaultPlan(), seed=1) == batches
    assert disturb_batches(batches, plan, seed=1) == out


def test_split_of_nothing_is_nothing() -> None:
    assert split(columns(0), seed=1) == []
    empty, ledger = disturb_columns(columns(0), FaultPlan(drop=0.5, duplicate=0.5), seed=1)
    assert empty == []
    assert ledger.arrivals.size == 0
    assert wire.MAX_READINGS == 1000
