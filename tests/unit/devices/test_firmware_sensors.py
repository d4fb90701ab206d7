"""Sensors of the firmware: bus, load cell, air pressure, pulses, clock."""

import random

import pytest

from devices.firmware import load, record
from devices.firmware.clock import TICKS_PERIOD, Clock, ticks_since
from devices.firmware.hal_fake import FakeFlash, FakeHal
from devices.firmware.j1939 import (
    ERROR,
    NOT_AVAILABLE,
    RESERVED,
    VALUE,
    Bus,
    classify,
    filters,
    pgn_of,
    source_of,
)
from devices.firmware.load import (
    CHANNEL_A_64,
    CHANNEL_A_128,
    CHANNEL_B_32,
    Axle,
    Cell,
    Steady,
    by_line,
    read_hx711,
    to_kg,
)
from devices.firmware.pulse import Pulses
from tests.firmware_world import frame
from tests.support import SHARED

LFE, HRLFC, LFC, CCVS, TCO1, VDHR, EEC1, CVW = 0xFEF2, 0xFD09, 0xFEE9, 0xFEF1, 0xFE6C, 0xFEC1, 0xF004, 0xFE70
NA2, NA4 = record.NA16, record.NA32


def hal() -> FakeHal:
    return FakeHal(FakeFlash(256, 8), 1)


# bus


@pytest.mark.parametrize(
    ("can_id", "pgn", "source"),
    [
        (0x18FEF200, 0xFEF2, 0x00),
        (0x0CF00400, 0xF004, 0x00),
        (0x18FDFF17, 0xFDFF, 0x17),
        (0x18EAFF03, 0xEA00, 0x03),  # PDU1: 0xFF is a destination
        (0x1DFEF2EE, 0x1FEF2, 0xEE),  # data page 1 is another group
    ],
)
def test_identifiers(can_id: int, pgn: int, source: int) -> None:
    assert (pgn_of(can_id), source_of(can_id)) == (pgn, source)


def test_the_filters_let_our_groups_pass_from_anyone_and_nothing_else() -> None:
    ours = {LFE, HRLFC, LFC, CCVS, TCO1, VDHR, EEC1, CVW}
    for pgn in range(0x40000):
        for rest in (0x18000000, 0x0C0000EE):
            passes = any((rest & ~0x3FFFF00 | pgn << 8) & mask == can_id for can_id, mask in filters())
            assert passes == (pgn in ours)


@pytest.mark.parametrize(
    ("top", "kind"),
    [(0x00, VALUE), (0xFA, VALUE), (0xFB, RESERVED), (0xFD, RESERVED), (0xFE, ERROR), (0xFF, NOT_AVAILABLE)],
)
def test_the_highest_byte_decides(top: int, kind: int) -> None:
    for size in (1, 2, 4):
        for rest in (0, 2 ** (8 * (size - 1)) - 1):
            assert classify(top << 8 * (size - 1) | rest, size) == kind


@pytest.mark.parametrize(
    ("pgn", "data", "index", "raw"),
    [
        (LFE, "6801 ffffffffffff", 2, 360),  # 18.0 L/h
        (HRLFC, "ffffffff 15cd5b07", 0, 123_456_789),
        (LFC, "00000000 40420f00", 0, 1_000_000),  # 500,000 L
        (CCVS, "ff 0050 ffffffffff", 3, 20_480),  # 80 km/h
        (TCO1, "ffffffffffff 0150", 3, 20_481),
        (VDHR, "00366e01 ffffffff", 1, 24_000_000),  # 120,000 km
        (EEC1, "ffffff 8025 ffffff", 4, 9_600),  # 1,200 rpm
        (CVW, "ffff 490c", 5, 3_145),  # 31.45 t
    ],
)
def test_each_signal_is_where_the_standard_has_it(pgn: int, data: str, index: int, raw: int) -> None:
    bus = Bus()
    nothing = (NA4, NA4, NA2, NA2, NA2, NA2)
    assert bus.fields(0) == nothing
    bus.on_frame(*frame(pgn, bytes.fromhex(data)), 5)
    assert bus.fields(5) == (*nothing[:index], raw, *nothing[index + 1 :])


