"""What happens on the way, reading by reading: ``notice`` after a reading's amounts were booked, and ``act`` where it asks for that.

``notice`` runs for every reading: comparisons and running sums, and no array but the state's record (handing an array to a function
costs more than all of it). It answers which parts must look closer; ``act`` calls those and may write rows of the table ``events``.
"""

import math
from typing import Any, Final

from stream import signal_rows as at
from stream.columns import UNKNOWN
from stream.counters import GAP_S, HOLD_S
from stream.driver_events import (
    GPS_WINDOW_S,
    JITTER,
    LEAST_MS2,
    MERGE_NS,
    SPEEDING_TOLERANCE_KMH,
    STANDING_KMH,
    WHEEL_WINDOW_S,
    WINDOW_MAX_S,
    end_idling,
    harsh,
    idles,
    speeding,
)
from stream.fuel_events import LEVEL_EVERY_NS, watch_level, watch_topup
from stream.kernel import inlined, kernel
from stream.plausibility import (
    COMPARED_KMH,
    HDOP_MAX,
    METRES_PER_DEG,
    ODOMETER_CASE,
    SHORT_M,
    WEIGHT_M,
    WHEEL_CASE,
    counters_fell,
    drifts,
    reach_m,
    stretches,
    usable_wheel_kmh,
    watch_position,
    weigh,
)
from stream.state import LEVEL_RING

POSITION: Final = 1
STRETCH: Final = 2
MANOEUVRE: Final = 4
SPEEDING: Final = 8
IDLE_OVER: Final = 16
LEVEL: Final = 32
FELL: Final = 64
WEIGHED: Final = 128


@inlined
def _position(state: Any, lat_deg: float, lon_deg: float, gps_kmh: float, time_ns: int) -> int:
    """Believe what is surely within reach; the rest is for ``watch_position``."""
    if math.isnan(lat_deg) or math.isnan(lon_deg):
        return 0
    north = (lat_deg - state["fix_lat_deg"]) * METRES_PER_DEG
    east = (lon_deg - state["fix_lon_deg"]) * METRES_PER_DEG  # at most: meridians converge
    reach = reach_m(state, gps_kmh, time_ns)
    if north * north + east * east <= reach * reach and state["jump_ns"] == UNKNOWN:
        state["fix_lat_deg"] = lat_deg
        state["fix_lon_deg"] = lon_deg
        state["fix_ns"] = time_ns
        return 0
    state["reach_m"] = reach
    return POSITION


@inlined
def _compare(state: Any, wheel_kmh: float, odometer_m: float, gps_kmh: float, hdop: float, dt_s: float) -> int:
    """Add the interval to the stretches that are compared with GNSS."""
    found = 0
    before_kmh = state["gps_seen_kmh"]
    if gps_kmh > COMPARED_KMH and before_kmh > COMPARED_KMH and dt_s <= HOLD_S and not hdop > HDOP_MAX:
        gps_m = (before_kmh + gps_kmh) * dt_s * (0.5 / 3.6)
        wheel_m = (state["wheel_seen_kmh"] + wheel_kmh) * dt_s * (0.5 / 3.6)
        if wheel_m >= 0.0:
            state["short_source_m"][WHEEL_CASE] += wheel_m
            state["short_gps_m"][WHEEL_CASE] += gps_m
            if state["short_gps_m"][WHEEL_CASE] >= SHORT_M:
                found = STRETCH
        driven_m = odometer_m - state["odometer_seen_m"]
        if 0.0 <= driven_m < SHORT_M:
            state["short_source_m"][ODOMETER_CASE] += driven_m
            state["short_gps_m"][ODOMETER_CASE] += gps_m
            if state["short_gps_m"][ODOMETER_CASE] >= SHORT_M:
                found = STRETCH
    state["gps_seen_kmh"] = gps_kmh
    state["wheel_seen_kmh"] = wheel_kmh
    state["odometer_seen_m"] = odometer_m
    return found


