"""The outbox: nothing is dropped below what is confirmed, and a full one loses rows but no reading."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.outbox import CUMULATIVE, KEEP_LEAST, Outbox
from devices.wire import Sample

START_NS = 1_700_000_000_000_000_000


def filled(n: int, keep_max: int = 1000) -> Outbox:
    box = Outbox(keep_max)
    for i in range(n):
        box.append(START_NS + i, {"odometer_m": float(i)}, float(i))
    return box


def everything(box: Outbox) -> list[tuple[int, Sample]]:
    """(seq, sample) of every row still kept, as a server that confirms each batch at once gets them."""
    rows: list[tuple[int, Sample]] = []
    while len(box):
        batch = box.take(box.confirmed, 7)
        seq = batch.seq0
        for sample in batch.samples:
            rows.append((seq + sample.merged - 1, sample))
            seq += sample.merged
        assert seq == batch.end
        box.confirm(batch.end)
    return rows


def test_what_was_put_in_comes_out() -> None:
    box = Outbox(1000)
    samples = [Sample(START_NS + i, {"lat_deg": 0.1 * i, "odometer_m": 1e12 + i} if i % 3 else {}) for i in range(50)]
    for i, s in enumerate(samples):
        box.append(s.time_ns, s.values, float(i))
    assert everything(box) == list(enumerate(samples))


def test_confirming_drops_only_what_is_wholly_below() -> None:
    box = filled(10)
    assert box.confirm(4) == 4
    assert len(box) == 6
    assert box.confirm(4) == box.confirm(2) == 0
    assert box.take(0, 100).seq0 == 4


def test_a_merged_row_stays_until_all_it_stands_for_is_confirmed() -> None:
    box = filled(17, keep_max=16)  # 16 full, so 0 and 1 became one row
    batch = box.take(0, 1)
    assert (batch.seq0, batch.end, batch.samples[0].merged) == (0, 2, 2)
    box.confirm(1)
    assert box.take(box.confirmed, 1).seq0 == 0
    box.confirm(2)
    assert box.take(box.confirmed, 1).seq0 == 2


def test_the_newer_half_of_the_room_is_not_handed_out() -> None:
    box = filled(30, keep_max=32)
    assert box.pending(0) == 16
    assert len(box.take(0, 100).samples) == 16
    assert box.pending(16) == 0
    box.confirm(10)
    assert box.pending(16) == 10


def test_take_leaves_out_what_is_too_young_but_always_gives_one() -> None:
    box = filled(10)
    assert len(box.take(0, 100, before_s=4.0).samples) == 4
    assert len(box.take(4, 100, before_s=4.0).samples) == 1


def test_nothing_to_take_is_an_error() -> None:
    with pytest.raises(IndexError):
        Outbox(16).take(0, 1)


def test_the_smallest_room_is_checked() -> None:
    with pytest.raises(ValueError, match="below 16"):
        Outbox(KEEP_LEAST - 1)


def test_merging_keeps_the_later_row_and_carries_only_counters() -> None:
    box = Outbox(16)
    box.append(START_NS, {"odometer_m": 5.0, "speed_kmh": 50.0, "fuel_total_hr_l": 1.0}, 0.0)
    box.append(START_NS + 1, {"fuel_total_hr_l": 2.0, "lat_deg": 45.0}, 1.0)
    for i in range(2, 17):
        box.append(START_NS + i, {}, float(i))
    merged = box.take(0, 1).samples[0]
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


def test_a_sent_row_is_never_changed() -> None:
    box = filled(16, keep_max=16)
    before = box.take(0, 8)
    for i in range(16, 500):
        box.append(START_NS + i, {"odometer_m": float(i)}, float(i))
    assert box.take(0, 8) == before


@given(
    keep_max=st.integers(16, 60),
    steps=st.lists(st.tuples(st.sampled_from(["append", "take", "confirm"]), st.integers(1, 40)), max_size=60),
)
def test_any_history_accounts_for_every_reading(keep_max: int, steps: list[tuple[str, int]]) -> None:
    box = Outbox(keep_max)
    server: dict[int, Sample] = {}  # what the server has, by seq
    cursor = 0
    for step, n in steps:
        if step == "append":
            for _ in range(n):
                i = box.numbered
                box.append(START_NS + i, {"odometer_m": float(i)}, float(i))
        elif step == "take" and box.pending(cursor):
            batch = box.take(cursor, n)
            seq = batch.seq0
            for sample in batch.samples:
                last = seq + sample.merged - 1
                assert server.setdefault(last, sample) == sample  # the same reading never changes once sent
                seq += sample.merged
            cursor = batch.end
        elif step == "confirm":
            cursor = max(cursor, min(cursor, box.confirmed + n))
            box.confirm(min(cursor, box.confirmed + n))
        assert len(box) <= keep_max
    server |= dict(everything(box))
    assert sum(s.merged for s in server.values()) == box.numbered
    assert box.thinned == box.numbered - len(server)
    assert all(s.values == {"odometer_m": float(seq)} for seq, s in server.items())


def test_times_do_not_matter_to_order() -> None:
    rng = random.Random(2)
    times = [START_NS + rng.randrange(-(10**15), 10**15) for _ in range(200)]
    box = Outbox(1000)
    for i, t in enumerate(times):
        box.append(t, {}, float(i))
    assert [s.time_ns for _, s in everything(box)] == times
