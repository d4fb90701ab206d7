"""Fuel put in or taken out, batteries charged: from the level of tank or battery, against what the vehicle used meanwhile.

A level is believed only at a standstill: the median of up to five readings from 10 s after it stopped (a moving tank sloshes by
several percent). ``settled - (anchor - used)`` is what came or went since the last settled level, so neither a refuelling nor a
drain ever enters the fuel used, and the fuel used never enters them.

Litres need the tank's size, kilowatt-hours the battery's; without the tank's there is no event. A battery's size is learnt from energy
drawn over level fallen where the registry does not tell it: the one level covers the whole pack, while a level may be that
of one tank of two.
"""

import math
from typing import Any, Final

from stream.columns import ENERGY_METHODS, UNKNOWN
from stream.event_rows import (
    CHOSE_COUNTER,
    CHOSE_MODEL,
    CHOSE_NONE,
    CHOSE_RATE,
    DRAIN,
    FUEL_CONFLICT,
    RECHARGE,
    REFRIGERANT_TOPUP,
    REFUEL,
    put,
)
from stream.kernel import kernel
from stream.plausibility import report_case
from stream.state import CASES, LEVEL_RING

FUEL_CASE: Final = CASES.index("fuel_conflict")
RATE: Final = ENERGY_METHODS.index("rate")
MODEL: Final = ENERGY_METHODS.index("model")
DWELL_S: Final = 10.0  # standing so long before a level is taken (OBDisplay-Uno #63)
LEVEL_EVERY_NS: Final = 5_000_000_000  # after the first five readings
SETTLED: Final = 3  # readings from then on
REPEAT_NS: Final = 900_000_000_000  # a level sent on change only is what it was, for so long
STABLE_S: Final = 120.0  # a pump or hose that pauses longer has ended
STABLE_CHARGE_S: Final = 1_800.0
STILL_PCT: Final = 0.5  # a level that moves less is stable; senders step by 0.4 %
AT_STOP_PCT: Final = 2.0  # change within one standstill that is believed
AT_STOP_L: Final = 4.0
BETWEEN_PCT: Final = 4.0  # change since another standstill, or over hours (diesel expands by 0.083 %/K)
BETWEEN_L: Final = 8.0
USED_SHARE: Final = 0.08  # of what was used meanwhile may be missing from counter or level before a drain is believed
LONG_NS: Final = 3_600_000_000_000
UNKNOWN_MAX_S: Final = 300.0  # beyond it a lower level may be use that nobody saw
LEARN_PCT: Final = 20.0  # of the battery before its size is taken as learnt
FORGET_PCT: Final = 2_000.0  # then the older half counts half: batteries age
CONFLICT_TANKS: Final = 1.0  # tanks used up before level and fuel used are compared
CONFLICT_SHARE: Final = 0.10  # senders are rarely linear to better than 5 %, counters read within 3 %
TOPUP_MAX_KG: Final = 500.0  # a counter that rises by more at once was exchanged


@kernel
def _median(ring: Any, n: int) -> float:
    """Median of the first ``n`` (1 to 5) values; of an even number the lower one."""
    for i in range(n):
        below, same = 0, 0
        for j in range(n):
            below += ring[j] < ring[i]
            same += ring[j] == ring[i]
        if below <= (n - 1) // 2 < below + same:
            return float(ring[i])
    return math.nan


@kernel
def level_size(state: Any, p: Any) -> float:
    """Content of the tank [L] or battery [kWh] at a level of 100 %, NaN where that is not known."""
    size = p["level_size"]
    if math.isnan(size) and p["has_battery"] and state["fallen_pct"] >= LEARN_PCT:
        return float(100.0 * state["drawn"] / state["fallen_pct"])
    return float(size)


@kernel
def _anchor(state: Any, settled_pct: float, time_ns: int) -> None:
    state["level_anchor_pct"] = settled_pct
    state["level_anchor_ns"] = time_ns
    state["level_used"] = 0.0
    state["level_unknown_s"] = 0.0
    state["level_open_ns"] = UNKNOWN
    state["level_quiet_ns"] = time_ns


