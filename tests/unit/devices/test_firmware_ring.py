"""Records and state in flash, with the power cut after every byte that is written or erased."""

from collections.abc import Callable

import pytest

from devices.firmware import record
from devices.firmware.hal_fake import FakeFlash, PowerCutError
from devices.firmware.ring import HEADER_SIZE, Ring
from devices.firmware.state import SIZE, State

SECTOR = 256  # five records each
SLOTS = (SECTOR - HEADER_SIZE) // record.SIZE
FIELDS = bytes(range(20))


def mounted(flash: FakeFlash, first: int = 0, sectors: int = 4) -> Ring:
    ring = Ring(flash, first, sectors)
    ring.mount(0xAA55)
    return ring


def append(ring: Ring, t_ms: int = 0) -> int:
    return ring.append(record.TRUCK, 1, t_ms, FIELDS, 0)


def seqs(ring: Ring, start: int = 0) -> list[int]:
    ring.rewind(start)
    found = []
    while (data := ring.next_record()) is not None:
        assert data == record.pack(record.TRUCK, 1, record.head(data)[2], record.head(data)[3], FIELDS, 0)
        found.append(record.head(data)[2])
    return found


def test_an_empty_flash_is_an_empty_ring() -> None:
    ring = mounted(FakeFlash(SECTOR, 4))
    assert (ring.ring_id, ring.next, ring.oldest, ring.last) == (0xAA55, 0, 0, b"")
    assert seqs(ring) == []


def test_records_are_found_again_after_a_start() -> None:
    flash = FakeFlash(SECTOR, 4)
    ring = mounted(flash)
    assert [append(ring, 1000 * i) for i in range(7)] == list(range(7))
    again = mounted(flash)
    again_id = Ring(flash, 0, 4)
    again_id.mount(0x1234)
    assert again_id.ring_id == 0xAA55, "the ring keeps its name"
    assert seqs(again) == list(range(7))
    assert (again.next, again.oldest) == (7, 0)
    assert record.head(again.last) == (record.TRUCK, 1, 6, 6000)
    assert append(again) == 7


def test_mounting_writes_nothing() -> None:
    flash = FakeFlash(SECTOR, 4)
    for _ in range(8):
        append(mounted(flash))
    before = bytes(flash.data), flash.written
    mounted(flash)
    assert (bytes(flash.data), flash.written) == before


def test_a_full_ring_gives_up_its_oldest_sector_and_wears_evenly() -> None:
    flash = FakeFlash(SECTOR, 4)
    ring = mounted(flash)
    for _ in range(10 * 4 * SLOTS):
        append(ring)
    assert ring.oldest == 10 * 4 * SLOTS - 4 * SLOTS
    assert seqs(ring) == list(range(ring.oldest, ring.next))
    assert seqs(mounted(flash)) == list(range(ring.oldest, ring.next))
    assert flash.erases == [10] * 4


def test_the_reader_goes_on_behind_what_was_overwritten() -> None:
    ring = mounted(FakeFlash(SECTOR, 4))
    for _ in range(3):
        append(ring)
    ring.rewind(0)
    first = ring.next_record()
    assert first is not None
    assert record.head(first)[2] == 0
    for _ in range(6 * SLOTS):
        append(ring)
    found = []
    while (data := ring.next_record()) is not None:
        found.append(record.head(data)[2])
    assert found == list(range(ring.oldest, ring.next))
    assert append(ring) == ring.next - 1
    data = ring.next_record()
    assert data is not None
    assert record.head(data)[2] == ring.next - 1, "and gets what is written afterwards"


@pytest.mark.parametrize("start", range(14))
def test_it_can_go_back_to_any_seq(start: int) -> None:
    ring = mounted(FakeFlash(SECTOR, 4))
    for _ in range(13):
        append(ring)
    assert seqs(ring, start) == list(range(start, 13))


def test_acknowledged_is_what_is_below_and_never_more_than_there_is() -> None:
    ring = mounted(FakeFlash(SECTOR, 4))
    for _ in range(3):
        append(ring)
    ring.ack(2)
    ring.ack(1)
    assert ring.acked == 2
    ring.ack(1000)
    assert ring.acked == 3


def test_the_sectors_of_others_are_left_alone() -> None:
    flash = FakeFlash(SECTOR, 6)
    for i in (0, 1, 5):
        flash.data[i * SECTOR : (i + 1) * SECTOR] = b"\x5a" * SECTOR
    ring = mounted(flash, first=2, sectors=3)
    for _ in range(40):
        append(ring)
    for i in (0, 1, 5):
        assert flash.data[i * SECTOR : (i + 1) * SECTOR] == b"\x5a" * SECTOR


