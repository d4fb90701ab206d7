"""Which route a trip served, which part of the chain it was, and why it ran empty."""

from typing import Any, Final

from stream.columns import EMPTY_CAUSES, ROUTE_SOURCES, TRIP_STAGES, UNKNOWN
from stream.geography import route_between
from stream.kernel import kernel
from stream.load_state import (
    CHARGER,
    COUPLED_CHANGED,
    CUSTOMER,
    DEPOT,
    DOOR_OPENED,
    EMPTY,
    FUEL_STATION,
    LIFT_USED,
    SERVICE,
    SWITCHES_SEEN,
    WAREHOUSE,
    WITH_UNITS,
)

DISPATCH: Final = ROUTE_SOURCES.index("dispatch")
INFERRED: Final = ROUTE_SOURCES.index("inferred")
REGISTRY: Final = ROUTE_SOURCES.index("registry")
STAGE_UNKNOWN: Final = TRIP_STAGES.index("unknown")
STAGE_RETURN: Final = TRIP_STAGES.index("return")
STAGE_REPOSITION: Final = TRIP_STAGES.index("reposition")
CAUSE_NONE: Final = EMPTY_CAUSES.index("none")
CAUSE_UNKNOWN: Final = EMPTY_CAUSES.index("unknown")
CAUSE_RETURN: Final = EMPTY_CAUSES.index("return")
CAUSE_REPOSITION: Final = EMPTY_CAUSES.index("reposition")
CAUSE_TO_DEPOT: Final = EMPTY_CAUSES.index("to_depot")
CAUSE_TO_CHARGER: Final = EMPTY_CAUSES.index("to_charger")
CAUSE_TO_FUEL: Final = EMPTY_CAUSES.index("to_fuel")
CAUSE_WAITING: Final = EMPTY_CAUSES.index("waiting")
CAUSE_SERVICE: Final = EMPTY_CAUSES.index("service")
WAITING_MM: Final = 5_000_000  # an empty trip no longer than this ...
WAITING_US: Final = 1_800_000_000  # ... that ends in a stop of at least this at no known place went there to wait


@kernel
def loads_come_from(g: Any, own_route: int, load_from: int) -> int:
    """Place that the last load came from; where no trip has shown it, that of the vehicle's own route (-1 none)."""
    if load_from < 0 <= own_route:
        return int(g.route[own_route, 0])
    return load_from


@kernel
def only_stood(state: Any, g: Any) -> bool:
    """Whether nothing was handed over at the stop after the trip: at a customer's, and a door that is known to work stayed shut."""
    end, bits = state["end_place"], state["stop_bits"]
    shut = bits & SWITCHES_SEEN != 0 and bits & (DOOR_OPENED | LIFT_USED | COUPLED_CHANGED) == 0
    return bool(end >= 0 and g.places.kind[end] == CUSTOMER and state["door_works"] and shut)


@kernel
def stage_of(g: Any, route: int, start: int, end: int, empty: bool, load_from: int) -> int:
    """Stage of a trip on ``route`` by its ends (-1 unknown): its own on the way out, return on the way back.

    An empty trip to where the last load came from is a return, whatever route leads there, but not from a depot: nothing was delivered
    there, and the next load is what it drives to.
    """
    if empty and start >= 0 and g.places.kind[start] == DEPOT and start != end:
        return STAGE_REPOSITION
    if empty and end >= 0 and end == load_from and start != end:
        return STAGE_RETURN
    if route < 0:
        return STAGE_REPOSITION if empty and start >= 0 and end >= 0 else STAGE_UNKNOWN
    origin, destination = g.route[route, 0], g.route[route, 1]
    if origin >= 0 and start == origin and end != origin:
        return int(g.route[route, 2])
    if origin >= 0 and end == origin and start != origin:
        return STAGE_RETURN
    if destination >= 0 and start == destination:
        if end == destination:
            return int(g.route[route, 2])  # from customer to customer within its area
        return STAGE_RETURN if empty else int(g.route[route, 2])
    if empty and start >= 0 and end >= 0:
        return STAGE_REPOSITION
    return int(g.route[route, 2])


@kernel
def cause_of(g: Any, empty: bool, start: int, end: int, stage: int, driven_mm: int, dwell_us: int) -> int:
    """Why an empty trip was made, as index of EMPTY_CAUSES. ``dwell_us`` [µs]: the stop after it, UNKNOWN while it lasts."""
    if not empty:
        return CAUSE_NONE
    kind = int(g.places.kind[end]) if end >= 0 else -1
    if kind == CHARGER:
        return CAUSE_TO_CHARGER
    if kind == FUEL_STATION:
        return CAUSE_TO_FUEL
    if kind == SERVICE:
        return CAUSE_SERVICE
    if stage == STAGE_RETURN:
        return CAUSE_RETURN
    if kind == DEPOT:
        return CAUSE_TO_DEPOT
    if end >= 0 and (kind == WAREHOUSE or end != start):
        return CAUSE_REPOSITION
    if dwell_us != UNKNOWN and dwell_us >= WAITING_US and end < 0 and driven_mm <= WAITING_MM:
        return CAUSE_WAITING
    return CAUSE_UNKNOWN


@kernel
def judge_route(state: Any, p: Any, g: Any, dwell_us: int) -> None:
    """Set route, its source, stage and cause by what is known: dispatch before the ends of the trip before the registry."""
    start, end = state["start_place"], state["end_place"]
    empty = state["load_state"] == EMPTY or state["load_state"] == WITH_UNITS
    route, source = int(state["dispatched_route"]), DISPATCH
    if route < 0:
        source = INFERRED
        route = route_between(g, start, end, p["route"])
        if route < 0:  # the way back, where it is no route of its own
            route = route_between(g, end, start, p["route"])
    if route < 0:
        route, source = int(p["route"]), REGISTRY
    if route < 0:
        source = 0
    state["trip_route"], state["route_source"] = route, source
    stage = stage_of(g, route, start, end, empty, loads_come_from(g, p["route"], state["load_from"]))
    state["trip_stage"] = stage
    to = -1 if only_stood(state, g) else end
    state["trip_cause"] = cause_of(g, empty, start, to, stage, state["trip_sums"][0], dwell_us)
