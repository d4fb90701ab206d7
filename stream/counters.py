"""Counters that only rise: how much was used between two readings, through resets, wraps, spikes, gaps and standstill.

All amounts are int64 fixed point (``stream.fixed``), so a sum of advances telescopes to the counter exactly.
"""

from typing import Any, Final

from stream.columns import UNKNOWN
from stream.kernel import kernel

HOLD_S: Final = 10.0  # a momentary value (rate, speed, power) is never held longer: the classic 10x error
GAP_S: Final = 120.0  # beyond it a counter's advance is booked whole at the gap's end
_WRAP_BITS: Final = (65536.0, 16777216.0, 4294967296.0)
_SHAPE_LOW: Final = 0.85
_SHAPE_HIGH: Final = 1.15


@kernel
def _anchor(state: Any, k: int, now: int, time_ns: int) -> None:
    """Start counting anew; ``book`` sees by ``ahead`` = UNKNOWN that this reading's amount is not the counter's."""
    state["counter_last"][k] = now
    state["counter_time_ns"][k] = time_ns
    state["counter_suspect"][k] = UNKNOWN
    state["ahead"][k] = UNKNOWN
    state["silent"][k] = 0
    state["tick_due"] |= 1 << k


@kernel
def advance(state: Any, k: int, now: int, time_ns: int, cap_per_s: float, tick: int) -> int:
    """Rise of counter ``k`` since its last good reading, >= 0, or UNKNOWN; updates the anchor in ``state``.

    ``now``: fixed point or UNKNOWN; ``cap_per_s``: the most that can be used in a second; ``tick``: the counter's step.
    A fall is a wrap (2^16, 2^24 or 2^32 ticks, when the old value stood in the last 5 % before it), a reset (when the new value
    could have been used since), or else starts a new anchor with nothing booked. A rise above what is possible waits for a second
    reading that agrees with it; the jump itself is never booked. Science reference, section 4.
    """
    if now == UNKNOWN:
        return UNKNOWN
    last = state["counter_last"][k]
    if last == UNKNOWN:
        _anchor(state, k, now, time_ns)
        return UNKNOWN
    dt_s = (time_ns - state["counter_time_ns"][k]) * 1e-9
    cap = cap_per_s * dt_s + tick
    rise = now - last
    if rise < 0:
        for bits in _WRAP_BITS:
            width = bits * tick
            if 0.95 * width < last <= width and rise + width >= 0 and rise + width <= cap:
                rise = int(rise + width)
                break
        if rise < 0 and now > cap:
            _anchor(state, k, now, time_ns)
            return UNKNOWN
        if rise < 0:
            rise = now
    elif rise > cap:
        suspect = state["counter_suspect"][k]
        ahead_s = (time_ns - state["counter_suspect_ns"][k]) * 1e-9
        if suspect == UNKNOWN or now < suspect or now - suspect > cap_per_s * ahead_s + tick:
            state["counter_suspect"][k] = now
            state["counter_suspect_ns"][k] = time_ns
            return UNKNOWN
        rise = now - suspect
        state["ahead"][k] = 0
        state["tick_due"] |= 1 << k
    state["counter_suspect"][k] = UNKNOWN
    state["counter_last"][k] = now
    state["counter_time_ns"][k] = time_ns
    return int(rise)


@kernel
def step_up(state: Any, k: int, now: int, time_ns: int, cap_per_s: float, most: int) -> int:
    """``advance`` of a counter that may rise by ``most`` at once (goods, top-ups): after a fall it is counted anew, nothing booked."""
    if now != UNKNOWN and state["counter_last"][k] != UNKNOWN and now < state["counter_last"][k]:
        _anchor(state, k, now, time_ns)
        return UNKNOWN
    return int(advance(state, k, now, time_ns, cap_per_s, most))


@kernel
def settle(state: Any, k: int, risen: int, estimate: int, tick: int, shaped: bool) -> int:
    """Amount to book for this reading from counter ``k``; UNKNOWN when the counter stands still although use is estimated.

    ``risen`` >= 0 from ``advance``; ``estimate``: this interval's use by rate or model, or UNKNOWN. ``state.ahead`` keeps
    booked minus counted, so whatever was estimated while the counter was away is settled when it returns, and the sum of all
    bookings differs from the counter by at most one tick. A ``shaped`` counter is too coarse for one reading: the estimate is
    booked, bent by at most 15 % towards the counter. Nothing booked is ever negative.
    """
    ahead = state["ahead"][k] - risen
    silent = state["silent"][k]
    if risen > 0:
        silent = 0
        if ahead > 2 * tick:
            ahead = 0
    elif estimate != UNKNOWN:
        silent += estimate
    state["ahead"][k] = ahead
    state["silent"][k] = silent
    if silent > 2 * tick and estimate != UNKNOWN:
        return UNKNOWN
    if not shaped or estimate == UNKNOWN:
        return max(0, int(-ahead))
    bend = min(max(1.0 - ahead / tick, _SHAPE_LOW), _SHAPE_HIGH)
    return max(int(estimate * bend), int(-tick - ahead))


@kernel
def book(state: Any, first: int, last: int, amount: int) -> None:
    """Tell the anchored counters ``first..last`` what this reading booked (0 when nothing could be)."""
    for k in range(first, last + 1):
        if state["ahead"][k] == UNKNOWN:
            state["ahead"][k] = 0
        elif state["counter_last"][k] != UNKNOWN:
            state["ahead"][k] += amount