def test_records_left_in_a_flash_of_another_life_are_not_taken_for_ours() -> None:
    flash = FakeFlash(SECTOR, 4)
    for sector in range(4):
        at = sector * SECTOR + HEADER_SIZE
        flash.data[at : at + record.SIZE] = record.pack(record.TRUCK, 9, 500 + sector, 0, FIELDS, 0)
    ring = mounted(flash)
    assert (seqs(ring), ring.next) == ([], 0)
    append(ring)
    assert seqs(ring) == [0]


def test_a_damaged_record_is_passed_over_and_its_neighbours_stay() -> None:
    flash = FakeFlash(SECTOR, 4)
    ring = mounted(flash)
    for _ in range(8):
        append(ring)
    flash.data[HEADER_SIZE + 2 * record.SIZE + 20] ^= 1
    assert seqs(mounted(flash)) == [0, 1, 3, 4, 5, 6, 7]


def test_a_damaged_header_costs_its_sector_and_no_seq_is_given_twice() -> None:
    flash = FakeFlash(SECTOR, 4)
    ring = mounted(flash)
    for _ in range(SLOTS + 2):
        append(ring)
    flash.data[SECTOR + 5] ^= 1  # of the sector in use
    again = mounted(flash)
    assert seqs(again) == list(range(SLOTS))
    assert again.next == SLOTS


def test_a_byte_that_does_not_take_a_write_costs_a_slot_only() -> None:
    flash = FakeFlash(SECTOR, 4)
    flash.stuck = [HEADER_SIZE + 1 * record.SIZE + 30]
    ring = mounted(flash)
    assert [append(ring) for _ in range(6)] == list(range(6))
    assert ring.failed_writes == 1
    assert seqs(mounted(flash)) == list(range(6))


def test_a_sector_that_takes_no_header_is_passed_over() -> None:
    flash = FakeFlash(SECTOR, 4)
    flash.stuck = list(range(SECTOR, SECTOR + HEADER_SIZE))
    ring = mounted(flash)
    for _ in range(40):
        append(ring)
    assert seqs(ring) == list(range(ring.oldest, 40))
    again = mounted(flash)
    assert seqs(again) == list(range(ring.oldest, 40))
    assert append(again) == 40


def test_a_flash_that_keeps_nothing_is_an_error_and_no_record() -> None:
    flash = FakeFlash(SECTOR, 4)
    ring = mounted(flash)
    append(ring)
    flash.stuck = list(range(4 * SECTOR))
    with pytest.raises(OSError, match="does not keep"):
        append(ring)
    flash.stuck = []
    assert append(ring) == 1
    assert seqs(mounted(flash)) == [0, 1]


def test_three_sectors_are_the_least() -> None:
    with pytest.raises(ValueError, match="three sectors"):
        Ring(FakeFlash(SECTOR, 4), 0, 2)


def cost(work: Callable[[], object], flash: FakeFlash) -> int:
    before = flash.written
    work()
    return flash.written - before


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("filled", [0, 1, SLOTS - 1, SLOTS, 4 * SLOTS - 1, 4 * SLOTS, 9 * SLOTS + 2, 12 * SLOTS])
def test_power_cut_after_every_byte_of_an_append(filled: int, order: int) -> None:
    """Also while a sector is erased and begun, on a ring that is empty, half full, full and long in use."""

    def prepared() -> tuple[FakeFlash, Ring]:
        flash = FakeFlash(SECTOR, 4)
        flash.erase_order = order
        ring = mounted(flash)
        for i in range(filled):
            append(ring, i)
        return flash, ring

    flash, ring = prepared()
    before = seqs(ring)
    in_all = cost(lambda: append(ring, filled), flash)
    assert in_all >= record.SIZE
    after = seqs(ring)
    for cut in range(in_all):
        flash, ring = prepared()
        flash.cut_in = cut
        with pytest.raises(PowerCutError):
            append(ring, filled)
        flash.cut_in = -1
        again = mounted(flash)
        got = seqs(again)
        erased = [s for s in before if s not in after]  # the oldest sector of a full ring, which is given up anyway
        assert [s for s in got if s not in erased] == [s for s in before if s not in erased], f"cut after {cut} bytes"
        assert set(got) <= set(before), "nothing is invented, and the record in work was not there yet"
        assert again.next == filled
        assert append(again, filled) == filled, "its seq was never seen by anyone and is used"
        assert seqs(again)[-1] == filled
        kept = seqs(mounted(flash))
        assert kept == [*before, filled][-len(kept) :]
        assert len(kept) >= min(filled + 1, 3 * SLOTS), "a torn slot may make the next sector due, no more"


