"""Whatever the plan: what the ledger says is what happens, and the same seed does the same."""

from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from devices.wire import Sample, encode_batch, parse_topic, topic
from simulators.fault_columns import disturb_columns
from simulators.fault_messages import Message, identity
from simulators.faults import FaultPlan, disturb_all

chance = st.sampled_from([0.0, 0.1, 0.5, 1.0])
seeds = st.integers(0, 2**63 - 1)
link = st.fixed_dictionaries(
    dict.fromkeys(("drop", "duplicate", "reorder", "delay", "offline", "reboot", "clock_step"), chance)
    | {"reorder_depth": st.integers(1, 20), "delay_max_s": st.sampled_from([0.5, 30.0, 7200.0])}
)
counts = st.lists(st.tuples(st.sampled_from(["gw-a", "gw-b"]), st.integers(1, 4), st.integers(0, 90)), max_size=40)


def stream(steps: list[tuple[str, int, int]]) -> list[Message]:
    """Messages of ``n`` readings of a device, ``gap`` seconds after the message before."""
    now = 1_700_000_000
    seqs: dict[str, int] = {}
    messages = []
    for device, n, gap in steps:
        now += gap
        seq = seqs.get(device, 0)
        samples = [Sample((now - n + i) * 1_000_000_000, {"speed_kmh": float(i)}) for i in range(n)]
        payload = encode_batch(device, 5, seq, samples)
        messages.append(Message(topic("acme", device, "up/readings"), payload, now * 1_000_000_000))
        seqs[device] = seq + n
    return messages


def arrived(messages: list[Message]) -> list[tuple[str, int, int]]:
    found = []
    for message in messages:
        parsed = parse_topic(message.topic)
        assert parsed is not None
        boot, seq0, covered = identity(message)
        found += [(parsed.device, boot, seq) for seq in range(seq0, seq0 + covered)]
    return found


@given(counts, link, seeds)
def test_arriving_and_lost_readings_are_all_readings_and_arrive_as_said(
    steps: list[tuple[str, int, int]], keys: dict[str, float], seed: int
) -> None:
    messages = stream(steps)
    plan = msgspec.convert(keys, FaultPlan)
    out, ledger = disturb_all(messages, plan, seed=seed)
    assert set(arrived(out)) == ledger.arriving()
    assert not ledger.arriving() & ledger.lost()
    assert len(ledger.arriving()) + len(ledger.lost()) == sum(n for _, n, _ in steps)
    assert len(out) == sum(f.arrivals for f in ledger.fates)
    assert [m.time_ns for m in out] == sorted(m.time_ns for m in out)
    assert disturb_all(messages, plan, seed=seed) == (out, ledger)


@given(counts, link, seeds)
def test_one_class_never_changes_what_another_does(
    steps: list[tuple[str, int, int]], keys: dict[str, float], seed: int
) -> None:
    messages = stream(steps)
    plan = msgspec.convert(keys, FaultPlan)
    only_drop = FaultPlan(drop=plan.drop)
    lost = {f.index for f in disturb_all(messages, plan, seed=seed)[1].fates if not f.arrivals}
    assert lost == {f.index for f in disturb_all(messages, only_drop, seed=seed)[1].fates if not f.arrivals}


@given(counts, seeds)
def test_hostile_messages_never_hide_or_change_real_ones(steps: list[tuple[str, int, int]], seed: int) -> None:
    messages = stream(steps)
    out, ledger = disturb_all(messages, FaultPlan(poison=1.0, spoof=1.0), seed=seed)
    hostile = [h.message for h in ledger.hostile]
    assert len(hostile) == 2 * len(messages)
    for bad in hostile:
        out.remove(bad)
    assert sorted(out, key=lambda m: m.payload) == sorted(messages, key=lambda m: m.payload)


@given(st.integers(0, 400), st.integers(1, 4), link, seeds, st.integers(1, 50))
def test_rows_arrive_as_often_as_the_ledger_says(
    n: int, devices: int, keys: dict[str, float], seed: int, batch_rows: int
) -> None:
    seq = np.arange(n, dtype=np.int64) // devices
    columns: dict[str, np.ndarray[Any, Any]] = {
        "device": (np.arange(n) % devices).astype(np.int32),
        "boot_id": np.full(n, 3, np.int64),
        "seq": seq,
        "time_ns": 1_700_000_000_000_000_000 + seq * 1_000_000_000,
        "row": np.arange(n, dtype=np.int64),
    }
    batches, ledger = disturb_columns(columns, msgspec.convert(keys, FaultPlan), seed=seed, batch_rows=batch_rows)
    rows = np.concatenate([b["row"] for b in batches]) if batches else np.zeros(0, np.int64)
    assert np.array_equal(np.bincount(rows, minlength=n), ledger.arrivals)
    assert all(1 <= b["seq"].size <= batch_rows for b in batches)
    identities = list(zip(columns["device"].tolist(), ledger.boot_id.tolist(), ledger.seq.tolist(), strict=True))
    assert len(set(identities)) == n
