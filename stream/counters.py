"""Counters that only rise: how much was used between two readings, through resets, wraps, spikes, gaps and standstill.

All amounts are int64 fixed point (``stream.fixed``), so a sum of advances telescopes to the counter exactly.
"""

from typing import Any, Final

from stream.columns import UNKNOWN
from stream.kernel import inlined, kernel

HOLD_S: Final = 10.0  # a momentary value (rate, speed, power) is never held longer: the classic 10x error
GAP_S: Final = 120.0  # beyond it a counter's advance is booked whole at the gap's end
_WRAPS: Final = (1 << 16, 1 << 24, 1 << 32)
_SHAPE_LOW: Final = 0.85
_SHAPE_HIGH: Final = 1.15


@kernel
def _anchor(c: Any, now: int, time_ns: int) -> None:
    """Start counting anew; ``book`` sees by ``ahead`` = UNKNOWN that this reading's amount is not the counter's."""
    c["last"] = now
    c["time_ns"] = time_ns
    c["suspect"] = UNKNOWN
    c["ahead"] = UNKNOWN
    c["silent"] = 0
    c["tick_due"] = 1


@inlined
def advance(c: Any, now: int, time_ns: int, cap_per_s: float, tick: int, lsb: int) -> int:
    """Rise of a counter since its last good reading, >= 0, or UNKNOWN; updates its record ``c`` (``state.COUNTER``).

    ``now``: fixed point or UNKNOWN; ``cap_per_s``: the most that can be used in a second; ``tick``: the coarsest step it may take;
    ``lsb``: the unit it is counted in. A fall is a wrap (of 2^16, 2^24 or 2^32 ``lsb``, when the old value stood in the last 5 %
    before it), a reset (when the new value could have been used since), or else starts a new anchor with nothing booked. A rise
    above what is possible waits for a second reading that agrees with it; the jump itself is never booked. Eq. 17: the sum of rises
    is the counter's last value less its first, so the error of a sum is one tick. Science reference, section 4.
    """
    if now == UNKNOWN:
        return UNKNOWN
    last = c["last"]
    if last != UNKNOWN:
        rise = now - last
        if 0 <= rise <= tick or 0 <= rise <= cap_per_s * ((time_ns - c["time_ns"]) * 1e-9) + tick:
            c["suspect"] = UNKNOWN
            c["last"] = now
            c["time_ns"] = time_ns
            return int(rise)
    return int(_jump(c, now, time_ns, cap_per_s, tick, lsb))


@kernel
def _jump(c: Any, now: int, time_ns: int, cap_per_s: float, tick: int, lsb: int) -> int:
    """``advance`` of a counter that is new, fell, or rose by more than is possible."""
    last = c["last"]
    if last == UNKNOWN:
        _anchor(c, now, time_ns)
        return UNKNOWN
    cap = cap_per_s * ((time_ns - c["time_ns"]) * 1e-9) + tick
    rise = now - last
    if rise < 0:
        for n in _WRAPS:
            width = n * lsb
            if 0.95 * width < last <= width and 0 <= rise + width <= cap:
                rise += width
                break
        if rise < 0 and now > cap:
            _anchor(c, now, time_ns)
            return UNKNOWN
        if rise < 0:
            rise = now
    elif rise > cap:
        suspect = c["suspect"]
        ahead_s = (time_ns - c["suspect_ns"]) * 1e-9
        if suspect == UNKNOWN or now < suspect or now - suspect > cap_per_s * ahead_s + tick:
            c["suspect"] = now
            c["suspect_ns"] = time_ns
            return UNKNOWN
        rise = now - suspect
        c["ahead"] = 0
        c["tick_due"] = 1
    c["suspect"] = UNKNOWN
    c["last"] = now
    c["time_ns"] = time_ns
    return int(rise)


@kernel
def step_up(c: Any, now: int, time_ns: int, cap_per_s: float, most: int) -> int:
    """``advance`` of a counter that may rise by ``most`` at once (goods, top-ups): after a fall it is counted anew, nothing booked."""
    if now != UNKNOWN and c["last"] != UNKNOWN and now < c["last"]:
        _anchor(c, now, time_ns)
        return UNKNOWN
    return int(advance(c, now, time_ns, cap_per_s, most, 1))


@inlined
def count(c: Any, risen: int, estimate: int, tick: int) -> None:
    """Take a rise into a counter's account: ``ahead`` keeps booked minus counted.

    ``risen`` >= 0 from ``advance``; ``estimate``: this interval's use by rate or model, or UNKNOWN. What was booked while a counter stood
    still, and it then goes on from where it stood, is not taken back.
    """
    ahead = c["ahead"] - risen
    silent = c["silent"]
    if risen > 0:
        if silent > 2 * tick and ahead > 0:
            ahead = 0
        silent = 0
    elif estimate != UNKNOWN:
        silent += estimate
    c["ahead"] = ahead
    c["silent"] = silent


@inlined
def settle(c: Any, estimate: int, tick: int, shaped: bool) -> int:
    """Amount to book for this reading from a counter, its rise ``count``-ed; UNKNOWN when it stands still although use is estimated.

    Whatever was estimated while the counter was away is settled when it returns, and the sum of all bookings differs from the counter
    by at most one tick. A ``shaped`` counter is too coarse for one reading: the estimate is booked, bent by at most 15 % towards the
    counter, more where it would leave the tick. Nothing booked is ever negative.
    """
    ahead = c["ahead"]
    if c["silent"] > 2 * tick and estimate != UNKNOWN:
        return UNKNOWN
    if not shaped or estimate == UNKNOWN:
        return max(0, int(-ahead))
    bend = min(max(1.0 - ahead / tick, _SHAPE_LOW), _SHAPE_HIGH)
    return max(min(int(estimate * bend), int(max(tick - ahead, 0))), int(-tick - ahead))


@inlined
def book(c: Any, amount: int) -> None:
    """Tell a counter what this reading booked [its fixed point], 0 when nothing could be, whatever it was booked from: for Eq. 17."""
    if c["ahead"] == UNKNOWN:
        c["ahead"] = 0
    elif c["last"] != UNKNOWN:
        c["ahead"] += amount