@pytest.mark.parametrize("raw", [0xFB00, 0xFDFF, 0xFE00, 0xFEFF, 0xFF00, 0xFFFF])
def test_what_is_no_value_clears_what_was(raw: int) -> None:
    bus = Bus()
    bus.on_frame(*frame(LFE, b"\x64\x00" + b"\xff" * 6), 0)
    bus.on_frame(*frame(LFE, raw.to_bytes(2, "little") + b"\xff" * 6), 100)
    assert bus.fields(100)[2] == NA2


def test_a_short_frame_and_an_unknown_group_are_nothing() -> None:
    bus = Bus()
    bus.on_frame(*frame(HRLFC, b"\0" * 7), 0)
    bus.on_frame(*frame(0xFECA, b"\0" * 8), 0)
    assert bus.fields(0) == (NA4, NA4, NA2, NA2, NA2, NA2)
    assert bus.flags(0) == record.BUS_ALIVE


def test_a_value_grows_old() -> None:
    bus = Bus()
    bus.on_frame(*frame(CCVS, b"\xff\x00\x50"), 1000)
    bus.on_frame(*frame(CVW, b"\xff\xff\x49\x0c"), 1000)
    assert bus.fields(2000)[3] == 0x5000
    assert bus.fields(2001)[3] == NA2
    assert bus.fields(31_000)[5] == 3_145
    assert bus.fields(31_001)[5] == NA2
    assert bus.flags(3000) & record.BUS_ALIVE
    assert not bus.flags(3001) & record.BUS_ALIVE


def test_the_tachograph_before_the_wheels_and_the_fine_total_before_the_coarse() -> None:
    bus = Bus()
    bus.on_frame(*frame(CCVS, b"\xff\x00\x50"), 0)
    bus.on_frame(*frame(LFC, bytes(4) + b"\x02\0\0\0"), 0)
    assert bus.fields(0)[3] == 0x5000
    assert bus.flags(0) & (record.TACHO_SPEED | record.FUEL_COARSE) == record.FUEL_COARSE
    bus.on_frame(*frame(TCO1, bytes(6) + b"\x01\x50", source=0xEE), 0)
    bus.on_frame(*frame(HRLFC, bytes(4) + b"\0\0\0\0"), 0)
    assert bus.fields(0)[0] == 0, "a new truck's total, and not the coarse one"
    assert bus.fields(0)[3] == 0x5001
    assert bus.flags(0) & (record.TACHO_SPEED | record.FUEL_COARSE) == record.TACHO_SPEED
    assert bus.fields(1500)[3] == NA2
    bus.on_frame(*frame(TCO1, bytes(8), source=0xEE), 2000)
    assert bus.fields(2000)[3] == 0
    assert bus.flags(2000) & record.TACHO_SPEED


def test_the_first_source_is_believed_until_it_is_silent_or_has_no_value() -> None:
    bus = Bus()

    def ccvs(speed: int, source: int, now: int) -> tuple[int, bool]:
        bus.on_frame(*frame(CCVS, b"\xff" + speed.to_bytes(2, "little"), source=source), now)
        return bus.fields(now)[3], bool(bus.flags(now) & record.SECOND_SOURCE)

    assert ccvs(0xFFFF, 0x17, 0) == (NA2, False), "without a value it is no source"
    assert ccvs(100, 0xEE, 0) == (100, False)
    assert ccvs(900, 0x17, 10) == (100, True)
    assert ccvs(101, 0xEE, 20) == (101, True)
    assert ccvs(0xFFFF, 0x17, 30) == (101, True), "the other's absence is not the first one's"
    assert ccvs(901, 0x17, 1_020) == (101, True)
    assert ccvs(902, 0x17, 1_021) == (902, True), "silent for more than a second"
    assert ccvs(102, 0xEE, 1_030) == (902, True)
    assert ccvs(0xFE00, 0x17, 1_040) == (NA2, True)
    assert ccvs(103, 0xEE, 1_050) == (103, True)
    assert bus.flags(11_031) & record.SECOND_SOURCE == 0


