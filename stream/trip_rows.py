"""Versions of trips as rows: what the state knows of a trip, written into the matrices of the step."""

import math
from typing import Any, Final

from stream.columns import UNKNOWN
from stream.fixed import to_fixed
from stream.kernel import kernel
from stream.load_state import EMPTY, WITH_UNITS
from stream.table import TRIP_FLOATS, TRIP_INTS, TRIP_SUMMED, TRIP_SUMS

YARD_MM: Final = 1_000_000  # shorter and never faster than ...
YARD_KMH: Final = 5.0  # ... this is yard movement
ROWS_PER_READING: Final = (
    3  # at most: the last version of one trip, the first of the next, and one more of the trip before both
)
# Of an empty vehicle's CO2e, what its own mass again would add: (1 - .605) / .605 / (25 / 15) of an artic, the largest of the
# classes (science reference 3.3), so what is avoidable is not overstated.
MARGINAL_SHARE: Final = 0.4
_I: Final = {name: k for k, name in enumerate(TRIP_INTS)}
DEVICE: Final = _I["device"]
ASSET: Final = _I["asset"]
START: Final = _I["trip_start_ns"]
VERSION: Final = _I["version"]
END: Final = _I["trip_end_ns"]
CLOSED: Final = _I["closed"]
START_PLACE: Final = _I["start_place"]
END_PLACE: Final = _I["end_place"]
ROUTE: Final = _I["route"]
ROUTE_SOURCE: Final = _I["route_source"]
STAGE: Final = _I["stage"]
LOAD_STATE: Final = _I["load_state"]
EVIDENCE: Final = _I["evidence"]
CAUSE: Final = _I["empty_cause"]
EXCLUDED: Final = _I["excluded"]
STOP: Final = _I["stop_us"]
AVOIDABLE: Final = _I["avoidable_ug"]
TRANSPORT: Final = _I["transport_kgm"]
SUM_ROWS: Final = tuple((k, _I[name]) for k, name in enumerate(TRIP_SUMS))
OBSERVED: Final = _I["observed_us"]
UNKNOWN_TIME: Final = _I["unknown_us"]
DISTANCE: Final = _I["distance_mm"]
MOVING: Final = _I["moving_us"]
FUEL: Final = _I["fuel_nl"]
ENERGY: Final = _I["energy_uwh"]
CO2E_TTW: Final = _I["co2e_ttw_ug"]
CO2E_WTT: Final = _I["co2e_wtt_ug"]
_F: Final = {name: k for k, name in enumerate(TRIP_FLOATS)}
START_LAT: Final = _F["start_lat_deg"]
START_LON: Final = _F["start_lon_deg"]
END_LAT: Final = _F["end_lat_deg"]
END_LON: Final = _F["end_lon_deg"]
LOAD_STATE_P: Final = _F["load_state_p"]
PAYLOAD: Final = _F["payload_kg"]
PAYLOAD_U: Final = _F["payload_u_kg"]
CAPACITY: Final = _F["capacity_kg"]


@kernel
def add_rollup(state: Any, roll: Any, j: int) -> None:
    """Add partial sum ``j``, which is complete, to the trip it belongs to."""
    for pair in TRIP_SUMMED:
        state["trip_sums"][pair[1]] += roll[pair[0], j]


@kernel
def book_load(row: Any, payload_kg: float, units_share: float) -> None:
    """Fill what follows from the load state in ``row``: avoidable CO2e [µg] and transport work [kg m].

    ``payload_kg``: goods, NaN = not known; ``units_share``: empty load units over tare.
    """
    row[AVOIDABLE] = row[TRANSPORT] = UNKNOWN
    if row[CO2E_TTW] != UNKNOWN and (row[LOAD_STATE] == EMPTY or row[LOAD_STATE] == WITH_UNITS):
        row[AVOIDABLE] = to_fixed(float(row[CO2E_TTW] + row[CO2E_WTT]) * (1.0 - MARGINAL_SHARE * units_share), 1.0)
    if row[LOAD_STATE] != 0 and not math.isnan(payload_kg):
        row[TRANSPORT] = to_fixed(payload_kg * float(row[DISTANCE]), 1e-3)


@kernel
def write_version(state: Any, p: Any, device: int, roll: Any, j: int, ints: Any, floats: Any, n: int) -> int:
    """Write the trip as it is known now, with open partial sum ``j`` (-1: none), as row ``n``; return ``n + 1``."""
    row, real = ints[n], floats[n]
    state["trip_version"] += 1
    row[DEVICE], row[ASSET] = device, p["asset"]
    row[START], row[VERSION], row[END] = state["trip_start_ns"], state["trip_version"], state["trip_end_ns"]
    row[CLOSED] = int(state["trip_end_ns"] != UNKNOWN)
    row[START_PLACE], row[END_PLACE] = state["start_place"], state["end_place"]
    row[ROUTE], row[ROUTE_SOURCE], row[STAGE] = state["trip_route"], state["route_source"], state["trip_stage"]
    row[LOAD_STATE], row[EVIDENCE], row[CAUSE] = state["load_state"], state["evidence"], state["trip_cause"]
    row[STOP] = state["stop_us"]
    for pair in SUM_ROWS:
        row[pair[1]] = state["trip_sums"][pair[0]]
    if j >= 0:
        for k in range(len(TRIP_SUMMED)):
            row[SUM_ROWS[k][1]] += roll[TRIP_SUMMED[k][0], j]
    yard = row[DISTANCE] < YARD_MM and state["trip_top_kmh"] < YARD_KMH
    row[EXCLUDED] = int(yard or 2 * state["trip_pto_us"] > row[MOVING])
    nothing = row[UNKNOWN_TIME] >= row[OBSERVED]
    if row[FUEL] == 0 and (nothing or p["has_battery"] or p["fuel_is_gas"]):
        row[FUEL] = UNKNOWN
    if row[ENERGY] == 0 and (nothing or not p["has_battery"]):
        row[ENERGY] = UNKNOWN
    if nothing and row[CO2E_TTW] + row[CO2E_WTT] == 0:
        row[CO2E_TTW] = row[CO2E_WTT] = UNKNOWN
    payload = state["payload_kg"]
    book_load(row, payload, state["units_kg"] / p["tare_kg"])
    real[START_LAT], real[START_LON] = state["start_lat_deg"], state["start_lon_deg"]
    real[END_LAT], real[END_LON] = state["end_lat_deg"], state["end_lon_deg"]
    real[LOAD_STATE_P] = state["load_state_p"]
    real[PAYLOAD], real[PAYLOAD_U], real[CAPACITY] = payload, state["payload_u_kg"], p["capacity_kg"]
    return n + 1