@kernel
def _tell(
    state: Any, p: Any, change: float, begin_ns: int, end_ns: int, expected: float, events: Any, n: int, device: int
) -> int:
    """Event of ``change`` litres or kWh; ``expected``: how much was in before, same unit. A battery that sinks is no event."""
    kind = REFUEL if change > 0.0 else DRAIN
    if p["has_battery"]:
        if change < 0.0:
            return n
        kind = RECHARGE
    return put(events, n, state, device, kind, begin_ns, end_ns, abs(change), expected, UNKNOWN, CHOSE_NONE)


@kernel
def _learn(state: Any, settled_pct: float) -> None:
    """Add a drive without a refuelling to level fallen and amount drawn."""
    state["fallen_pct"] += state["level_anchor_pct"] - settled_pct
    state["drawn"] += state["level_used"]
    if state["fallen_pct"] > FORGET_PCT:
        state["fallen_pct"] *= 0.5
        state["drawn"] *= 0.5


@kernel
def _between(
    state: Any, p: Any, settled_pct: float, size: float, method: int, time_ns: int, events: Any, n: int, device: int
) -> int:
    """The first settled level of a standstill against that of the one before."""
    used_pct = 100.0 * state["level_used"] / size
    change_pct = settled_pct - (state["level_anchor_pct"] - used_pct)
    least = max(BETWEEN_PCT, 100.0 * BETWEEN_L / size)
    if change_pct > least and settled_pct - state["level_anchor_pct"] > least:
        change, left = change_pct * size / 100.0, state["level_anchor_pct"] * size / 100.0 - state["level_used"]
        return _tell(state, p, change, state["level_anchor_ns"], time_ns, left, events, n, device)
    if state["level_unknown_s"] > UNKNOWN_MAX_S:
        return n
    if change_pct < -(least + USED_SHARE * used_pct):
        change, left = change_pct * size / 100.0, state["level_anchor_pct"] * size / 100.0 - state["level_used"]
        return _tell(state, p, change, state["level_anchor_ns"], time_ns, left, events, n, device)
    _learn(state, settled_pct)
    if not p["has_battery"] and state["drawn"] >= CONFLICT_TANKS * size:
        ratio = state["fallen_pct"] * size / 100.0 / state["drawn"]
        state["fallen_pct"] = 0.0
        state["drawn"] = 0.0
        chosen = CHOSE_RATE if method == RATE else CHOSE_MODEL if method == MODEL else CHOSE_COUNTER
        bad = math.fabs(ratio - 1.0) > CONFLICT_SHARE
        n = report_case(state, FUEL_CASE, FUEL_CONFLICT, bad, time_ns, ratio, 1.0, chosen, events, n, device)
    return n


@kernel
def _close(
    state: Any, p: Any, settled_pct: float, size: float, end_ns: int, now_ns: int, events: Any, n: int, device: int
) -> int:
    """End a change that was under way at this standstill."""
    left = state["level_anchor_pct"] * size / 100.0 - state["level_used"]
    change = settled_pct * size / 100.0 - left
    if math.fabs(change) > max(AT_STOP_PCT * size / 100.0, AT_STOP_L):
        n = _tell(state, p, change, state["level_open_ns"], end_ns, left, events, n, device)
    _anchor(state, settled_pct, now_ns)
    return n