@pytest.mark.parametrize(("pgn", "index", "before"), [(VDHR, 1, b""), (HRLFC, 0, bytes(4)), (LFC, 0, bytes(4))])
def test_another_unit_s_counter_is_never_believed_in_the_same_start(pgn: int, index: int, before: bytes) -> None:
    bus = Bus()

    def total(raw: int, source: int, now: int) -> int:
        bus.on_frame(*frame(pgn, before + raw.to_bytes(4, "little"), source=source), now)
        return bus.fields(now)[index]

    assert total(7_500, 0x17, 0) == 7_500
    assert total(31_782_120, 0xEE, 10) == 7_500
    assert total(0xFFFFFFFF, 0x17, 20) == NA4
    assert total(31_782_121, 0xEE, 30) == NA4
    assert total(31_782_122, 0xEE, 60_000) == NA4
    assert bus.flags(60_000) & record.SECOND_SOURCE
    assert total(7_501, 0x17, 60_010) == 7_501


def test_address_0_is_a_source_like_any_other() -> None:
    bus = Bus()
    bus.on_frame(*frame(CCVS, b"\xff\x00\x10", source=0), 0)
    bus.on_frame(*frame(CCVS, b"\xff\x00\x20", source=5), 1)
    assert bus.fields(1)[3] == 0x1000


def test_standing_is_known_only_from_a_speed() -> None:
    bus = Bus()
    assert not bus.standing(0)
    bus.on_frame(*frame(CCVS, b"\xff\xff\x00"), 0)
    assert bus.standing(0)
    bus.on_frame(*frame(CCVS, b"\xff\x00\x01"), 1)
    assert not bus.standing(1)


def replayed(name: str, every_ms: int) -> list[tuple[int, ...]]:
    """Fields every so often while a recording is replayed."""
    import pyarrow.parquet as pq

    table = pq.read_table(SHARED / f"data/j1939_logs/{name}.parquet").to_pydict()
    bus = Bus()
    fields: list[tuple[int, ...]] = []
    for t, can_id, data in zip(table["t"], table["can_id"], table["data"], strict=True):
        now = round((t - table["t"][0]) * 1000)
        if now // every_ms > len(fields):
            fields.append(bus.fields(now))
        bus.on_frame(can_id, data, now)
    return fields


needs_recordings = pytest.mark.skipif(not (SHARED / "data/j1939_logs").is_dir(), reason="../shared/data is not here")


@needs_recordings
def test_a_recorded_engine_idles_as_truck_engines_do() -> None:
    """Physics as the second opinion: 600 to 700 rpm and 1.5 to 4 L/h, standing."""
    rows = replayed("css_j1939_lfe_127s", 1000)
    assert len(rows) > 100
    for _fuel, _distance, rate, speed, rpm, _weight in rows:
        assert 1.5 <= rate * 0.05 <= 4
        assert 600 <= rpm * 0.125 <= 700
        assert speed == 0


@needs_recordings
def test_a_recorded_bus_with_two_odometers_gives_one_of_them() -> None:
    """Address 0x17 says 37.5 km, at last 0; 0xEE says 158,911 km half a second before 0x17 does too."""
    rows = replayed("css_j1939_gnss_401s", 50)
    seen = [distance for _fuel, distance, *_others in rows]
    changes = [a for a, b in zip([None, *seen], seen, strict=False) if a != b]
    assert seen[0] == NA4
    assert changes == [None, NA4, 7_500, 0]
    assert seen[-1] == 31_782_120


@needs_recordings
def test_a_recorded_bus_with_its_engine_off_has_no_value_where_it_sends_codes_only() -> None:
    assert {row[5] for row in replayed("css_j1939_idle_186s", 1000)} == {NA2}, "no gross weight on that truck"


# load cell


