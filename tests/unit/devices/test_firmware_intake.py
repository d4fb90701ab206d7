"""What the gateway takes from a node: order, gaps, repeats, acknowledgement, and the time of a record."""

import struct
import zlib

import pytest

from devices import firmware_record as fr
from devices.firmware import framing
from devices.firmware_intake import GAP_TRIES, STARTS_KEPT, Intake
from devices.firmware_record import Anchor, Beat, Head, Truck, TruckFlags, Warehouse, WarehouseFlags
from devices.wire import Sample

NOW_NS = 1_767_225_600 * 10**9
S = 10**9
RING = 0xC0FFEE
BOOT = 77


def reading(seq: int, t_ms: int = 0, boot_id: int = BOOT) -> bytes:
    """A reading whose only value is its seq, so that samples can be told apart."""
    return fr.frame(
        fr.encode(Truck(Head(boot_id, seq, t_ms), seq, None, None, None, None, None, None, None, TruckFlags(0)))
    )


def beat(
    following: int, t_ms: int = 0, acked: int = 0, oldest: int = 0, boot_id: int = BOOT, ring: int = RING
) -> bytes:
    head = Head(boot_id, following, t_ms % 2**32)
    return fr.frame(fr.encode(Beat(head, ring, acked, following, oldest, 0, 0, WarehouseFlags(0))))


def anchor(boot_id: int, t_ms: int, utc_ms: int) -> bytes:
    return fr.frame(fr.encode(Anchor(Head(boot_id, 0, t_ms), utc_ms)))


def values(record: Truck | Warehouse) -> dict[str, float]:
    assert isinstance(record, Truck)
    assert record.fuel_total is not None
    return {"seq": record.fuel_total}


class Line:
    """An intake whose clock the test moves."""

    def __init__(self, ack_after_s: float = 0) -> None:
        self.intake = Intake(values, ack_after_s=ack_after_s)
        self.now_s = 1000.0

    def give(self, *frames: bytes, after_s: float = 0) -> list[Sample]:
        self.now_s += after_s
        return list(self.intake.on_bytes(b"".join(frames), self.now_s, self.now_ns))

    def seqs(self, *frames: bytes, after_s: float = 0) -> list[int]:
        return [int(sample.values["seq"]) for sample in self.give(*frames, after_s=after_s)]

    @property
    def now_ns(self) -> int:
        return NOW_NS + round((self.now_s - 1000) * S)

    def reply(self, after_s: float = 0) -> tuple[int, int | None] | None:
        """(acked, resume) of what it answers."""
        self.now_s += after_s
        data = self.intake.reply(self.now_s, self.now_ns)
        if not data:
            return None
        (content,) = framing.Reader().feed(data)
        down = framing.unpack_down(content)
        assert down is not None
        flags, ring_id, acked, resume, utc_ms = down
        assert ring_id in (RING, RING + 1)
        assert flags & framing.HAS_ACKED
        assert utc_ms == self.now_ns // 10**6
        return acked, resume if flags & framing.HAS_RESUME else None


def test_before_a_beat_nothing_is_taken_or_answered() -> None:
    line = Line()
    assert line.seqs(reading(0)) == []
    assert line.reply(5) is None


