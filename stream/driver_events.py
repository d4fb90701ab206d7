"""What the driver did: harsh acceleration and braking, idling, speeding, and the fuel that explains.

The litres are inside the measured fuel already: they explain it and are never added to anything. Science reference, section 6.
"""

import math
from typing import Any, Final

from stream.columns import UNKNOWN
from stream.counters import HOLD_S
from stream.event_rows import CHOSE_NONE, HARSH_ACCELERATION, HARSH_BRAKING, IDLING, SPEEDING, put
from stream.fixed import PER_UNIT, to_fixed
from stream.kernel import kernel
from stream.road_load import ENGINE_OFF_RPM, ETA_DRIVELINE, GRAVITY

PTO_BIT: Final = 2  # of the signal ``switches``
COOLING_BIT: Final = 6
ENGINE_EFFICIENCY: Final = 0.42
DIESEL_J_PER_L: Final = 35.7e6
AIR_KG_PER_M3: Final = 1.2
WHEEL_WINDOW_S: Final = 1.0
GPS_WINDOW_S: Final = 2.0  # GNSS speed is noisier
JITTER: Final = 0.9  # a window of 1 Hz readings may be this much of its length
WINDOW_MAX_S: Final = 4.0  # a longer one averages a manoeuvre away
GLITCH_MS2: Final = 9.0  # tyres cannot do more
LEAST_MS2: Final = 0.8  # below the lowest threshold: nothing to look at
MERGE_NS: Final = 5_000_000_000
THRESHOLD_MASS_KG: Final = 3_500.0
# Thresholds fall by .5 m/s2 from van (3.5 t) to rigid (12 t) and again to artic (40 t): a straight line over ln(mass) within .02.
PER_LN_MASS: Final = 0.5 / 1.22
ACCELERATION_3T5: Final = 2.0
BRAKING_3T5: Final = 3.0
IDLE_NS: Final = 60_000_000_000  # shorter stops with a running engine are traffic
STANDING_KMH: Final = 1.0
IDLE_RATE_LPH: Final = 0.2  # a fuel rate above it means a running engine where the engine speed is not sent
SPEEDING_TOLERANCE_KMH: Final = 3.0  # of tachographs and speed limiters
SPEEDING_NS: Final = 10_000_000_000


@kernel
def harsh_threshold_ms2(mass_kg: float, at_3t5_ms2: float) -> float:
    """Least acceleration that is harsh at ``mass_kg`` [m/s2], from that of 3.5 t: 2 -> 1.5 at 12 t, 1 at 40 t (science, section 6).

    Below 2 t and above 60 t as there.
    """
    return at_3t5_ms2 - PER_LN_MASS * math.log(min(max(mass_kg, 2_000.0), 60_000.0) / THRESHOLD_MASS_KG)


@kernel
def lost_j(mass_kg: float, f_rot: float, v0_ms: float, v1_ms: float) -> float:
    """Kinetic energy given up from ``v0_ms`` to ``v1_ms`` [J], Eq. 22: m f_rot (v0^2 - v1^2) / 2. 40 t from 80 to 40 km/h: 7.41 MJ."""
    return 0.5 * mass_kg * f_rot * (v0_ms * v0_ms - v1_ms * v1_ms)


@kernel
def litres_of(joule: float) -> float:
    """Diesel that brings ``joule`` to the wheels [L], Eq. 22: 0.42 engine, 0.93 driveline, 35.7 MJ/L (B0). 7.41 MJ: 0.53 L."""
    return joule / (ENGINE_EFFICIENCY * ETA_DRIVELINE) / DIESEL_J_PER_L


@kernel
def coasting_j(p: Any, mass_kg: float, v_ms: float, dt_s: float) -> float:
    """What road and air would have taken anyway [J] at speed v [m/s] in ``dt_s`` [s] on the flat (Eq. 5, 7): 20 % by the class."""
    force = mass_kg * GRAVITY * p["crr"] + 0.5 * AIR_KG_PER_M3 * p["cda_m2"] * v_ms * v_ms
    return float(force * v_ms * dt_s)