@inlined
def _manoeuvre(state: Any, v_kmh: float, by_wheel: bool, time_ns: int) -> int:
    """Close a window of speed that is full; one that ``harsh`` must look at stays for it."""
    found = 0
    if state["harsh_sign"] != 0 and time_ns - state["harsh_last_ns"] > MERGE_NS:
        found = MANOEUVRE
    if state["window_ns"] != UNKNOWN and (state["window_wheel"] != 0) == by_wheel:
        window_s = (time_ns - state["window_ns"]) * 1e-9
        if window_s < (WHEEL_WINDOW_S if by_wheel else GPS_WINDOW_S) * JITTER:
            return found
        if window_s <= WINDOW_MAX_S and math.fabs(v_kmh - state["window_kmh"]) > LEAST_MS2 * 3.6 * window_s:
            return MANOEUVRE
    state["window_ns"] = UNKNOWN if math.isnan(v_kmh) else time_ns
    state["window_kmh"] = v_kmh
    state["window_wheel"] = by_wheel
    return found


@inlined
def _stand(
    state: Any, p: Any, standing: bool, idling: bool, level_pct: float, amount: int, time_ns: int, dt_s: float
) -> int:
    """Keep the account of standing and idling."""
    found = 0
    if not standing:
        state["parked_ns"] = UNKNOWN
        if state["level_n"] > 0:
            found = LEVEL
    else:
        if state["parked_ns"] == UNKNOWN:
            state["parked_ns"] = time_ns
        if not math.isnan(level_pct):
            state["level_pct"] = level_pct
            state["level_ns"] = time_ns
        if state["level_n"] < LEVEL_RING or time_ns >= state["level_next_ns"]:
            state["level_next_ns"] = time_ns + LEVEL_EVERY_NS
            found = LEVEL
    if state["idle_ns"] != UNKNOWN and not (idling and dt_s <= GAP_S):
        return found | IDLE_OVER
    if idling:
        if state["idle_ns"] == UNKNOWN:
            state["idle_ns"] = time_ns
            state["idle_nl"] = 0
        elif amount != UNKNOWN and not p["fuel_is_gas"]:
            state["idle_nl"] += amount
        state["idle_last_ns"] = time_ns
    return found


@inlined
def speed_believed_kmh(usable_kmh: float, gps_kmh: float, hdop: float) -> tuple[float, bool]:
    """Speed of the wheels, NaN where it is known to be wrong, else of a receiver with a good fix; NaN. And whether it is the wheels'."""
    if not math.isnan(usable_kmh):
        return usable_kmh, True
    return (math.nan if hdop > HDOP_MAX else gps_kmh), False


