"""Transport work and what the time was spent on: payload times distance, capacity beside it, standing with the engine on."""

import math
from typing import Any, Final

from stream.columns import LOAD_STATES, UNKNOWN
from stream.counters import GAP_S
from stream.fixed import rounded
from stream.kernel import inlined, kernel
from stream.road_load import ENGINE_OFF_RPM
from stream.table import CAPACITY, DISTANCE, DT, IDLE, LOAD_STATE, MOVING, PAYLOAD_UNKNOWN, TRANSPORT
from stream.trips import PTO_BIT, STILL_KMH

EMPTY_WITH_LOAD_UNITS: Final = LOAD_STATES.index("empty_with_load_units")
STATE_UNKNOWN: Final = LOAD_STATES.index("unknown")
GAP_US: Final = int(GAP_S * 1e6)
LEAST_OF_TARE: Final = 0.5  # a gross weight below this share of the tare is no weight


@inlined
def payload(p: Any, state: Any, gross_weight_kg: float, cargo_kg: float) -> float:
    """Goods aboard q [kg], >= 0; NaN where nothing tells them (for Eq. 24).

    What the trip has shown so far (``stream.load_state``); before that the order's weight (2 %) or the scales' (5 %), on which
    less than ``empty_below_kg`` is nothing: their noise must not carry goods.
    """
    if not math.isnan(state["payload_kg"]):
        return float(state["payload_kg"])
    if cargo_kg >= 0.0:
        return cargo_kg
    if state["weight_bad"] != 0 or not gross_weight_kg > LEAST_OF_TARE * p["tare_kg"]:
        return math.nan
    goods = gross_weight_kg - p["tare_kg"]
    return float(goods) if goods >= p["empty_below_kg"] else 0.0


@kernel
def transport_rows(out: Any, payload_kg: Any, n: int, capacity_kg: float, empty_below_kg: float) -> None:
    """Transport work of the first ``n`` rows [kg m], T = q d, and capacity over the same kilometres where loaded, C d (Eq. 24).

    q ``payload_kg`` [kg, >= 0, NaN = unknown: those kilometres are counted apart]; d a row's distance [mm]. Load factor
    = sum q d / sum C d and intensity = sum e / sum q d are made of sums when read, never here. Mission definitions, 3 and 4.
    """
    for b in range(n):
        distance_mm, goods_kg, load_state = out[DISTANCE + b], payload_kg[b], out[LOAD_STATE + b]
        driven = distance_mm != UNKNOWN
        told = driven & (goods_kg == goods_kg)
        loaded = goods_kg >= empty_below_kg if load_state == STATE_UNKNOWN else load_state > EMPTY_WITH_LOAD_UNITS
        work = rounded(goods_kg * distance_mm * 1e-3)
        room = rounded(capacity_kg * distance_mm * 1e-3)
        out[TRANSPORT + b] = work if told else UNKNOWN
        out[CAPACITY + b] = room if told & loaded else UNKNOWN
        out[PAYLOAD_UNKNOWN + b] = distance_mm if driven & (goods_kg != goods_kg) else UNKNOWN


@inlined
def switch_bits(switches: float) -> int:
    """The signal ``switches`` as bits; UNKNOWN where it was not sent."""
    return UNKNOWN if math.isnan(switches) else int(switches)


@inlined
def pto_switched(switches: int) -> bool:
    """Whether the power take-off is known to be on (bit 2)."""
    return switches != UNKNOWN and switches & PTO_BIT != 0


@kernel
def time_rows(out: Any, kmh: Any, idle_rpm: Any, n: int) -> None:
    """Tell dt [µs] of the first ``n`` rows as moving (from 1 km/h) or idling: standing, engine on. Neither where unknown.

    ``kmh`` speed [km/h]; ``idle_rpm`` engine speed [rpm], NaN with the power take-off on; NaN = not measured.
    """
    for b in range(n):
        dt_us = out[DT + b]
        known = (dt_us != UNKNOWN) & (dt_us <= GAP_US)
        out[MOVING + b] = dt_us if known & (kmh[b] >= STILL_KMH) else UNKNOWN
        out[IDLE + b] = dt_us if known & (kmh[b] < STILL_KMH) & (idle_rpm[b] > ENGINE_OFF_RPM) else UNKNOWN


@kernel
def work_by_pto(out: Any, i: int, state: Any, kmh: float) -> None:
    """Count dt [µs] of row ``i`` as moving with the power take-off on, for its trip (``stream.trip_rows``)."""
    dt_us = out[DT + i]
    if dt_us != UNKNOWN and dt_us <= GAP_US and kmh >= STILL_KMH:
        state["trip_pto_us"] += dt_us