@pytest.mark.parametrize(
    ("bits", "value"),
    [
        (0x000000, 0),
        (0x000001, 1),
        (0x7FFFFE, 8_388_606),
        (0xFFFFFF, -1),
        (0x800001, -8_388_607),
        (0x7FFFFF, None),  # saturated
        (0x800000, None),
    ],
)
@pytest.mark.parametrize("pulses", [CHANNEL_A_128, CHANNEL_B_32, CHANNEL_A_64])
def test_24_bits_twos_complement_and_the_pulses_that_choose_the_channel(
    bits: int, value: int | None, pulses: int
) -> None:
    h = hal()
    h.cell = [bits]
    assert read_hx711(h, pulses) == value
    h.end_of_conversion()
    assert h.hx_pulses == [pulses]
    assert 25 <= pulses <= 27


@pytest.mark.parametrize("slip", range(1, 26))
def test_a_pulse_that_gets_lost_makes_no_value(slip: int) -> None:
    h = hal()
    h.cell = [0x123456]
    h.slip = slip
    assert read_hx711(h, CHANNEL_A_128) is None


def test_a_line_shorted_to_ground_makes_no_value() -> None:
    h = hal()
    h.cell_shorted = True
    assert read_hx711(h, CHANNEL_A_128) is None


def poll(cell: Cell, h: FakeHal, conversions: list[int], now: int = 0) -> None:
    h.cell = [value & 0xFFFFFF for value in conversions]
    while h.cell:
        cell.poll(h, now)
        h.end_of_conversion()


def test_the_median_of_a_second_without_the_first_four_conversions() -> None:
    h, cell = hal(), Cell(CHANNEL_A_128)
    poll(cell, h, [7_000_000] * 4)
    assert cell.take() is None
    poll(cell, h, [100, -3_000_000, 101, 99, 5_000_000])
    assert cell.take() == 100, "single spikes do not move it"
    assert cell.take() is None, "and it is not repeated"


def test_a_saturated_conversion_does_not_count() -> None:
    h, cell = hal(), Cell(CHANNEL_A_128)
    poll(cell, h, [1] * 4 + [0x7FFFFF, 0x800000, 50])
    assert cell.take() == 50
    assert cell.bad == 2


def test_a_cell_that_falls_silent_is_reset_once_a_second_and_settles_again() -> None:
    h, cell = hal(), Cell(CHANNEL_A_128)
    poll(cell, h, [1] * 5, 0)
    cell.take()
    for now in range(0, 3001, 10):
        cell.poll(h, now)
    assert h.hx_resets == 2
    poll(cell, h, [9] * 4 + [77], 3010)
    assert cell.take() == 77


def test_a_cell_that_answers_is_not_reset() -> None:
    h, cell = hal(), Cell(CHANNEL_A_128)
    for now in range(0, 5000, 100):
        poll(cell, h, [5], now)
        cell.poll(h, now + 50)
    assert h.hx_resets == 0
    cell.take()
    late = Cell(CHANNEL_A_128)
    late.poll(h, 50_000)
    late.poll(h, 51_000)
    assert h.hx_resets == 0, "a second after the first look, not after the start"


def test_a_cell_at_80_hz_that_nobody_asks_does_not_fill_the_memory() -> None:
    h, cell = hal(), Cell(CHANNEL_A_128)
    poll(cell, h, [3] * 1000)
    assert len(cell._kept) == load.CONVERSIONS_MOST


@pytest.mark.parametrize(
    ("raw", "kg"),
    [(0, 0), (1_000_000, 10_000), (49, 0), (50, 1), (-50, 0), (-51, -1), (1_234_567, 12_346)],
)
def test_scale_in_whole_numbers_rounds_half_up(raw: int, kg: int) -> None:
    assert to_kg(raw + 7, 7, 10_000, 1_000_000) == kg
    assert to_kg(7 - raw, 7, 10_000, -1_000_000) == kg


def test_steady_when_standing_for_ten_or_quiet_for_sixty() -> None:
    steady = Steady(100, 10, 60)
    assert steady.result() == (record.NA16, False)
    for i in range(9):
        steady.add(1000 + i, True)
        assert steady.result() == (1000 + i, False)
    steady.add(1009, True)
    assert steady.result() == (1004, True)
    steady.add(1111, True)
    assert steady.result() == (1111, False), "spread of 110 within the last ten"


