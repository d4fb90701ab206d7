"""Flash as it is: a write that loses power leaves any subset of its bits, an erase any mixture. What was kept stays."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.firmware import record
from devices.firmware.hal_fake import FakeFlash, PowerCutError
from devices.firmware.ring import HEADER_SIZE, Ring
from devices.firmware.state import State

SECTOR, SECTORS = 256, 6
SLOTS = (SECTOR - HEADER_SIZE) // record.SIZE


class RaggedFlash(FakeFlash):
    """A cut leaves a random part of the work of that write or erase, not a prefix."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(SECTOR, SECTORS)
        self._rng = rng

    def write(self, at: int, data: bytes) -> None:
        if 0 <= self.cut_in < len(data):
            for i, byte in enumerate(data):
                self.data[at + i] &= byte | self._rng.choice((0, 0xFF, self._rng.randrange(256)))
            raise PowerCutError
        super().write(at, data)

    def erase(self, sector: int) -> None:
        if 0 <= self.cut_in < self.sector_size:
            done = self._rng.choice((0.05, 0.5, 0.95))
            for place in range(sector * self.sector_size, (sector + 1) * self.sector_size):
                if self._rng.random() < done:
                    self.data[place] |= self._rng.choice((0xFF, self._rng.randrange(256)))
            raise PowerCutError
        super().erase(sector)


CUTS = st.lists(st.integers(0, 1500), max_size=12)


@settings(max_examples=150)
@given(CUTS, st.integers(0, 2**32 - 1))
def test_records_that_were_kept_stay_and_none_is_invented(cuts: list[int], seed: int) -> None:
    rng = random.Random(seed)
    flash = RaggedFlash(rng)
    kept: dict[int, bytes] = {}
    for start, cut in enumerate([*cuts, -1]):
        ring = Ring(flash, 0, SECTORS)
        ring.mount(rng.randrange(1, 2**32))
        found: dict[int, bytes] = {}
        ring.rewind(0)
        while (data := ring.next_record()) is not None:
            assert record.head(data)[2] not in found
            found[record.head(data)[2]] = data
        assert list(found) == sorted(found)
        assert all(kept.get(seq) == data for seq, data in found.items())
        newest = max(kept, default=-1)
        assert ring.next == newest + 1, "one seq is one record, for ever"
        if kept:
            assert ring.last == kept[newest]
            due = range(max(0, newest - (SECTORS - 2) * SLOTS + 1 + len(cuts)), newest + 1)
            assert all(seq in found for seq in due), "a cut costs a slot of the ring, never a record that was kept"
        flash.cut_in = cut
        try:
            for t in range(3 * SLOTS):
                seq = ring.append(record.TRUCK, start + 1, t, rng.randbytes(20), 0)
                kept[seq] = ring.last
        except PowerCutError:
            pass
        flash.cut_in = -1


@settings(max_examples=150)
@given(CUTS, st.integers(0, 2**32 - 1))
def test_the_state_is_the_one_before_or_the_new_one(cuts: list[int], seed: int) -> None:
    rng = random.Random(seed)
    flash = RaggedFlash(rng)
    said = [0]
    for cut in [*cuts, -1]:
        state = State(flash, 0)
        state.load()
        assert state.acked in said[-2:]
        if state.acked:
            assert state.anchors[0] == (state.acked, state.acked, state.acked)
        said = [state.acked]
        flash.cut_in = cut
        try:
            for _ in range(5):
                state.acked = said[-1] + 1
                state.set_anchor(state.acked, state.acked, state.acked)
                said.append(state.acked)
                state.save()
        except PowerCutError:
            pass
        flash.cut_in = -1


@given(st.binary(min_size=SECTOR * SECTORS, max_size=SECTOR * SECTORS) | st.just(bytes(SECTOR * SECTORS)))
def test_a_flash_full_of_anything_is_mounted_and_used(content: bytes) -> None:
    flash = FakeFlash(SECTOR, SECTORS)
    flash.data[:] = content
    ring = Ring(flash, 2, SECTORS - 2)
    ring.mount(7)
    state = State(flash, 0)
    state.load()
    state.acked = 5
    state.save()
    for i in range(3 * SLOTS):
        assert ring.append(record.TRUCK, 1, 0, bytes(20), 0) == i
    again = State(flash, 0)
    again.load()
    assert again.acked == 5
    assert flash.data[: 2 * SECTOR] != content[: 2 * SECTOR]


@given(st.lists(st.tuples(st.integers(0, SECTOR * SECTORS - 1), st.integers(0, 7)), max_size=20))
def test_bit_rot_costs_what_it_hits_and_invents_nothing(flips: list[tuple[int, int]]) -> None:
    flash = FakeFlash(SECTOR, SECTORS)
    ring = Ring(flash, 0, SECTORS)
    ring.mount(7)
    kept = {}
    for t in range(20):
        seq = ring.append(record.TRUCK, 1, t, bytes(range(20)), 0)
        kept[seq] = ring.last
    for at, bit in flips:
        flash.data[at] ^= 1 << bit
    again = Ring(flash, 0, SECTORS)
    again.mount(8)
    again.rewind(0)
    found = {}
    while (data := again.next_record()) is not None:
        found[record.head(data)[2]] = data
    assert all(kept.get(seq) == data for seq, data in found.items())
    hit = {at // SECTOR for at, _bit in flips}
    if 3 not in hit:  # the sector in use, whose header names the ring
        whole = [seq for seq in kept if seq // SLOTS not in hit]
        assert all(seq in found for seq in whole)
