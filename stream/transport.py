"""Transport work and what the time was spent on: payload times distance, capacity beside it, standing with the engine on."""

import math
from typing import Any, Final

import numpy as np

from stream.columns import LOAD_STATES, UNKNOWN
from stream.counters import GAP_S
from stream.kernel import inlined
from stream.road_load import ENGINE_OFF_RPM
from stream.table import CAPACITY, DISTANCE, DT, IDLE, LOAD_STATE, MOVING, PAYLOAD_UNKNOWN, TRANSPORT
from stream.trips import PTO_BIT, STILL_KMH

EMPTY_WITH_LOAD_UNITS: Final = LOAD_STATES.index("empty_with_load_units")
STATE_UNKNOWN: Final = LOAD_STATES.index("unknown")
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


@inlined
def transport(out: Any, i: int, p: Any, payload_kg: float) -> None:
    """Transport work of row ``i`` [kg m], T = q d, and capacity over the same kilometres where loaded, C d (Eq. 24).

    q ``payload_kg`` [kg, >= 0, NaN = unknown: those kilometres are counted apart]; d the row's distance [mm]. Load factor
    = sum q d / sum C d and intensity = sum e / sum q d are made of sums when read, never here. Mission definitions, 3 and 4.
    """
    distance_mm = out[DISTANCE + i]
    if distance_mm == UNKNOWN:
        return
    if math.isnan(payload_kg):
        out[PAYLOAD_UNKNOWN + i] = distance_mm
        return
    out[TRANSPORT + i] = int(np.rint(payload_kg * distance_mm * 1e-3))
    known = out[LOAD_STATE + i] != STATE_UNKNOWN
    if (known and out[LOAD_STATE + i] > EMPTY_WITH_LOAD_UNITS) or (not known and payload_kg >= p["empty_below_kg"]):
        out[CAPACITY + i] = int(np.rint(p["capacity_kg"] * distance_mm * 1e-3))


@inlined
def switch_bits(switches: float) -> int:
    """The signal ``switches`` as bits; UNKNOWN where it was not sent."""
    return UNKNOWN if math.isnan(switches) else int(switches)


@inlined
def pto_switched(switches: int) -> bool:
    """Whether the power take-off is known to be on (bit 2)."""
    return switches != UNKNOWN and switches & PTO_BIT != 0


@inlined
def time_use(out: Any, i: int, state: Any, kmh: float, rpm: float, switches: int, pto_kw: float) -> None:
    """Tell dt [µs] of row ``i`` as moving (from 1 km/h) or idling: standing, engine on, no power take-off. Neither where unknown."""
    dt_us = out[DT + i]
    if dt_us == UNKNOWN or dt_us > GAP_S * 1e6:
        return
    pto = pto_kw > 0.0 or pto_switched(switches)
    if kmh >= STILL_KMH:
        out[MOVING + i] = dt_us
        if pto:
            state["trip_pto_us"] += dt_us
    elif kmh < STILL_KMH and rpm > ENGINE_OFF_RPM and not pto:
        out[IDLE + i] = dt_us
