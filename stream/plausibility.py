"""Sensors that contradict each other: position jumps, wheel speed and odometer against GNSS, weight against order, falling counters.

Every contradiction is a case: an event when it is found, one a day while it lasts, and one with ``chosen`` "none" when it is over.
The bad value stays in ``readings``; ``usable_wheel_kmh`` and ``usable_odometer_m`` keep it from distance and model.

Distances are compared over the same intervals only, above 20 km/h and with a good fix: ratio = sum(source) / sum(GNSS speed x dt).
A GNSS receiver's speed comes from Doppler shifts, good to about 0.1 m/s, so over kilometres it is the most exact of the three.
"""

import math
from typing import Any, Final

from stream.columns import UNKNOWN
from stream.counters import HOLD_S
from stream.event_rows import (
    CHOSE_CAN_MASS,
    CHOSE_COUNTER,
    CHOSE_GPS,
    CHOSE_NONE,
    CHOSE_ODOMETER,
    CHOSE_ORDER,
    CHOSE_WEIGHT,
    CHOSE_WHEEL,
    COUNTER_RESET,
    GPS_JUMP,
    MODEL_DRIFT,
    ODOMETER_CONFLICT,
    TARE_DRIFT,
    WEIGHT_CONFLICT,
    WHEEL_SCALE,
    put,
)
from stream.kernel import kernel
from stream.learning import DRIFT_ALARM_REL, drift
from stream.mass import contradicts, judge_scales, tare_drift
from stream.state import CASES

ODOMETER_CASE: Final = CASES.index("odometer_conflict")
WHEEL_CASE: Final = CASES.index("wheel_scale")
MODEL_CASE: Final = CASES.index("model_drift")
TARE_CASE: Final = CASES.index("tare_drift")
WEIGHT_CASE: Final = CASES.index("weight_conflict")
DAY_NS: Final = 86_400_000_000_000
METRES_PER_DEG: Final = 111_195.0  # of a great circle on a sphere of 6371 km
REACH_M: Final = 100.0  # two fixes of a standing vehicle may differ by this
REACH_MS: Final = 50.0  # no road vehicle is faster: 180 km/h
SPEED_MARGIN: Final = 1.3  # on the receiver's own speed at both ends of a short interval, and
SPEED_SLACK_MS: Final = 5.0
SETTLED_S: Final = 120.0  # positions that agree with each other for so long are where the vehicle is (a ferry, a tow)
HDOP_MAX: Final = 2.5  # positions and speeds of a worse fix are not compared
COMPARED_KMH: Final = 20.0  # toothed wheels miss slow turns, and GNSS noise counts for more
SHORT_M: Final = 2_000.0  # a gross error shows in each of these
LONG_M: Final = 20_000.0  # a bias shows in this
GROSS: Final = 0.10  # beyond this share of GNSS a source is not used
BIAS: Final = 0.015  # beyond this a bias is a case; worn tyres alone are within about 1.5 %
RECOVERED: Final = 0.05
CHORD: Final = (
    0.25  # of a stretch's length by GNSS speed must lie between its ends, else that speed may be stuck: not compared
)
STRIKES: Final = 2  # short stretches in a row
WEIGHT_M: Final = 10_000.0


@kernel
def usable_wheel_kmh(state: Any, speed_kmh: float) -> float:
    """Wheel speed [km/h], NaN while it is known to be wrong (case ``wheel_scale``): distance and model take GNSS instead."""
    return math.nan if state["case_gross"][WHEEL_CASE] != 0 else speed_kmh


@kernel
def usable_odometer_m(state: Any, odometer_m: float) -> float:
    """Odometer [m], NaN while it is known to be wrong (case ``odometer_conflict``)."""
    return math.nan if state["case_gross"][ODOMETER_CASE] != 0 else odometer_m


