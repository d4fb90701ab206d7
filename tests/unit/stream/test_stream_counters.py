"""Counters against cases whose answer can be said without them."""

from collections.abc import Sequence

import numpy as np
import pytest

from stream.columns import UNKNOWN
from stream.counters import advance, book, count, settle
from stream.state import COUNTERS, empty_state
from tests.support import S_NS, T0_NS

K = COUNTERS[1]
TICK = 1_000_000
LSB = TICK
CAP = 30_000_000.0  # per second


def _feed(values: Sequence[int | None], step_s: float = 1.0) -> list[int | None]:
    state = empty_state(1)
    out = []
    for i, value in enumerate(values):
        t = T0_NS + int(i * step_s * S_NS)
        got = advance(state[0][K], UNKNOWN if value is None else value, t, CAP, TICK, LSB)
        book(state[0][K], 0 if got == UNKNOWN else got)
        out.append(None if got == UNKNOWN else int(got))
    return out


def test_first_value_is_an_anchor_and_advances_telescope() -> None:
    values = [5_000_000, 12_000_000, 12_000_000, 40_000_000]
    assert _feed(values) == [None, 7_000_000, 0, 28_000_000]


def test_missing_value_is_settled_by_the_next() -> None:
    assert _feed([0, 10_000_000, None, None, 70_000_000]) == [None, 10_000_000, None, None, 60_000_000]


def test_reset_books_what_was_counted_since_zero() -> None:
    assert _feed([900_000_000, 910_000_000, 4_000_000, 9_000_000]) == [None, 10_000_000, 4_000_000, 5_000_000]


def test_fall_to_a_value_that_cannot_have_been_used_since_books_nothing() -> None:
    assert _feed([900_000_000_000, 500_000_000_000, 500_005_000_000]) == [None, None, 5_000_000]


def test_wrap_at_16_bits_of_ticks() -> None:
    top = 65_536 * TICK
    assert _feed([top - 3 * TICK, 4 * TICK]) == [None, 7 * TICK]


def test_one_spike_is_ignored_and_nothing_is_lost() -> None:
    assert _feed([0, 10_000_000, 99_000_000_000, 30_000_000]) == [None, 10_000_000, None, 20_000_000]


def test_jump_is_not_booked_when_two_readings_agree_on_it() -> None:
    assert _feed([0, 10_000_000, 99_000_000_000, 99_010_000_000]) == [None, 10_000_000, None, 10_000_000]


def test_cap_grows_with_the_gap() -> None:
    assert _feed([0, 1_000_000_000], step_s=60.0) == [None, 1_000_000_000]
    assert _feed([0, 1_000_000_000], step_s=1.0) == [None, None]


@pytest.mark.parametrize("bias", [0.9, 1.0, 1.1])
def test_shaped_bookings_stay_within_a_tick_of_the_counter(bias: float) -> None:
    tick = 500_000_000
    state = empty_state(1)
    used = 0.0
    booked = 0
    for i in range(5000):
        rate = 3_000_000 + 2_000_000 * np.sin(i / 60)
        used += rate
        counter = int(used // tick) * tick
        risen = advance(state[0][K], counter, T0_NS + i * S_NS, 1e9, tick, tick)
        if risen == UNKNOWN:
            used_at_anchor = used
            book(state[0][K], 0)
            continue
        count(state[0][K], risen, int(rate * bias), tick)
        amount = settle(state[0][K], int(rate * bias), tick, True)
        assert amount >= 0
        booked += amount
        book(state[0][K], amount)
        assert abs(booked - (used - used_at_anchor)) <= 1.6 * tick


def test_counter_that_stands_still_gives_way_to_the_estimate() -> None:
    state = empty_state(1)
    tick = 100_000_000
    advance(state[0][K], 0, T0_NS, 1e9, tick, tick)
    book(state[0][K], 0)
    got = []
    for i in range(1, 100):
        risen = advance(state[0][K], 0, T0_NS + i * S_NS, 1e9, tick, tick)
        count(state[0][K], risen, 10_000_000, tick)
        amount = settle(state[0][K], 10_000_000, tick, False)
        got.append(amount)
        book(state[0][K], 10_000_000 if amount == UNKNOWN else amount)
    assert got[0] == 0
    assert got[-1] == UNKNOWN
