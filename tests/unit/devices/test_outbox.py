"""Open readings: numbered, bounded, thinned when full, never dropped; and how rows are thinned."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.outbox import CUMULATIVE, KEEP_LEAST, Outbox, thinned
from devices.wire import Sample

START_NS = 1_700_000_000_000_000_000


def filled(n: int, keep_max: int = 1000) -> Outbox:
    box = Outbox(keep_max)
    for i in range(n):
        box.append(START_NS + i, {"odometer_m": float(i)}, float(i))
    return box


def everything(box: Outbox) -> list[tuple[int, Sample]]:
    """(seq, sample) of every row still kept."""
    rows: list[tuple[int, Sample]] = []
    while len(box):
        batch = box.take(7)
        seq = batch.seq0
        for sample in batch.samples:
            rows.append((seq + sample.merged - 1, sample))
            seq += sample.merged
        assert seq == batch.end
        box.drop(batch.end)
    return rows


def test_what_was_put_in_comes_out() -> None:
    box = Outbox(1000)
    samples = [Sample(START_NS + i, {"lat_deg": 0.1 * i, "odometer_m": 1e12 + i} if i % 3 else {}) for i in range(50)]
    for i, s in enumerate(samples):
        box.append(s.time_ns, s.values, float(i))
    assert everything(box) == list(enumerate(samples))
    assert box.first == box.numbered == 50


def test_rows_are_taken_from_a_number_on_and_stay_until_they_are_dropped() -> None:
    box = filled(10)
    assert (box.take(3).seq0, box.take(3).end) == (0, 3)
    assert (box.take(100, seq=4).seq0, box.take(100, seq=4).end) == (4, 10)
    assert box.accepted_s(4) == 4.0
    assert box.accepted_s(10) == float("inf")
    box.drop(4)
    assert (len(box), box.first) == (6, 4)


def test_a_merged_row_stays_until_all_it_stands_for_is_dropped() -> None:
    box = filled(17, keep_max=16)  # 16 full, so 0 and 1 became one row
    batch = box.take(1)
    assert (batch.seq0, batch.end, batch.samples[0].merged) == (0, 2, 2)
    box.drop(1)
    assert box.first == 0
    box.drop(2)
    assert box.first == 2


def test_take_leaves_out_what_is_too_young_but_always_gives_one() -> None:
    box = filled(10)
    assert len(box.take(100, before_s=4.0).samples) == 4
    assert len(box.take(100, seq=4, before_s=4.0).samples) == 1


def test_nothing_to_take_is_an_error() -> None:
    with pytest.raises(IndexError):
        Outbox(16).take(1)


def test_the_smallest_room_is_checked() -> None:
    with pytest.raises(ValueError, match="below 16"):
        Outbox(KEEP_LEAST - 1)


def test_merging_keeps_the_later_row_and_carries_only_counters() -> None:
    box = Outbox(16)
    box.append(START_NS, {"odometer_m": 5.0, "speed_kmh": 50.0, "fuel_total_hr_l": 1.0}, 0.0)
    box.append(START_NS + 1, {"fuel_total_hr_l": 2.0, "lat_deg": 45.0}, 1.0)
    for i in range(2, 17):
        box.append(START_NS + i, {}, float(i))
    merged = box.take(1).samples[0]
    assert merged == Sample(START_NS + 1, {"odometer_m": 5.0, "fuel_total_hr_l": 2.0, "lat_deg": 45.0}, 2)


def test_counters_are_known_by_name() -> None:
    assert {"odometer_m", "fuel_total_l", "pv_kwh", "pallets_in_total", "goods_out_total_kg"} <= CUMULATIVE
    assert not {"speed_kmh", "lat_deg", "cargo_kg", "pallets_stored", "grid_power_kw", "battery_soc_pct"} & CUMULATIVE


def test_thinning_is_even() -> None:
    box = filled(100_000, keep_max=1000)
    merged = [s.merged for _, s in everything(box)]
    assert sum(merged) == 100_000
    assert max(merged) <= 256  # twice its fair share of 100, rounded up to a power of two
    assert merged[-1] == 1


@given(
    keep_max=st.integers(16, 60),
    steps=st.lists(st.tuples(st.sampled_from(["append", "drop"]), st.integers(1, 40)), max_size=60),
)
def test_any_history_accounts_for_every_reading(keep_max: int, steps: list[tuple[str, int]]) -> None:
    box = Outbox(keep_max)
    sealed: dict[int, Sample] = {}  # by seq
    for step, n in steps:
        if step == "append":
            for _ in range(n):
                i = box.numbered
                box.append(START_NS + i, {"odometer_m": float(i)}, float(i))
        elif len(box):
            batch = box.take(n)
            seq = batch.seq0
            for sample in batch.samples:
                seq += sample.merged
                assert sealed.setdefault(seq - 1, sample) is sample  # no reading is given out twice
            box.drop(batch.end)
        assert len(box) <= keep_max
    sealed |= dict(everything(box))
    assert sum(s.merged for s in sealed.values()) == box.numbered
    assert box.thinned == box.numbered - len(sealed)
    assert all(s.values == {"odometer_m": float(seq)} for seq, s in sealed.items())


def test_times_do_not_matter_to_order() -> None:
    rng = random.Random(2)
    times = [START_NS + rng.randrange(-(10**15), 10**15) for _ in range(200)]
    box = Outbox(1000)
    for i, t in enumerate(times):
        box.append(t, {}, float(i))
    assert [s.time_ns for _, s in everything(box)] == times


def test_a_minute_becomes_one_row_that_has_its_last_values() -> None:
    rows = thinned(
        [Sample(START_NS + i * 10**9, {"odometer_m": float(i), "hdop": 1.0}) for i in range(600)], 60 * 10**9
    )
    assert [(r.merged, r.values["odometer_m"]) for r in rows] == [(60, 59.0 + 60 * k) for k in range(10)]
    assert [r.time_ns for r in rows] == [START_NS + (59 + 60 * k) * 10**9 for k in range(10)]


@given(
    gaps=st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=80),
    known=st.lists(st.booleans(), min_size=80, max_size=80),
)
def test_thinned_rows_stand_for_all_and_keep_each_counters_newest_value(gaps: list[int], known: list[bool]) -> None:
    time_ns, rows = START_NS, []
    for i, gap in enumerate(gaps):
        time_ns += gap
        rows.append(Sample(time_ns, {"odometer_m": float(i)} if known[i] else {"speed_kmh": 1.0}, 1 + i % 3))
    out = thinned(rows, 60 * 10**9)
    assert sum(r.merged for r in out) == sum(r.merged for r in rows)
    assert len(out) <= max(1, len(rows) // 2)
    seen = 0
    for row in out:
        covered = 0
        newest = None
        while covered < row.merged:
            covered += rows[seen].merged
            newest = rows[seen].values.get("odometer_m", newest)
            seen += 1
        assert covered == row.merged  # a row is never cut
        assert row.values.get("odometer_m") == newest
        assert row.time_ns == rows[seen - 1].time_ns
