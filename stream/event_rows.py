"""One row of the table ``events`` as the kernels write it, and the writing of it."""

from typing import Any, Final

import numpy as np

from stream.columns import CHOSEN_SOURCES, EVENT_KINDS
from stream.kernel import kernel
from stream.trips import MOVING

_KINDS: Final = tuple(EVENT_KINDS)
REFUEL: Final = _KINDS.index("refuel")
DRAIN: Final = _KINDS.index("drain")
RECHARGE: Final = _KINDS.index("recharge")
HARSH_ACCELERATION: Final = _KINDS.index("harsh_acceleration")
HARSH_BRAKING: Final = _KINDS.index("harsh_braking")
IDLING: Final = _KINDS.index("idling")
SPEEDING: Final = _KINDS.index("speeding")
REFRIGERANT_TOPUP: Final = _KINDS.index("refrigerant_topup")
GPS_JUMP: Final = _KINDS.index("gps_jump")
ODOMETER_CONFLICT: Final = _KINDS.index("odometer_conflict")
WHEEL_SCALE: Final = _KINDS.index("wheel_scale")
WEIGHT_CONFLICT: Final = _KINDS.index("weight_conflict")
FUEL_CONFLICT: Final = _KINDS.index("fuel_conflict")
TARE_DRIFT: Final = _KINDS.index("tare_drift")
MODEL_DRIFT: Final = _KINDS.index("model_drift")
COUNTER_RESET: Final = _KINDS.index("counter_reset")

CHOSE_NONE: Final = CHOSEN_SOURCES.index("none")
CHOSE_GPS: Final = CHOSEN_SOURCES.index("gps")
CHOSE_WHEEL: Final = CHOSEN_SOURCES.index("wheel_speed")
CHOSE_ODOMETER: Final = CHOSEN_SOURCES.index("odometer")
CHOSE_COUNTER: Final = CHOSEN_SOURCES.index("counter")
CHOSE_RATE: Final = CHOSEN_SOURCES.index("rate")
CHOSE_WEIGHT: Final = CHOSEN_SOURCES.index("weight")
CHOSE_CAN_MASS: Final = CHOSEN_SOURCES.index("can_mass")
CHOSE_ORDER: Final = CHOSEN_SOURCES.index("order")
CHOSE_MODEL: Final = CHOSEN_SOURCES.index("model")

EVENT_ROW: Final = np.dtype(
    [
        ("device", "i4"),
        ("kind", "i4"),
        ("chosen", "i4"),
        ("place", "i4"),
        ("time_ns", "i8"),
        ("end_ns", "i8"),
        ("trip_start_ns", "i8"),
        ("explained_nl", "i8"),
        ("lat_deg", "f8"),
        ("lon_deg", "f8"),
        ("amount", "f8"),
        ("expected", "f8"),
    ],
    align=True,
)
# The most that one reading can end: a level change, a harsh manoeuvre, an idling, a speeding, a jump, two counter resets, a
# refrigerant top-up and each of the six cases; each is emitted at most once per reading.
MOST_PER_ROW: Final = 14


@kernel
def put(
    events: Any,
    n: int,
    state: Any,
    device: int,
    kind: int,
    time_ns: int,
    end_ns: int,
    amount: float,
    expected: float,
    explained_nl: int,
    chosen: int,
) -> int:
    """Write event ``n`` of ``events`` at the last believed position, on the running trip; returns ``n + 1``.

    ``amount`` and ``expected`` in the unit of ``kind`` (``columns.EVENT_KINDS``), NaN = not known.

    Called before the reading is taken into its trip: what ended by moving off still belongs to the stop, and so to its place.
    """
    e = events[n]
    e["device"] = device
    e["kind"] = kind
    e["chosen"] = chosen
    e["place"] = -1 if state["trip_phase"] == MOVING else max(state["stop_place"], -1)
    e["time_ns"] = time_ns
    e["end_ns"] = end_ns
    e["trip_start_ns"] = state["trip_start_ns"]
    e["explained_nl"] = explained_nl
    e["lat_deg"] = state["fix_lat_deg"]
    e["lon_deg"] = state["fix_lon_deg"]
    e["amount"] = amount
    e["expected"] = expected
    return n + 1