@kernel
def _at_stop(
    state: Any, p: Any, settled_pct: float, size: float, time_ns: int, events: Any, n: int, device: int
) -> int:
    """A later settled level of the same standstill."""
    change = (settled_pct - state["level_anchor_pct"]) * size / 100.0 + state["level_used"]
    long_ago = time_ns - state["level_quiet_ns"] > LONG_NS
    least = max(BETWEEN_PCT * size / 100.0, BETWEEN_L) if long_ago else max(AT_STOP_PCT * size / 100.0, AT_STOP_L)
    if state["level_open_ns"] == UNKNOWN:
        if change > least or (change < -least and state["level_unknown_s"] <= UNKNOWN_MAX_S):
            state["level_open_ns"] = state["level_quiet_ns"]
            state["level_mark_pct"] = settled_pct
            state["level_mark_ns"] = time_ns
        elif time_ns - state["level_anchor_ns"] > LONG_NS or math.fabs(change) > least:
            _anchor(state, settled_pct, time_ns)
        else:
            state["level_quiet_ns"] = time_ns
        return n
    if math.fabs(settled_pct - state["level_mark_pct"]) > STILL_PCT:
        state["level_mark_pct"] = settled_pct
        state["level_mark_ns"] = time_ns
        return n
    stable_s = STABLE_CHARGE_S if p["has_battery"] else STABLE_S
    if (time_ns - state["level_mark_ns"]) * 1e-9 >= stable_s:
        return _close(state, p, settled_pct, size, state["level_mark_ns"], time_ns, events, n, device)
    return n


@kernel
def _standing_level(state: Any, p: Any, method: int, time_ns: int, events: Any, n: int, device: int) -> int:
    if state["level_ns"] < state["parked_ns"] or time_ns - state["level_ns"] > REPEAT_NS:
        return n
    if (time_ns - state["parked_ns"]) * 1e-9 < DWELL_S:
        return n
    state["level_ring_pct"][state["level_n"] % LEVEL_RING] = state["level_pct"]
    state["level_n"] += 1
    if state["level_n"] < SETTLED:
        return n
    settled = _median(state["level_ring_pct"], min(state["level_n"], LEVEL_RING))
    if math.isnan(state["level_anchor_pct"]):
        _anchor(state, settled, time_ns)
        return n
    size = level_size(state, p)
    if state["level_anchor_ns"] < state["parked_ns"]:
        if not math.isnan(size):
            n = _between(state, p, settled, size, method, time_ns, events, n, device)
        elif p["has_battery"] and state["level_unknown_s"] <= UNKNOWN_MAX_S and settled < state["level_anchor_pct"]:
            _learn(state, settled)
        _anchor(state, settled, time_ns)
        return n
    if math.isnan(size):
        return n
    return _at_stop(state, p, settled, size, time_ns, events, n, device)


@kernel
def watch_level(state: Any, p: Any, method: int, time_ns: int, events: Any, n: int, device: int) -> int:
    """Events ``refuel``, ``drain`` [L], ``recharge`` [kWh] and ``fuel_conflict`` (level fallen over fuel used).

    A change since another standstill must exceed 4 % (8 L), one within a standstill 2 %
    (4 L); a drain also 8 % of the fuel used meanwhile, and that must be known. ``parked_ns``, ``level_pct`` (of tank or
    battery, as last sent), ``level_ns``, ``level_used`` and ``level_unknown_s`` of the state are up to date.
    """
    if state["parked_ns"] != UNKNOWN:
        return _standing_level(state, p, method, time_ns, events, n, device)
    if state["level_open_ns"] != UNKNOWN:
        settled = _median(state["level_ring_pct"], min(state["level_n"], LEVEL_RING))
        size = level_size(state, p)
        n = _close(state, p, settled, size, state["time_ns"], state["time_ns"], events, n, device)
    state["level_n"] = 0
    return n


@kernel
def watch_topup(state: Any, total_kg: float, time_ns: int, events: Any, n: int, device: int) -> int:
    """Event ``refrigerant_topup``: what the counter rose by since its last reading [kg]. Returns the number of events."""
    if math.isnan(total_kg):
        return n
    rise = total_kg - state["topup_kg"]
    state["topup_kg"] = total_kg
    if 0.0 < rise <= TOPUP_MAX_KG:
        return put(events, n, state, device, REFRIGERANT_TOPUP, time_ns, time_ns, rise, math.nan, UNKNOWN, CHOSE_NONE)
    return n