def test_power_cuts_that_follow_each_other() -> None:
    """Cut at every byte of the append after every cut of the append that begins a sector."""
    filled = 4 * SLOTS

    def prepared(*cuts: int) -> FakeFlash:
        flash = FakeFlash(SECTOR, 4)
        ring = mounted(flash)
        for i in range(filled):
            append(ring, i)
        for cut in cuts:
            flash.cut_in = cut
            with pytest.raises(PowerCutError):
                append(mounted(flash), filled)
            flash.cut_in = -1
        return flash

    in_all = SECTOR + HEADER_SIZE + record.SIZE
    for first in range(0, in_all, 7):
        for second in range(0, in_all - record.SIZE - HEADER_SIZE, 37):
            if first >= SECTOR + HEADER_SIZE and second >= record.SIZE:
                continue  # the sector has been begun: the second append is only as long as a record
            flash = prepared(first, second)
            assert seqs(mounted(flash))[-3 * SLOTS :] == list(range(SLOTS, filled))
            assert append(mounted(flash), filled) == filled


def stored(flash: FakeFlash) -> State:
    state = State(flash, 0)
    state.load()
    return state


def test_an_empty_flash_is_an_empty_state() -> None:
    state = stored(FakeFlash(SECTOR, 2))
    assert (state.ring_id, state.acked, state.tare, state.has_tare, state.anchors) == (0, 0, 0, False, [])


def test_the_newest_entry_counts_over_many_turns_of_both_sectors() -> None:
    flash = FakeFlash(SECTOR, 3)
    flash.data[2 * SECTOR :] = b"\x5a" * SECTOR
    state = stored(flash)
    for i in range(50):
        state.acked, state.tare, state.has_tare, state.ring_id = i, -i, i % 2 == 1, 7
        state.set_anchor(100 + i, 2**32 + i, 1_767_225_600_000 + i)
        state.save()
        again = stored(flash)
        assert (again.acked, again.tare, again.has_tare, again.ring_id) == (i, -i, i % 2 == 1, 7)
        assert again.anchors == [(100 + j, j, 1_767_225_600_000 + j) for j in range(i, max(-1, i - 4), -1)]
    per_sector = SECTOR // SIZE
    assert sum(flash.erases[:2]) == 50 // per_sector
    assert flash.data[2 * SECTOR :] == b"\x5a" * SECTOR


def test_an_anchor_of_the_same_start_replaces_the_one_before() -> None:
    state = stored(FakeFlash(SECTOR, 2))
    for boot, t in ((1, 0), (2, 0), (1, 5)):
        state.set_anchor(boot, t, 10)
    assert state.anchors == [(1, 5, 10), (2, 0, 10)]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("saves", [0, 1, 2, 3, 4, 5, 6])
def test_power_cut_after_every_byte_of_a_save(saves: int, order: int) -> None:
    def prepared() -> tuple[FakeFlash, State]:
        flash = FakeFlash(SECTOR, 2)
        flash.erase_order = order
        state = stored(flash)
        for i in range(1, saves + 1):
            state.acked = state.tare = i
            state.save()
        state.acked = state.tare = saves + 1
        return flash, state

    flash, state = prepared()
    in_all = cost(state.save, flash)
    for cut in range(in_all):
        flash, state = prepared()
        flash.cut_in = cut
        with pytest.raises(PowerCutError):
            state.save()
        flash.cut_in = -1
        again = stored(flash)
        assert (again.acked, again.tare) == (saves, saves), f"cut after {cut} bytes"
        again.acked = 99
        again.save()
        assert stored(flash).acked == 99


def test_a_flash_that_does_not_keep_the_state_is_an_error_and_the_one_before_counts() -> None:
    flash = FakeFlash(SECTOR, 2)
    state = stored(flash)
    state.acked = 1
    state.save()
    flash.stuck = list(range(2 * SECTOR))
    state.acked = 2
    with pytest.raises(OSError, match="does not keep"):
        state.save()
    assert stored(flash).acked == 1
