"""The node: what it keeps, sends and survives, and when it feeds the watchdog."""

from dataclasses import dataclass, field

import pytest

from devices import firmware_record as fr
from devices.firmware import record
from devices.firmware.clock import TICKS_PERIOD
from devices.firmware.framing import HAS_ACKED, HAS_RESUME, HAS_UTC
from devices.firmware.hal_fake import FakeFlash, FakeHal, PowerCutError, down_frame
from devices.firmware.node import Node
from devices.firmware.settings import TruckSettings, WarehouseSettings
from devices.firmware.truck_node import Truck
from devices.firmware.warehouse_node import Warehouse
from devices.firmware_record import Anchor, Beat
from tests.firmware_world import frame

UTC_MS = 1_767_225_600_000


@dataclass
class Bench:
    """A node whose time the test moves; its line ends at ``frames``."""

    node: Node
    hal: FakeHal
    reader: fr.FrameReader = field(default_factory=fr.FrameReader)

    def run(self, ms: int, step_ms: int = 10) -> list[fr.Record]:
        """Let time pass; gives what the node sent."""
        for _ in range(ms // step_ms):
            self.node.step()
            self.hal.now_ms += step_ms
        return self.frames()

    def frames(self) -> list[fr.Record]:
        found = []
        for content in self.reader.feed(self.hal.sent):
            decoded = fr.decode(content)
            assert not isinstance(decoded, fr.Refused)
            found.append(decoded)
        self.hal.sent = b""
        return found

    def say(self, acked: int = 0, resume: int = 0, utc_ms: int = 0, ring_id: int | None = None) -> None:
        flags = HAS_ACKED | HAS_RESUME | (HAS_UTC if utc_ms else 0)
        ring = self.node.ring.ring_id if ring_id is None else ring_id
        self.hal.received += down_frame(flags, ring, acked, resume, utc_ms)


def truck(flash: FakeFlash | None = None, settings: TruckSettings | None = None, seed: int = 3) -> Bench:
    hal = FakeHal(flash or FakeFlash(256, 10), seed)
    settings = settings or TruckSettings()
    node = Node(hal, Truck(settings), settings.interval_ms, settings.baud)
    node.begin()
    return Bench(node, hal)


def warehouse(flash: FakeFlash, inputs: int = 2, seed: int = 3) -> Bench:
    hal = FakeHal(flash, seed)
    settings = WarehouseSettings()
    settings.inputs = inputs
    node = Node(hal, Warehouse(settings), 1000, settings.baud)
    node.begin()
    return Bench(node, hal)


def readings(frames: list[fr.Record]) -> list[fr.Truck | fr.Warehouse]:
    return [f for f in frames if isinstance(f, fr.Truck | fr.Warehouse)]


def test_alone_it_beats_every_second_and_keeps_a_record_every_second() -> None:
    bench = truck()
    frames = bench.run(10_000)
    assert readings(frames) == []
    beats = [f for f in frames if isinstance(f, Beat)]
    assert [b.head.t_ms for b in beats] == [1000 * i for i in range(10)]
    assert [b.next for b in beats] == list(range(10))
    assert bench.node.ring.next == 9


def test_records_go_out_in_order_while_the_gateway_is_heard() -> None:
    bench = truck()
    bench.run(5_000)
    bench.say(utc_ms=UTC_MS)
    got = readings(bench.run(10_000))
    assert [r.head.seq for r in got] == list(range(14))
    assert {r.head.boot_id for r in got} == {bench.node.boot_id}
    assert [r.head.t_ms for r in got] == [1000 * (i + 1) for i in range(14)]
    later = readings(bench.run(5_000))
    assert [r.head.seq for r in later] == [14], "after ten seconds of silence it waits for the gateway"


def test_a_frame_for_another_ring_or_a_damaged_one_changes_nothing() -> None:
    bench = truck()
    bench.run(3_000)
    bench.say(acked=2, ring_id=bench.node.ring.ring_id ^ 1)
    good = down_frame(HAS_ACKED | HAS_RESUME, bench.node.ring.ring_id, 2, 0, 0)
    bench.hal.received += good[:9] + bytes([good[9] ^ 0x40]) + good[10:] + b"\x09nonsense\0"
    frames = bench.run(3_000)
    assert readings(frames) == []
    assert bench.node.ring.acked == 0
    assert [f.bad_frames for f in frames if isinstance(f, Beat)][-1] == 2


def test_acknowledged_records_are_not_sent_again_after_a_start() -> None:
    flash = FakeFlash(256, 20)
    bench = truck(flash)
    bench.run(5_000)
    bench.say(acked=3, utc_ms=UTC_MS)
    bench.run(61_000)
    again = truck(flash, seed=4)
    assert again.node.ring.acked == 3
    again.say(acked=0, resume=0)
    assert readings(again.run(1_000))[0].head.seq == 3


def test_an_acknowledgement_that_was_not_yet_kept_costs_a_repetition_only() -> None:
    flash = FakeFlash(256, 20)
    bench = truck(flash)
    bench.run(5_000)
    bench.say(acked=3)
    bench.run(1_000)
    again = truck(flash, seed=4)
    again.say()
    assert [r.head.seq for r in readings(again.run(900))] == list(range(5))


def test_each_start_has_its_own_id_and_seq_goes_on() -> None:
    flash = FakeFlash(256, 10)
    boots = []
    for seed in (3, 3, 5):
        bench = truck(flash, seed=seed)
        bench.run(3_100)
        boots.append(bench.node.boot_id)
    assert boots[0] != boots[1], "the same random number would be taken once only"
    assert len(set(boots[1:])) == 2
    bench.say()
    assert [(r.head.seq, r.head.boot_id) for r in readings(bench.run(500))] == [(i, boots[i // 3]) for i in range(9)]


def test_anchors_of_four_starts_are_kept_and_sent_before_the_records() -> None:
    flash = FakeFlash(256, 12)
    boots = []
    for i in range(6):
        bench = truck(flash, seed=10 + i)
        bench.run(2_000)
        bench.say(utc_ms=UTC_MS + 100_000 * i)
        bench.run(500)
        boots.append(bench.node.boot_id)
    bench.say()
    frames = [f for f in bench.run(300) if not isinstance(f, Beat)]
    anchors = [f for f in frames if isinstance(f, Anchor)]
    assert frames[:4] == anchors
    assert [(a.head.boot_id, a.head.t_ms, a.utc_ms) for a in anchors] == [
        (boots[i], 2_000, UTC_MS + 100_000 * i) for i in (5, 4, 3, 2)
    ]


def test_a_gateway_that_does_not_know_the_time_makes_no_anchor_and_a_corrected_one_a_new_one() -> None:
    bench = truck()

    def told(utc_ms: int) -> list[int]:
        bench.say(utc_ms=utc_ms)
        bench.run(10)
        return [utc for _boot, _t, utc in bench.node.state.anchors]

    assert told(1_000) == []
    assert told(2**63) == []
    assert told(UTC_MS) == [UTC_MS]
    bench.run(9_990)
    assert told(UTC_MS + 50_000) == [UTC_MS], "a moment later it is not written again"
    bench.run(59_990)
    assert told(UTC_MS + 150_000) == [UTC_MS + 150_000]
    bench.run(119_990)
    assert told(UTC_MS + 270_001) == [UTC_MS + 150_000], "a millisecond is no correction"
    bench.run(6 * 3_600_000, 600_000)
    assert told(UTC_MS + 270_000 + 6 * 3_600_000) == [UTC_MS + 270_000 + 6 * 3_600_000]


def test_time_goes_on_over_the_wrap_of_ticks_and_of_the_record() -> None:
    hal = FakeHal(FakeFlash(256, 10), 3)
    hal.ticks_at_start = TICKS_PERIOD - 2_500
    node = Node(hal, Truck(TruckSettings()), 1000, 115_200)
    node.begin()
    bench = Bench(node, hal)
    bench.say()
    assert [r.head.t_ms for r in readings(bench.run(5_010))] == [1000, 2000, 3000, 4000, 5000]
    for _ in range(9):
        bench.run(2**29, 2**28)
    bench.say()
    before = bench.hal.now_ms
    times = [r.head.t_ms for r in readings(bench.run(3_000))]
    assert before > 2**32
    assert [(t - before) % 2**32 for t in times[-2:]] == [1000, 2000]


def test_the_watchdog_is_fed_once_a_record_was_written_and_the_link_ran() -> None:
    bench = truck()
    bench.run(5_010)
    assert bench.hal.fed == [1000, 2000, 3000, 4000, 5000]


@pytest.mark.parametrize("what", ["flash", "line", "stuck line"])
def test_the_watchdog_starves_when_half_of_the_work_is_not_done(what: str) -> None:
    bench = truck()
    bench.run(3_010)
    assert isinstance(bench.hal.flash, FakeFlash)
    if what == "flash":
        bench.hal.flash.broken = True
    elif what == "line":
        bench.hal.line_broken = True
    else:
        bench.hal.takes = 0
        bench.run(8_000)  # it may be full for five seconds
        bench.hal.fed.clear()
        bench.run(20_000)
        assert bench.hal.fed == []
    fed = list(bench.hal.fed)
    bench.run(30_000)
    assert bench.hal.fed == fed
    assert bench.node.faults > 0
    bench.hal.flash.broken = bench.hal.line_broken = False
    bench.hal.takes = 1000
    bench.run(2_000)
    assert len(bench.hal.fed) >= len(fed) + 2, "and it goes on when it works again"


def test_a_line_that_is_full_for_a_while_is_no_fault() -> None:
    bench = truck()
    bench.run(20_000)
    for _ in range(5):
        bench.hal.takes = 0
        bench.run(4_900)
        bench.hal.takes = 1000
        bench.run(1_000)
    assert bench.node.faults == 0


def test_a_late_pass_keeps_the_beat_and_a_very_late_one_makes_no_burst() -> None:
    bench = truck()
    for now in (1_000, 2_300, 2_990, 3_000, 9_500, 9_600, 10_490, 10_500):
        bench.hal.now_ms = now
        bench.node.step()
    bench.say()
    assert [r.head.t_ms for r in readings(bench.run(10))] == [1_000, 2_300, 3_000, 9_500, 10_500]


def test_a_line_that_takes_little_at_a_time_delivers_whole_frames() -> None:
    bench = truck()
    bench.run(3_000)
    bench.hal.takes = 7
    bench.say()
    frames = bench.run(4_000)
    assert [r.head.seq for r in readings(frames)] == list(range(6))


def test_records_take_no_more_than_half_of_the_line() -> None:
    bench = truck(FakeFlash(4096, 6))
    bench.run(300_000, 100)
    bench.say()
    bench.run(500)
    sent = 0
    for _ in range(50):
        bench.node.step()
        bench.hal.now_ms += 10
        sent += len(bench.hal.sent)
        bench.hal.sent = b""
    assert sent == pytest.approx(0.5 * 11_520 / 2, abs=100)  # half a second


def test_a_start_by_the_watchdog_is_told() -> None:
    bench = truck()
    bench.hal.watchdog_start = True
    bench.say()
    frames = bench.run(2_010)
    assert all(f.flags & fr.WarehouseFlags.AFTER_WATCHDOG for f in frames if isinstance(f, Beat))
    assert all(f.flags & fr.TruckFlags.AFTER_WATCHDOG for f in frames if isinstance(f, fr.Truck))


def test_what_a_truck_measures_is_in_its_record() -> None:
    settings = TruckSettings()
    settings.has_cell = settings.has_axle = True
    settings.cell_zero, settings.cell_kg, settings.cell_counts = 50_000, 10_000, 1_000_000
    bench = truck(settings=settings)
    bench.say()
    for i in range(15):
        bench.hal.frames = [
            frame(0xFEF1, b"\xff\x00\x00"),
            frame(0xFD09, bytes(4) + (1000 + i).to_bytes(4, "little")),
            frame(0xFE70, b"\xff\xff\x49\x0c"),
        ]
        bench.hal.mv = 2_500
        for _ in range(10):
            bench.hal.cell = [50_000 + 123_400]
            bench.run(100)
            bench.hal.end_of_conversion()
    bench.say()
    last = readings(bench.run(1_000))[-1]
    assert isinstance(last, fr.Truck)
    assert last.flags == fr.TruckFlags.BUS_ALIVE | fr.TruckFlags.LOAD_STABLE | fr.TruckFlags.AXLE_STABLE
    assert (last.fuel_total, last.gross_weight, last.load_kg, last.axle_kg) == (1014, 3145, 1234, 6750)
    assert (last.odometer, last.fuel_rate, last.rpm) == (None, None, None)


def test_faults_of_sensors_are_flags_and_no_values() -> None:
    settings = TruckSettings()
    settings.has_cell = settings.has_axle = True
    bench = truck(settings=settings)
    bench.say()
    bench.hal.mv = 0
    bench.hal.bus_fault = True
    first, second = readings(bench.run(2_500))
    assert isinstance(first, fr.Truck)
    assert first.flags == fr.TruckFlags.LOAD_FAULT | fr.TruckFlags.AXLE_FAULT | fr.TruckFlags.BUS_FAULT
    assert second.flags == fr.TruckFlags.LOAD_FAULT | fr.TruckFlags.AXLE_FAULT
    assert (first.load_kg, first.axle_kg, first.speed) == (None, None, None)


def test_the_tare_button_sets_the_zero_for_good() -> None:
    settings = TruckSettings()
    settings.has_cell = True
    flash = FakeFlash(256, 10)

    def seen(bench: Bench, counts: int, seconds: int) -> int | None:
        bench.say()
        found: list[fr.Record] = []
        for _ in range(10 * seconds):
            bench.hal.cell = [counts]
            found += bench.run(100)
            bench.hal.end_of_conversion()
        last = readings(found)[-1]
        assert isinstance(last, fr.Truck)
        return last.load_kg

    bench = truck(flash, settings)
    assert seen(bench, 70_000, 3) == 700
    bench.hal.tare = True
    seen(bench, 70_000, 2)
    bench.hal.tare = False
    assert seen(bench, 70_000, 2) == 700, "a short press does nothing"
    bench.hal.tare = True
    assert seen(bench, 70_000, 5) == 0
    assert seen(bench, 75_000, 5) == 50, "held on it does nothing more"
    bench.hal.tare = False
    seen(bench, 75_000, 2)
    bench.hal.tare = True
    bench.run(5_000)
    assert bench.node.faults == 0, "a cell that does not answer has no zero to take"
    bench.hal.tare = False
    again = truck(flash, settings, seed=9)
    assert seen(again, 70_000, 3) == 0, "also after a power cut"
    assert seen(again, 170_000, 3) == 1_000


def test_pulses_go_on_counting_after_a_power_cut() -> None:
    flash = FakeFlash(256, 8)
    bench = warehouse(flash)
    for _ in range(30):
        bench.hal.edge(0, True)
        bench.run(50)
        bench.hal.edge(0, False)
        bench.run(50)
    bench.run(1_000)
    bench.say()
    first = readings(bench.run(100))
    assert bench.hal.locks == 0, "interrupts are on again"
    assert isinstance(first[-1], fr.Warehouse)
    assert first[-1].counts == (30, 0, None)
    assert first[-1].flags == fr.WarehouseFlags.COUNT_NEW
    again = warehouse(flash, seed=5)
    again.hal.edge(0, True)
    again.run(1_010)
    again.say(resume=again.node.ring.next - 1)
    (last,) = readings(again.run(100))
    assert isinstance(last, fr.Warehouse)
    assert (last.counts, last.flags) == ((31, 0, None), fr.WarehouseFlags(0))


def test_a_flash_from_a_truck_begins_counting_at_zero() -> None:
    flash = FakeFlash(256, 8)
    truck(flash).run(3_000)
    bench = warehouse(flash, inputs=3)
    bench.run(1_010)
    bench.say(resume=bench.node.ring.next - 1)
    (last,) = readings(bench.run(100))
    assert isinstance(last, fr.Warehouse)
    assert (last.counts, last.flags) == ((0, 0, 0), fr.WarehouseFlags.COUNT_NEW)


@pytest.mark.parametrize("erase_order", [1, -1])
def test_power_cuts_all_along_a_life_lose_nothing_that_was_kept(erase_order: int) -> None:
    """A node that records, is acknowledged and anchored; the power goes after every 11th byte it ever writes."""
    flash = FakeFlash(256, 10)
    flash.erase_order = erase_order
    kept: dict[int, bytes] = {}
    acked = 0
    starts = 0
    while flash.written < 6_000:
        starts += 1
        flash.cut_in = -1
        bench = truck(flash, seed=starts)
        ring = bench.node.ring
        assert acked >= ring.acked >= 0
        ring.rewind(0)
        found = {}
        while (data := ring.next_record()) is not None:
            found[record.head(data)[2]] = data
        missing = [s for s in kept if s >= ring.oldest and s not in found]
        assert missing == []
        assert all(kept.get(seq) == data for seq, data in found.items()), "and nothing is invented"
        assert ring.next == (max(kept) + 1 if kept else 0)
        assert max(kept, default=0) - ring.oldest < 40, "eight sectors of five"
        ring.rewind(ring.acked)
        flash.cut_in = 11 * starts % 700
        try:
            while True:
                bench.say(acked=max(0, ring.next - 3), utc_ms=UTC_MS + 10_000_000 * starts)
                bench.run(500)
                if ring.last:
                    kept[record.head(ring.last)[2]] = ring.last
                acked = max(acked, ring.acked)
        except PowerCutError:
            if ring.last and record.head(ring.last)[2] not in kept:
                kept[record.head(ring.last)[2]] = ring.last
            acked = max(acked, ring.acked)
    assert starts > 15