@kernel
def report_case(
    state: Any,
    case: int,
    kind: int,
    bad: bool,
    time_ns: int,
    amount: float,
    expected: float,
    chosen: int,
    events: Any,
    n: int,
    device: int,
) -> int:
    """Open, continue (an event a day) or end a case of ``amount`` against ``expected`` (ratios or kg); returns the number of events."""
    if bad:
        if state["case_ns"][case] != UNKNOWN and time_ns - state["case_ns"][case] < DAY_NS:
            return n
        state["case_ns"][case] = time_ns
        return put(events, n, state, device, kind, time_ns, time_ns, amount, expected, UNKNOWN, chosen)
    if state["case_ns"][case] == UNKNOWN:
        return n
    state["case_ns"][case] = UNKNOWN
    return put(events, n, state, device, kind, time_ns, time_ns, amount, expected, UNKNOWN, CHOSE_NONE)


@kernel
def _believe(state: Any, lat_deg: float, lon_deg: float, time_ns: int) -> None:
    state["fix_lat_deg"] = lat_deg
    state["fix_lon_deg"] = lon_deg
    state["fix_ns"] = time_ns


@kernel
def apart_m(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Distance [m] of ``lat_a``, ``lon_a`` and ``lat_b``, ``lon_b`` [°] on a plane through both; 0.5 % too long at 500 km."""
    east = abs(lon_b - lon_a)
    if east > 180.0:
        east = 360.0 - east
    east *= math.cos(0.5 * (lat_a + lat_b) * math.pi / 180.0)
    return math.hypot(east, lat_b - lat_a) * METRES_PER_DEG


@kernel
def reach_m(state: Any, gps_kmh: float, time_ns: int) -> float:
    """How far from the last believed position a vehicle may be [m]: by its speed at both ends of a short interval, else at 50 m/s."""
    if state["fix_ns"] == UNKNOWN:
        return 0.0
    dt_s = (time_ns - state["fix_ns"]) * 1e-9
    faster_kmh = state["gps_seen_kmh"] if state["gps_seen_kmh"] > gps_kmh else gps_kmh
    fastest = faster_kmh * (SPEED_MARGIN / 3.6) + SPEED_SLACK_MS
    if dt_s <= HOLD_S and fastest < REACH_MS:
        return float(REACH_M + fastest * dt_s)
    return float(REACH_M + REACH_MS * dt_s)


@kernel
def _stray(state: Any, lat_deg: float, lon_deg: float, time_ns: int, away_m: float, events: Any, n: int, d: int) -> int:
    """A fix that the vehicle cannot have reached from the last believed one."""
    if state["jump_ns"] == UNKNOWN:
        state["jump_ns"] = time_ns
        state["jump_m"] = away_m
        state["stray_since_ns"] = time_ns
    else:
        state["jump_m"] = max(state["jump_m"], away_m)
        since_s = (time_ns - state["stray_ns"]) * 1e-9
        step_m = apart_m(state["stray_lat_deg"], state["stray_lon_deg"], lat_deg, lon_deg)
        if step_m > REACH_M + REACH_MS * since_s:
            state["stray_since_ns"] = time_ns
    state["stray_lat_deg"] = lat_deg
    state["stray_lon_deg"] = lon_deg
    state["stray_ns"] = time_ns
    if (time_ns - state["stray_since_ns"]) * 1e-9 >= SETTLED_S:
        n = _landed(state, events, n, d)
        _believe(state, lat_deg, lon_deg, time_ns)
    return n


@kernel
def _landed(state: Any, events: Any, n: int, d: int) -> int:
    """The jump is over: tell of it, at the position believed before it."""
    n = put(
        events, n, state, d, GPS_JUMP, state["jump_ns"], state["stray_ns"], state["jump_m"], 0.0, UNKNOWN, CHOSE_NONE
    )
    state["jump_ns"] = UNKNOWN
    return n


@kernel
def watch_position(state: Any, lat_deg: float, lon_deg: float, time_ns: int, events: Any, n: int, device: int) -> int:
    """Believe a fix within ``reach_m`` of the last believed one, or that 120 s of fixes agree with.

    ``fix_lat_deg``, ``fix_lon_deg`` and ``fix_ns`` of the state hold the last believed position. Event ``gps_jump``: how far off [m].
    Returns the number of events.
    """
    if math.isnan(lat_deg) or math.isnan(lon_deg):
        return n
    if state["fix_ns"] != UNKNOWN:
        north = (lat_deg - state["fix_lat_deg"]) * METRES_PER_DEG
        east = (lon_deg - state["fix_lon_deg"]) * METRES_PER_DEG
        reach = state["reach_m"]
        if north * north + east * east > reach * reach:  # an upper bound: meridians converge
            away = apart_m(state["fix_lat_deg"], state["fix_lon_deg"], lat_deg, lon_deg)
            if away > reach:
                return _stray(state, lat_deg, lon_deg, time_ns, away, events, n, device)
        if state["jump_ns"] != UNKNOWN:
            n = _landed(state, events, n, device)
    _believe(state, lat_deg, lon_deg, time_ns)
    return n


@kernel
def _gross(state: Any, case: int, ratio: float) -> None:
    """Two stretches in a row far off GNSS: the source is wrong. Two that are near it again: it is mended."""
    wrong = state["case_gross"][case] != 0
    off = math.fabs(ratio - 1.0)
    if (off < RECOVERED) if wrong else (off > GROSS):
        state["case_strikes"][case] += 1
        if state["case_strikes"][case] >= STRIKES:
            state["case_gross"][case] = 0 if wrong else 1
            state["case_strikes"][case] = 0
            state["long_source_m"][case] = 0.0
            state["long_gps_m"][case] = 0.0
            if not wrong:
                state["case_ns"][case] = UNKNOWN  # what was a bias is told anew
    else:
        state["case_strikes"][case] = 0


@kernel
def _judge(
    state: Any,
    case: int,
    kind: int,
    short: bool,
    source_m: float,
    gps_m: float,
    time_ns: int,
    events: Any,
    n: int,
    d: int,
) -> int:
    """Compare one stretch; ``short`` ones find gross errors, long ones a bias."""
    ratio = source_m / gps_m
    before = state["case_gross"][case]
    if short:
        _gross(state, case, ratio)
    wrong = state["case_gross"][case] != 0
    if wrong and case == WHEEL_CASE:
        no_odometer = state["case_gross"][ODOMETER_CASE] != 0 or math.isnan(state["odometer_seen_m"])
        chosen = CHOSE_GPS if no_odometer else CHOSE_ODOMETER
        return report_case(state, case, kind, True, time_ns, ratio, 1.0, chosen, events, n, d)
    if wrong:
        chosen = CHOSE_GPS if state["case_gross"][WHEEL_CASE] != 0 else CHOSE_WHEEL
        return report_case(state, case, kind, True, time_ns, ratio, 1.0, chosen, events, n, d)
    if before != 0:
        return report_case(state, case, kind, False, time_ns, ratio, 1.0, CHOSE_NONE, events, n, d)
    if short:
        return n
    kept = CHOSE_WHEEL if case == WHEEL_CASE else CHOSE_ODOMETER  # a small bias costs less than the gaps of GNSS
    return report_case(state, case, kind, math.fabs(ratio - 1.0) > BIAS, time_ns, ratio, 1.0, kept, events, n, d)


@kernel
def _stretch(state: Any, case: int, kind: int, time_ns: int, events: Any, n: int, device: int) -> int:
    """A short stretch is full."""
    source, gps = state["short_source_m"][case], state["short_gps_m"][case]
    chord = apart_m(
        state["short_lat_deg"][case], state["short_lon_deg"][case], state["fix_lat_deg"], state["fix_lon_deg"]
    )
    state["short_source_m"][case] = 0.0
    state["short_gps_m"][case] = 0.0
    state["short_lat_deg"][case] = state["fix_lat_deg"]
    state["short_lon_deg"][case] = state["fix_lon_deg"]
    if chord < CHORD * gps:
        return n
    n = _judge(state, case, kind, True, source, gps, time_ns, events, n, device)
    state["long_source_m"][case] += source
    state["long_gps_m"][case] += gps
    if state["long_gps_m"][case] >= LONG_M:
        source, gps = state["long_source_m"][case], state["long_gps_m"][case]
        state["long_source_m"][case] = 0.0
        state["long_gps_m"][case] = 0.0
        n = _judge(state, case, kind, False, source, gps, time_ns, events, n, device)
    return n


@kernel
def stretches(state: Any, time_ns: int, events: Any, n: int, device: int) -> int:
    """Judge raw wheel speed and odometer over the stretches that are full.

    Events ``wheel_scale`` and ``odometer_conflict``: ratio to GNSS. Two stretches of 2 km more than 10 % off take the source out of
    use until two are within 5 %; 20 km more than 1.5 % off open a case, and the source stays in use.
    """
    if state["short_gps_m"][WHEEL_CASE] >= SHORT_M:
        n = _stretch(state, WHEEL_CASE, WHEEL_SCALE, time_ns, events, n, device)
    if state["short_gps_m"][ODOMETER_CASE] >= SHORT_M:
        n = _stretch(state, ODOMETER_CASE, ODOMETER_CONFLICT, time_ns, events, n, device)
    return n


@kernel
def weigh(state: Any, p: Any, time_ns: int, events: Any, n: int, device: int) -> int:
    """Scales against order plus tare over the last 10 km [kg]; returns the number of events."""
    weighed, ordered = state["weighed_kgm"] / state["weight_m"], state["ordered_kgm"] / state["weight_m"]
    state["weight_m"] = 0.0
    state["weighed_kgm"] = 0.0
    state["ordered_kgm"] = 0.0
    state["weight_by_order"] = contradicts(weighed, ordered, 0.0, p["gvw_kg"])
    judge_scales(state)
    return weights(state, time_ns, events, n, device)


@kernel
def weights(state: Any, time_ns: int, events: Any, n: int, device: int) -> int:
    """Event ``weight_conflict``: ratio of the scales to what contradicts them, order before torque.

    ``chosen``: the order, the mass by torque, or the scales where the third source bears them out. Scales that are not chosen are
    kept in ``readings`` and used for nothing until they agree again.
    """
    by_can, by_order = state["weight_by_can"], state["weight_by_order"]
    if math.isnan(by_can) and math.isnan(by_order):
        return n
    off_order, off_can = by_order == by_order and by_order != 1.0, by_can == by_can and by_can != 1.0
    chosen = CHOSE_WEIGHT
    if state["weight_bad"] != 0:
        chosen = CHOSE_ORDER if off_order else CHOSE_CAN_MASS
    ratio = by_order if off_order else by_can if off_can else 1.0
    bad = off_order or off_can
    return report_case(state, WEIGHT_CASE, WEIGHT_CONFLICT, bad, time_ns, ratio, 1.0, chosen, events, n, device)


@kernel
def drifts(state: Any, p: Any, time_ns: int, events: Any, n: int, device: int) -> int:
    """Events ``tare_drift`` and ``model_drift``: what was learnt of the vehicle has left what it was; ``weight_conflict`` of the trip.

    Tare: by how many kilograms the empty vehicle weighs other than the registry says; the learnt tare is used. Model: fuel measured
    over modelled of late against the vehicle's own past, as a ratio; the measured fuel is used.
    """
    n = weights(state, time_ns, events, n, device)
    off_kg = tare_drift(state, p)
    bad = not math.isnan(off_kg)
    n = report_case(
        state, TARE_CASE, TARE_DRIFT, bad, time_ns, off_kg if bad else 0.0, 0.0, CHOSE_WEIGHT, events, n, device
    )
    ratio = drift(state)
    if math.isnan(ratio):
        return n
    bad = math.fabs(ratio - 1.0) > DRIFT_ALARM_REL
    return report_case(state, MODEL_CASE, MODEL_DRIFT, bad, time_ns, ratio, 1.0, CHOSE_COUNTER, events, n, device)


@kernel
def counters_fell(state: Any, total_hr_l: float, total_l: float, time_ns: int, events: Any, n: int, device: int) -> int:
    """Event ``counter_reset``: what a counter of fuel used (the fine one, if both) fell by [L]; returns the number of events."""
    fine, coarse = total_hr_l - state["total_hr_seen_l"], total_l - state["total_seen_l"]
    if not math.isnan(total_hr_l):
        state["total_hr_seen_l"] = total_hr_l
    if not math.isnan(total_l):
        state["total_seen_l"] = total_l
    fall = fine if fine < 0.0 else coarse
    return put(events, n, state, device, COUNTER_RESET, time_ns, time_ns, fall, math.nan, UNKNOWN, CHOSE_NONE)
