"""Transport work and what the time was spent on: payload times distance, capacity beside it, standing with the engine on."""

import math
from typing import Any, Final

import numpy as np

from stream.columns import LOAD_STATES, UNKNOWN
from stream.counters import GAP_S
from stream.kernel import kernel
from stream.road_load import ENGINE_OFF_RPM
from stream.table import CAPACITY, DISTANCE, DT, IDLE, LOAD_STATE, MOVING, PAYLOAD_UNKNOWN, TRANSPORT
from stream.uncertainty import begin_spans

EMPTY_WITH_LOAD_UNITS: Final = LOAD_STATES.index("empty_with_load_units")
STATE_UNKNOWN: Final = LOAD_STATES.index("unknown")
STANDING_KMH: Final = 1.0  # slower is standing, science reference section 5
STOP_S: Final = 60.0
PTO_BIT: Final = 2  # of the signal ``switches``
LEAST_OF_TARE: Final = 0.5  # a gross weight below this share of the tare is no weight


@kernel
def payload(p: Any, gross_weight_kg: float, cargo_kg: float) -> float:
    """Goods aboard [kg], >= 0; NaN where nothing tells them.

    The order's weight (2 %) before the scales' (5 %), and on the scales less than ``empty_below_kg`` is nothing: their noise
    must not carry goods.
    """
    if cargo_kg >= 0.0:
        return cargo_kg
    if not gross_weight_kg > LEAST_OF_TARE * p["tare_kg"]:
        return math.nan
    goods = gross_weight_kg - p["tare_kg"]
    return float(goods) if goods >= p["empty_below_kg"] else 0.0


@kernel
def transport(out: Any, i: int, p: Any, payload_kg: float, sums: Any) -> None:
    """Transport work of column ``i`` [kg m], q d, and capacity over the same kilometres where loaded, C d.

    Load factor = sum q d / sum C d and intensity = sum e / sum q d are made of sums when read, never here. Mission definitions, 3
    and 4.
    """
    distance_mm = out[DISTANCE, i]
    if distance_mm == UNKNOWN:
        return
    if math.isnan(payload_kg):
        sums[PAYLOAD_UNKNOWN] = distance_mm
        return
    out[TRANSPORT, i] = int(np.rint(payload_kg * distance_mm * 1e-3))
    known = out[LOAD_STATE, i] != STATE_UNKNOWN
    if (known and out[LOAD_STATE, i] > EMPTY_WITH_LOAD_UNITS) or (not known and payload_kg >= p["empty_below_kg"]):
        sums[CAPACITY] = int(np.rint(p["capacity_kg"] * distance_mm * 1e-3))


@kernel
def time_use(out: Any, i: int, state: Any, v_ms: float, rpm: float, switches: float, sums: Any) -> None:
    """Whether the interval was spent moving, or idling: standing, engine on, no power take-off. Neither where unknown.

    A vehicle that moves again after a minute's stop begins a new span of its counters.
    """
    dt_us = out[DT, i]
    if dt_us == UNKNOWN or dt_us > GAP_S * 1e6 or math.isnan(v_ms):
        return
    if v_ms * 3.6 >= STANDING_KMH:
        sums[MOVING] = dt_us
        if state["stood_s"] >= STOP_S:
            begin_spans(state)
        state["stood_s"] = 0.0
        return
    state["stood_s"] += dt_us * 1e-6
    pto = not math.isnan(switches) and (int(switches) >> PTO_BIT) & 1 == 1
    if rpm >= ENGINE_OFF_RPM and not pto:
        sums[IDLE] = dt_us
