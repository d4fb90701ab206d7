"""What happens on the way: one call per reading, after its amounts were booked, that may write rows of the table ``events``.

Cheap comparisons come first; whatever is heavy runs at standstills, at the end of an event, or every few kilometres.
"""

import math
from typing import Any

from stream.columns import UNKNOWN
from stream.driver_events import (
    STANDING_KMH,
    idles,
    watch_idling,
    watch_manoeuvres,
    watch_speeding,
)
from stream.fuel_events import watch_level, watch_topup
from stream.kernel import kernel
from stream.plausibility import HDOP_MAX, usable_wheel_kmh, watch_counters, watch_distance, watch_position, watch_weight


@kernel
def watch_vehicle(
    state: Any,
    p: Any,
    lat_deg: float,
    lon_deg: float,
    hdop: float,
    wheel_kmh: float,
    gps_kmh: float,
    odometer_m: float,
    rpm: float,
    rate_lph: float,
    switches: float,
    gross_kg: float,
    cargo_kg: float,
    total_hr_l: float,
    total_l: float,
    level_pct: float,
    amount: int,
    method: int,
    time_ns: int,
    dt_s: float,
    events: Any,
    n: int,
    device: int,
) -> int:
    """Look at one reading of a vehicle; returns the number of ``events`` written so far.

    Signals are raw, as sent; ``amount``: fuel (nL, µg) or energy (µWh) booked by ``method``; ``dt_s``: since the reading before,
    NaN for the first.
    """
    n = watch_position(state, lat_deg, lon_deg, time_ns, events, n, device)
    n = watch_distance(state, wheel_kmh, odometer_m, gps_kmh, hdop, time_ns, dt_s, events, n, device)
    v_kmh = usable_wheel_kmh(state, wheel_kmh)
    by_wheel = not math.isnan(v_kmh)
    if not by_wheel and not hdop > HDOP_MAX:
        v_kmh = gps_kmh
    standing = v_kmh < STANDING_KMH
    if not standing:
        state["parked_ns"] = UNKNOWN
    elif state["parked_ns"] == UNKNOWN:
        state["parked_ns"] = time_ns
    mass_kg = gross_kg if gross_kg > 0.5 * p["tare_kg"] else p["mass_kg"]
    n = watch_manoeuvres(state, p, v_kmh, by_wheel, mass_kg, time_ns, events, n, device)
    n = watch_speeding(state, p, v_kmh, time_ns, dt_s, events, n, device)
    if standing or state["idle_ns"] != UNKNOWN:
        fuel_nl = UNKNOWN if p["fuel_is_gas"] else amount
        idling = idles(state, p, standing, rpm, rate_lph, switches)
        n = watch_idling(state, idling, fuel_nl, time_ns, dt_s, events, n, device)
    n = watch_counters(state, total_hr_l, total_l, time_ns, events, n, device)
    n = watch_level(state, p, level_pct, amount, method, time_ns, dt_s, events, n, device)
    if cargo_kg > 0.0 and dt_s < 120.0:
        n = watch_weight(state, p, gross_kg, cargo_kg, v_kmh / 3.6 * dt_s, time_ns, events, n, device)
    return n


@kernel
def watch_site(state: Any, refrigerant_kg: float, time_ns: int, events: Any, n: int, device: int) -> int:
    """Look at one reading of a warehouse; returns the number of ``events`` written so far."""
    return watch_topup(state, refrigerant_kg, time_ns, events, n, device)