@kernel
def _explained_nl(p: Any, joule: float) -> int:
    if not p["has_fuel"] or p["fuel_is_gas"]:
        return UNKNOWN  # a battery takes part of it back; gas is not counted in litres
    return to_fixed(litres_of(max(joule, 0.0)), PER_UNIT)


@kernel
def _end_harsh(state: Any, p: Any, events: Any, n: int, device: int) -> int:
    braking = state["harsh_sign"] < 0
    kind = HARSH_BRAKING if braking else HARSH_ACCELERATION
    explained = _explained_nl(p, state["harsh_j"]) if braking else UNKNOWN
    n = put(
        events,
        n,
        state,
        device,
        kind,
        state["harsh_ns"],
        state["harsh_last_ns"],
        state["harsh_peak_ms2"],
        math.nan,
        explained,
        CHOSE_NONE,
    )
    events[n - 1]["lat_deg"] = state["harsh_lat_deg"]
    events[n - 1]["lon_deg"] = state["harsh_lon_deg"]
    state["harsh_sign"] = 0
    return n


@kernel
def _harsh(
    state: Any,
    p: Any,
    change_kmh: float,
    v_kmh: float,
    mass_kg: float,
    window_s: float,
    time_ns: int,
    events: Any,
    n: int,
    d: int,
) -> int:
    """A window whose speed changed by more than the least: is it harsh for this mass?"""
    a = change_kmh / 3.6 / window_s
    braking = a < 0.0
    own = p["harsh_braking_ms2"] if braking else p["harsh_acceleration_ms2"]
    threshold = own if own > 0.0 else harsh_threshold_ms2(mass_kg, BRAKING_3T5 if braking else ACCELERATION_3T5)
    if math.fabs(a) <= threshold or math.fabs(a) > GLITCH_MS2:
        return n
    sign = -1 if braking else 1
    if state["harsh_sign"] != 0 and state["harsh_sign"] != sign:
        n = _end_harsh(state, p, events, n, d)
    if state["harsh_sign"] == 0:
        state["harsh_sign"] = sign
        state["harsh_ns"] = state["window_ns"]
        state["harsh_peak_ms2"] = a
        state["harsh_j"] = 0.0
        state["harsh_lat_deg"] = state["fix_lat_deg"]
        state["harsh_lon_deg"] = state["fix_lon_deg"]
    elif math.fabs(a) > math.fabs(state["harsh_peak_ms2"]):
        state["harsh_peak_ms2"] = a
    state["harsh_last_ns"] = time_ns
    if braking:
        v0, v1 = (v_kmh - change_kmh) / 3.6, v_kmh / 3.6
        lost = lost_j(mass_kg, p["f_rot"], v0, v1) - coasting_j(p, mass_kg, 0.5 * (v0 + v1), window_s)
        state["harsh_j"] += max(lost, 0.0)
    return n


@kernel
def harsh(
    state: Any, p: Any, v_kmh: float, by_wheel: bool, mass_kg: float, time_ns: int, events: Any, n: int, device: int
) -> int:
    """Events ``harsh_acceleration`` and ``harsh_braking``: peak [m/s2], signed, over 1 s of wheel speed or 2 s of GNSS speed.

    Ends the manoeuvre that is 5 s old, looks at the window of speed that is full, and begins the next one. Manoeuvres of one
    direction closer than 5 s are one; the event is written 5 s after its end.
    """
    if state["harsh_sign"] != 0 and time_ns - state["harsh_last_ns"] > MERGE_NS:
        n = _end_harsh(state, p, events, n, device)
    if state["window_ns"] != UNKNOWN and (state["window_wheel"] != 0) == by_wheel and not math.isnan(v_kmh):
        window_s = (time_ns - state["window_ns"]) * 1e-9
        if window_s < (WHEEL_WINDOW_S if by_wheel else GPS_WINDOW_S) * JITTER:
            return n
        change = v_kmh - state["window_kmh"]
        if math.fabs(change) > LEAST_MS2 * 3.6 * window_s and window_s <= WINDOW_MAX_S:
            n = _harsh(state, p, change, v_kmh, mass_kg, window_s, time_ns, events, n, device)
    state["window_ns"] = UNKNOWN if math.isnan(v_kmh) else time_ns
    state["window_kmh"] = v_kmh
    state["window_wheel"] = by_wheel
    return n