def test_a_record_of_a_flash_that_is_not_yet_named_is_not_taken_though_it_could_be_dated() -> None:
    line = Line()
    assert line.seqs(anchor(BOOT, 0, NOW_NS // 10**6), reading(0)) == []
    line.give(beat(1))
    assert line.reply() == (0, 0)
    assert line.seqs(reading(0)) == [0]


def test_the_first_beat_asks_for_everything_that_is_not_acknowledged() -> None:
    line = Line()
    line.give(beat(9, acked=4))
    assert line.reply() == (4, 4)
    assert line.seqs(reading(4), reading(5), reading(6)) == [4, 5, 6]
    assert line.reply() is None, "once a second is enough"
    assert line.reply(1) == (7, None)


def test_a_reading_is_acknowledged_only_after_it_is_safe_here() -> None:
    line = Line(ack_after_s=15)
    line.give(beat(9))
    assert line.reply() == (0, 0)
    line.seqs(reading(0), reading(1))
    assert line.reply(1) == (0, None)
    line.seqs(reading(2))
    assert line.reply(1) == (0, None)
    for _ in range(13):
        assert line.reply(1) == (0, None)
    assert line.reply(1) == (2, None)
    assert line.reply(1) == (3, None)


def test_with_an_outbox_on_disk_only_what_is_on_it_is_acknowledged() -> None:
    line = Line(ack_after_s=15)
    line.intake.on_durable(float("-inf"))
    line.give(beat(9))
    line.reply()
    line.seqs(reading(0), reading(1))
    assert line.reply(1) == (0, None)  # taken at 1001
    for _ in range(100):
        assert line.reply(1) == (0, None), "time alone makes nothing safe"
    line.intake.on_durable(1001.0)
    assert line.reply(1) == (0, None)
    line.intake.on_durable(1001.5)
    assert line.reply(1) == (2, None)
    line.seqs(reading(2))
    assert line.reply(1) == (2, None)
    line.intake.on_durable(line.now_s + 1)
    assert line.reply(1) == (3, None)


def test_a_reading_that_nobody_took_is_not_acknowledged() -> None:
    line = Line()
    line.give(beat(2))
    line.reply()
    samples = line.intake.on_bytes(reading(0) + reading(1), line.now_s, line.now_ns)
    next(samples)
    del samples  # as when the gateway is told to stop
    assert line.reply(1) == (0, None)
    line.intake.on_open()
    line.give(beat(2), after_s=1)
    assert line.reply() == (0, 0), "the line is quiet although there is more"
    assert line.seqs(reading(0), reading(1)) == [0, 1]


def test_what_was_taken_before_is_passed_over() -> None:
    line = Line()
    line.give(beat(3))
    line.reply()
    assert line.seqs(reading(0), reading(1), reading(0), reading(1), reading(2)) == [0, 1, 2]
    assert line.intake.figures.repeated == 2


def test_a_missing_reading_is_asked_for_and_nothing_behind_it_is_taken() -> None:
    line = Line()
    line.give(beat(5))
    line.reply()
    assert line.seqs(reading(0), reading(2), reading(3), after_s=1) == [0]
    assert line.reply() == (1, 1)
    assert line.seqs(reading(4), after_s=0.1) == [], "was on the line already"
    assert line.reply() is None
    assert line.seqs(*[reading(i) for i in range(1, 5)], after_s=0.1) == [1, 2, 3, 4]
    assert line.reply(1) == (5, None)
    assert line.intake.figures.lost == 0


def test_a_reading_that_the_node_does_not_have_is_given_up_after_it_went_back_often_enough() -> None:
    line = Line()
    line.give(beat(4))
    line.reply()
    assert line.seqs(reading(0), after_s=1) == [0]
    for i in range(GAP_TRIES):
        assert line.seqs(reading(2), reading(3), after_s=1) == [], i
        assert line.reply() == (1, 1)
    assert line.seqs(reading(2), reading(3), after_s=1) == [2, 3]
    assert line.intake.figures.lost == 1


def test_one_reading_behind_the_missing_one_is_enough_to_see_that_the_node_went_back() -> None:
    line = Line()
    line.give(beat(3))
    line.reply()
    assert line.seqs(reading(0), reading(2), after_s=1) == [0]
    for i in range(GAP_TRIES - 1):
        line.reply()
        assert line.seqs(reading(2), after_s=1) == [], i
    line.reply()
    assert line.seqs(reading(2), after_s=1) == [2]


@pytest.mark.parametrize("second_comes", [True, False])
@pytest.mark.parametrize("how", ["came at last", "given up", "said to be gone", "another flash"])
def test_each_gap_has_tries_of_its_own(how: str, second_comes: bool) -> None:
    line = Line()
    line.give(beat(9))
    line.reply()
    assert line.seqs(reading(0), reading(3), after_s=1) == [0]
    for _ in range(GAP_TRIES - 1):
        line.reply(1)
        assert line.seqs(reading(3)) == []
    line.reply(1)
    if how == "came at last":
        assert line.seqs(reading(1), reading(2), reading(3)) == [1, 2, 3]
    elif how == "given up":
        assert line.seqs(reading(3)) == [3]
    elif how == "said to be gone":
        assert line.seqs(beat(9, oldest=3), reading(3)) == [3]
    else:
        assert line.seqs(beat(9, acked=4, ring=RING + 1)) == []
        line.reply()
    before = line.intake.figures.lost
    assert line.seqs(reading(6), reading(7)) == []
    for _ in range(GAP_TRIES - 1):
        line.reply(1)
        assert line.seqs(reading(6), reading(7)) == []
    line.reply(1)
    assert line.seqs(*[reading(i) for i in range(4 if second_comes else 6, 8)]) == (
        [4, 5, 6, 7] if second_comes else [6, 7]
    )
    assert line.intake.figures.lost == before + (0 if second_comes else 2)


def test_a_line_that_is_opened_again_begins_with_no_half_frame_and_miscounts_nothing() -> None:
    line = Line()
    line.give(beat(1), b"\x09x\0\x09x\0", reading(0)[:9])
    assert line.intake.figures.damaged == 2
    line.intake.on_open()
    assert line.seqs(reading(0)) == [0]
    assert line.give(b"\x09x\0") == []
    assert line.intake.figures.damaged == 3


def test_a_node_that_did_not_hear_is_asked_again_and_again_and_nothing_is_given_up() -> None:
    line = Line()
    line.give(beat(1000))
    line.reply()
    line.seqs(reading(0))
    for seq in range(2, 50):
        assert line.seqs(reading(seq), after_s=1) == []
        assert line.reply() == (1, 1)
    assert line.seqs(reading(1), reading(2), reading(3)) == [1, 2, 3]
    assert line.intake.figures.lost == 0


def test_only_the_first_reading_that_is_left_ends_a_gap() -> None:
    """Reading 1 is gone. 2 is in the node's flash but gets damaged on the line again and again; it is not given up."""
    line = Line()
    line.give(beat(9))
    line.reply()
    assert line.seqs(reading(0), reading(2), reading(3), after_s=1) == [0]
    for _ in range(3 * GAP_TRIES):
        line.reply(1)
        assert line.seqs(reading(3), reading(4)) == []
    line.reply(1)
    assert line.seqs(reading(2), reading(3)) == [2, 3]
    assert line.intake.figures.lost == 1


def test_what_the_node_says_it_no_longer_has_is_lost_at_once() -> None:
    line = Line()
    line.give(beat(3))
    line.reply()
    line.seqs(reading(0))
    line.give(beat(500, oldest=400), after_s=1)
    line.reply()
    assert line.seqs(reading(400)) == [400]
    assert line.intake.figures.lost == 399


def test_the_last_reading_that_got_lost_is_asked_for_when_a_beat_shows_it() -> None:
    line = Line()
    line.give(beat(1))
    line.reply()
    line.seqs(reading(0))
    line.give(beat(2), after_s=1)
    assert line.reply() == (1, None), "it may be on the line"
    line.give(beat(2), after_s=1)
    assert line.reply() == (1, 1)


def test_another_flash_begins_anew() -> None:
    line = Line()
    line.give(beat(3))
    line.reply()
    assert line.seqs(reading(0), reading(1), reading(2)) == [0, 1, 2]
    line.give(beat(1, ring=RING + 1), after_s=1)
    assert line.reply() == (0, 0)
    assert line.seqs(reading(0)) == [0]


def test_a_node_that_forgot_its_newest_records_goes_on_from_there() -> None:
    line = Line()
    line.give(beat(5))
    line.reply()
    assert line.seqs(*[reading(i) for i in range(5)]) == list(range(5))
    line.give(beat(3, acked=0), after_s=1)
    assert line.reply() == (3, 3)
    assert line.seqs(reading(3)) == [3]


def test_records_are_dated_by_their_age_at_the_beat() -> None:
    line = Line()
    line.give(beat(3, t_ms=60_000))
    line.reply()
    first, second = line.give(reading(0, t_ms=1_000), reading(1, t_ms=60_000))
    assert first.time_ns == NOW_NS - 59 * S
    assert second.time_ns == NOW_NS
    (third,) = line.give(reading(2, t_ms=60_500), after_s=10)
    assert third.time_ns == NOW_NS + S // 2, "by the age, not by the arrival"


def test_the_least_delayed_beat_dates_them() -> None:
    line = Line()
    line.give(beat(1, t_ms=0))
    line.give(beat(1, t_ms=1_000), after_s=3)  # two seconds late
    line.reply()
    (sample,) = line.give(reading(0, t_ms=1_000))
    assert sample.time_ns == NOW_NS + S


def test_t_ms_wraps_after_49_7_days() -> None:
    line = Line()
    wrap_ms = 2**32
    line.give(beat(5, t_ms=wrap_ms - 1_000))
    line.reply()
    line.give(beat(5, t_ms=wrap_ms + 2_000), after_s=3)
    samples = line.give(*[reading(i, t_ms=(wrap_ms - 500 + 1_000 * i) % wrap_ms) for i in range(3)])
    assert [s.time_ns - NOW_NS for s in samples] == [S // 2, S + S // 2, 2 * S + S // 2]
    (old,) = line.give(reading(3, t_ms=(wrap_ms + 2_000 - 40 * 86_400_000) % wrap_ms))
    assert old.time_ns == NOW_NS + 3 * S - 40 * 86_400 * S, "in flash for 40 days"


def test_a_start_before_is_dated_by_its_beats_of_then() -> None:
    line = Line()
    line.give(beat(1, t_ms=50_000))
    line.reply()
    line.give(beat(3, t_ms=0, boot_id=BOOT + 1), after_s=100)
    line.reply()
    first, second, third = line.give(
        reading(0, t_ms=40_000), reading(1, t_ms=90_000), reading(2, t_ms=0, boot_id=BOOT + 1)
    )
    assert (first.time_ns - NOW_NS, second.time_ns - NOW_NS) == (-10 * S, 40 * S)
    assert third.time_ns == NOW_NS + 100 * S


def test_a_start_before_ours_is_dated_by_the_node_s_anchor() -> None:
    line = Line()
    utc_ms = NOW_NS // 10**6 - 3_600_000
    line.give(beat(3, t_ms=0), anchor(5, 2**32 - 1_000, utc_ms))
    line.reply()
    samples = line.give(
        reading(0, t_ms=2**32 - 2_000, boot_id=5), reading(1, t_ms=500, boot_id=5), reading(2, t_ms=1, boot_id=BOOT)
    )
    assert [s.time_ns for s in samples][:2] == [(utc_ms - 1_000) * 10**6, (utc_ms + 1_500) * 10**6]


def test_a_start_that_nobody_can_date_is_counted_and_passed_over() -> None:
    line = Line()
    line.give(beat(3))
    line.reply()
    frames = [reading(0, boot_id=5), reading(1, boot_id=5), reading(2)]
    assert line.seqs(*frames) == [], "its anchor may just have been damaged"
    for _ in range(2):
        assert line.seqs(beat(3), *frames, after_s=1) == []
        assert line.reply() == (0, 0)
    assert line.seqs(beat(3), *frames, after_s=1) == [2]
    assert line.intake.figures.undated == 2
    assert line.reply(1) == (3, None), "kept for ever it would be in the way"


def test_an_anchor_that_comes_late_is_in_time() -> None:
    line = Line()
    line.give(beat(2))
    line.reply()
    assert line.seqs(reading(0, boot_id=5)) == []
    line.give(beat(2), anchor(5, 0, NOW_NS // 10**6 - 1), after_s=1)
    line.reply()
    (sample,) = line.give(reading(0, boot_id=5))
    assert sample.time_ns == NOW_NS - 10**6


def test_a_clock_that_is_not_set_is_not_told_to_the_node() -> None:
    line = Line()
    line.give(beat(1))
    data = line.intake.reply(line.now_s, 86_400 * S)
    down = framing.unpack_down(framing.Reader().feed(data)[0])
    assert down is not None
    assert not down[0] & framing.HAS_UTC


def test_kinds_and_versions_of_a_newer_node_are_passed_over() -> None:
    line = Line()
    line.give(beat(3))
    line.reply()
    known = fr.unframe(reading(1)[:-1])
    assert known is not None

    def changed(at: int, value: int) -> bytes:
        body = known[:at] + bytes([value]) + known[at + 1 : -4]
        return fr.frame(body + struct.pack("<I", zlib.crc32(body)))

    assert line.seqs(reading(0), changed(3, 9), reading(2)) == [0, 2]
    assert line.seqs(changed(2, 2), b"\x05nonsense\0\0") == []
    figures = line.intake.figures
    assert (figures.newer, figures.damaged, figures.lost, figures.records) == (2, 1, 0, 2)


def test_what_is_remembered_is_bounded() -> None:
    line = Line()
    for boot in range(1, 200):
        line.give(anchor(boot, 0, 5), beat(1, boot_id=boot), reading(0, boot_id=10_000 + boot), after_s=1)
    sizes = [len(m) for m in (line.intake._starts, line.intake._anchors, line.intake._undated_at)]
    assert max(sizes) == STARTS_KEPT