@inlined
def notice(state: Any, p: Any, signals: Any, b: int, usable_kmh: float, amount: int, time_ns: int, dt_s: float) -> int:
    """Take in one reading of a vehicle; returns bits for the parts ``act`` must look at, 0 for none.

    ``signals`` of row ``b`` of a block, as sent; ``usable_kmh`` (``plausibility.usable_wheel_kmh``); ``amount``: fuel (nL, µg) or energy
    (µWh) booked for it; ``dt_s``: since the reading before, NaN for the first.
    """
    gps_kmh, hdop = signals[at.GPS_SPEED + b], signals[at.HDOP + b]
    found = _position(state, signals[at.LAT + b], signals[at.LON + b], gps_kmh, time_ns)
    found |= _compare(state, signals[at.SPEED + b], signals[at.ODOMETER + b], gps_kmh, hdop, dt_s)
    v_kmh, by_wheel = speed_believed_kmh(usable_kmh, gps_kmh, hdop)
    found |= _manoeuvre(state, v_kmh, by_wheel, time_ns)
    if v_kmh > p["speed_limit_kmh"] + SPEEDING_TOLERANCE_KMH or state["fast_ns"] != UNKNOWN:
        found |= SPEEDING
    standing = v_kmh < STANDING_KMH
    if standing or state["parked_ns"] != UNKNOWN or state["idle_ns"] != UNKNOWN:
        level_pct = signals[at.SOC + b] if p["has_battery"] else signals[at.LEVEL + b]
        idling = idles(state, p, standing, signals[at.RPM + b], signals[at.FUEL_RATE + b], signals[at.SWITCHES + b])
        found |= _stand(state, p, standing, idling, level_pct, amount, time_ns, dt_s)
    total_hr_l, total_l = signals[at.FUEL_HR + b], signals[at.FUEL_TOTAL + b]
    if total_hr_l < state["total_hr_seen_l"] or total_l < state["total_seen_l"]:
        found |= FELL
    else:
        if not math.isnan(total_hr_l):
            state["total_hr_seen_l"] = total_hr_l
        if not math.isnan(total_l):
            state["total_seen_l"] = total_l
    if amount != UNKNOWN:
        if amount > 0 or not standing:  # what flows into a standing battery is a recharge, not less use
            state["level_used"] += amount * p["level_per_amount"]
    elif dt_s > HOLD_S:
        state["level_unknown_s"] += dt_s
    cargo_kg, gross_kg = signals[at.CARGO + b], signals[at.GROSS + b]
    if cargo_kg > 0.0 and gross_kg > 0.0 and dt_s <= HOLD_S and v_kmh > COMPARED_KMH:
        moved_m = v_kmh / 3.6 * dt_s
        state["weight_m"] += moved_m
        state["weighed_kgm"] += gross_kg * moved_m
        state["ordered_kgm"] += (p["tare_kg"] + cargo_kg) * moved_m
        if state["weight_m"] >= WEIGHT_M:
            found |= WEIGHED
    return found


@kernel
def act(
    found: int,
    state: Any,
    p: Any,
    signals: Any,
    b: int,
    method: int,
    time_ns: int,
    dt_s: float,
    events: Any,
    n: int,
    device: int,
) -> int:
    """Look closer where ``notice`` found something; returns the number of ``events`` written so far.

    ``signals``, ``b``, ``dt_s``: as there; ``method``: how the amount was obtained.
    """
    if found & POSITION:
        n = watch_position(state, signals[at.LAT + b], signals[at.LON + b], time_ns, events, n, device)
    if found & STRETCH:
        n = stretches(state, time_ns, events, n, device)
    if found & (MANOEUVRE | SPEEDING):
        usable_kmh, gross_kg = usable_wheel_kmh(state, signals[at.SPEED + b]), signals[at.GROSS + b]
        v_kmh, by_wheel = speed_believed_kmh(usable_kmh, signals[at.GPS_SPEED + b], signals[at.HDOP + b])
        if found & MANOEUVRE:
            mass_kg = p["mass_kg"]
            if state["mass_kg"] > 0.0:
                mass_kg = state["mass_kg"]
            elif gross_kg > 0.5 * p["tare_kg"] and state["weight_bad"] == 0:
                mass_kg = gross_kg
            n = harsh(state, p, v_kmh, by_wheel, mass_kg, time_ns, events, n, device)
        if found & SPEEDING:
            n = speeding(state, p, v_kmh, time_ns, dt_s, events, n, device)
    if found & IDLE_OVER:
        n = end_idling(state, events, n, device)
    if found & LEVEL:
        n = drifts(state, p, time_ns, events, n, device)
        n = watch_level(state, p, method, time_ns, events, n, device)
    if found & FELL:
        n = counters_fell(state, signals[at.FUEL_HR + b], signals[at.FUEL_TOTAL + b], time_ns, events, n, device)
    if found & WEIGHED:
        n = weigh(state, p, time_ns, events, n, device)
    return n


@kernel
def refrigerant(state: Any, total_kg: float, time_ns: int, events: Any, n: int, device: int) -> int:
    """Look at the counter of refrigerant [kg], of a vehicle or a warehouse, where it is sent; returns the number of events."""
    return watch_topup(state, total_kg, time_ns, events, n, device)