@kernel
def _bit(switches: float, bit: int) -> bool:
    return not math.isnan(switches) and (int(switches) >> bit) & 1 == 1


@kernel
def end_idling(state: Any, events: Any, n: int, device: int) -> int:
    """Event ``idling`` of at least 60 s: seconds, and the fuel burnt [nL]; a gap of 120 s ends it. Returns the number of events."""
    begin, end = state["idle_ns"], state["idle_last_ns"]
    state["idle_ns"] = UNKNOWN
    if end - begin < IDLE_NS:
        return n
    return put(events, n, state, device, IDLING, begin, end, (end - begin) * 1e-9, 0.0, state["idle_nl"], CHOSE_NONE)


@kernel
def idles(state: Any, p: Any, standing: bool, rpm: float, rate_lph: float, switches: float) -> bool:
    """Engine on, standing, no power take-off, and no refrigeration unit that may hang on the engine (one with a counter is its own)."""
    if not standing or not p["has_fuel"]:
        return False
    running = rate_lph > IDLE_RATE_LPH if math.isnan(rpm) else rpm > ENGINE_OFF_RPM
    if not running or _bit(switches, PTO_BIT):
        return False
    return not (_bit(switches, COOLING_BIT) and state["tru"]["last"] == UNKNOWN)


@kernel
def _end_speeding(state: Any, p: Any, events: Any, n: int, device: int) -> int:
    begin, end = state["fast_ns"], state["fast_last_ns"]
    state["fast_ns"] = UNKNOWN
    if end - begin < SPEEDING_NS:
        return n
    n = put(
        events,
        n,
        state,
        device,
        SPEEDING,
        begin,
        end,
        state["fast_peak_kmh"],
        p["speed_limit_kmh"],
        _explained_nl(p, state["fast_j"]),
        CHOSE_NONE,
    )
    events[n - 1]["lat_deg"] = state["fast_lat_deg"]
    events[n - 1]["lon_deg"] = state["fast_lon_deg"]
    return n


@kernel
def speeding(state: Any, p: Any, v_kmh: float, time_ns: int, dt_s: float, events: Any, n: int, device: int) -> int:
    """Event ``speeding``: peak speed against the vehicle's limit, at least 10 s more than 3 km/h above it; merged below 5 s apart.

    Explained: air drag beyond that at the limit, over the way driven (Eq. 5) [nL]. Returns the number of events.
    """
    limit = p["speed_limit_kmh"]
    fast = v_kmh > limit + SPEEDING_TOLERANCE_KMH
    if not fast:
        if state["fast_ns"] != UNKNOWN and time_ns - state["fast_last_ns"] > MERGE_NS:
            n = _end_speeding(state, p, events, n, device)
        return n
    if state["fast_ns"] != UNKNOWN and not dt_s <= HOLD_S:
        n = _end_speeding(state, p, events, n, device)
    if state["fast_ns"] == UNKNOWN:
        state["fast_ns"] = time_ns
        state["fast_peak_kmh"] = v_kmh
        state["fast_j"] = 0.0
        state["fast_lat_deg"] = state["fix_lat_deg"]
        state["fast_lon_deg"] = state["fix_lon_deg"]
    else:
        v, allowed = v_kmh / 3.6, limit / 3.6
        state["fast_peak_kmh"] = max(state["fast_peak_kmh"], v_kmh)
        state["fast_j"] += 0.5 * AIR_KG_PER_M3 * p["cda_m2"] * (v * v - allowed * allowed) * v * dt_s
    state["fast_last_ns"] = time_ns
    return n