def test_moving_it_takes_a_minute_and_a_gap_begins_it_anew() -> None:
    steady = Steady(100, 10, 60)
    noise = random.Random(1)
    for i in range(59):
        steady.add(5000 + noise.randint(-50, 50), False)
        assert not steady.result()[1], i
    steady.add(5000, False)
    kg, is_steady = steady.result()
    assert is_steady
    assert abs(kg - 5000) <= 50
    for _ in range(100):
        steady.add(5000 + noise.randint(-50, 50), False)
        assert steady.result()[1]
    steady.add(5200, False)
    assert not steady.result()[1]
    steady.add(None, False)
    assert steady.result() == (record.NA16, False)
    steady.add(5000, False)
    assert steady.result() == (5000, False)


def test_axle_load_by_two_points_and_what_a_broken_wire_gives() -> None:
    h, axle = hal(), Axle(250, 4750, (1_000, 2_000, 4_000, 11_500))
    for mv, kg in (
        (1_000, 2_000),
        (4_000, 11_500),
        (2_500, 6_750),
        (1_003, 2_010),
        (250, -375),
        (249, None),
        (4_751, None),
    ):
        h.mv = mv
        axle.poll(h)
        assert axle.take() == kg
    assert axle.take() is None
    for h.mv in (2_500, 0, 2_500):
        axle.poll(h)
    assert axle.take() == 6_750
    assert by_line(5, 0, 0, 10, -100) == -50


# pulses


def train(pulses: Pulses, edges: list[tuple[int, bool]]) -> tuple[int, int]:
    for at, closed in edges:
        pulses.on_edge(closed, at % TICKS_PERIOD)
    pulses.settle((edges[-1][0] + 1000) % TICKS_PERIOD)
    return pulses.count, pulses.glitches


def begun() -> Pulses:
    pulses = Pulses(10)
    pulses.begin(False, 0)
    return pulses


def test_each_closing_counts_once() -> None:
    assert train(begun(), [(100, True), (130, False), (160, True), (190, False)]) == (2, 0)


def test_bounce_and_spikes_do_not_count() -> None:
    bouncing = [
        (100, True),
        (101, False),
        (103, True),
        (104, False),
        (106, True),
        (140, False),
        (142, True),
        (143, False),
    ]
    assert train(begun(), bouncing) == (1, 2)
    assert train(begun(), [(100, True), (109, False), (500, True), (501, False)]) == (0, 2)
    assert train(begun(), [(100, True), (110, False)]) == (1, 0)


def test_an_input_that_is_closed_at_the_start_has_not_made_a_pulse() -> None:
    pulses = Pulses(10)
    pulses.on_edge(True, 50)
    assert train(pulses, [(500, False), (600, True), (650, False)]) == (1, 0)


def test_a_pulse_is_seen_while_it_lasts() -> None:
    pulses = begun()
    pulses.on_edge(True, 100)
    pulses.settle(109)
    assert pulses.count == 0
    pulses.settle(110)
    pulses.settle(5000)
    assert pulses.count == 1


def test_an_edge_that_was_missed_does_not_make_or_take_a_pulse() -> None:
    assert train(begun(), [(100, True), (105, True), (140, False)]) == (1, 0)


def test_ticks_that_wrap_within_a_pulse() -> None:
    pulses = begun()
    pulses.begin(False, TICKS_PERIOD - 100)
    assert train(pulses, [(TICKS_PERIOD - 5, True), (TICKS_PERIOD + 25, False)]) == (1, 0)


# clock


def test_the_clock_goes_on_when_the_ticks_wrap() -> None:
    clock = Clock()
    assert clock.now(TICKS_PERIOD - 10) == 0
    assert clock.now(5) == 15
    assert clock.now(5) == 15
    total = 15
    for _ in range(10):
        total += TICKS_PERIOD - 1
        assert clock.now((5 + total - 15) % TICKS_PERIOD) == total
    assert total > 2**32, "beyond 49.7 days"
    assert ticks_since(3, TICKS_PERIOD - 3) == 6
