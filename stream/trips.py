"""Trips: what a vehicle does between two stops. Which trip a reading belongs to is decided when it is taken, for good.

A stop is 120 s below 1 km/h, or 60 s where something shows that it is one: door, lift, coupling, ignition or engine off, power
take-off, a known place. It ends at 5 km/h or after 20 m. A gap in the readings is a stop where the vehicle hardly moved in it.
"""

import math
from typing import Any, Final

from stream import signal_rows as at
from stream.aboard import learn_loads
from stream.columns import TRIP_STAGES, UNKNOWN
from stream.geography import route_by_number
from stream.kernel import inlined, kernel
from stream.load_state import (
    BIT_SCALES,
    COUPLED_CHANGED,
    CUSTOMER,
    DOOR_OPENED,
    EMPTY,
    LIFT_USED,
    P_LOADED,
    SWITCHES_SEEN,
    WITH_UNITS,
    after_stop,
    decide,
    forget_load,
    learn_turn,
    probability,
    sure_empty,
)
from stream.mass import forget_mass, learn_tare
from stream.places import place_at
from stream.polygon import METRES_PER_DEG
from stream.regions import region_at
from stream.road_load import ENGINE_OFF_RPM
from stream.torque_scale import learn_scale
from stream.trip_route import judge_route

LAST_MILE: Final = TRIP_STAGES.index("last_mile")
MOVING: Final = 0  # ``trip_phase``
STANDING: Final = 1  # not yet called a stop
STOPPED: Final = 2
NOTHING: Final = 0  # what a reading did to the trip
CLOSED: Final = 1
STARTED: Final = 2
LOOK: Final = 4
STILL_KMH: Final = 1.0
STILL_GPS_KMH: Final = 2.5  # a receiver at rest wanders
GOING_KMH: Final = 5.0
GOING_MM: Final = 20_000
STOP_NS: Final = 60_000_000_000
LONG_STOP_NS: Final = 120_000_000_000
GAP_S: Final = 120.0
GAP_BLIND_S: Final = 600.0  # a gap of unknown distance is a stop from here on
GAP_TRIP_S: Final = 3600.0  # nobody drives through a longer gap without a stop that matters
GAP_STILL_MS: Final = 3.0 / 3.6
NOT_LOOKED: Final = -2
MISFIT_M: Final = 150.0  # of a fix from the mean of its stop
MISFITS: Final = 5  # in a row: the mean was wrong
FIXES: Final = 60  # that make the mean
HDOP_MAX: Final = 8.0
START_FIX_NS: Final = 90_000_000_000  # a first fix so soon after departure still tells where the trip began
REGION_MM: Final = 500_000  # driven between two looks at the map
REGION_SLACK_M: Final = 300.0
PAUSE_NS: Final = 45_000_000_000  # a stand of a moving trip so long may have been a drop that nothing confirms
PARCELS_KG: Final = (
    7_500.0  # permitted mass up to which a vehicle may carry parcels, which are handed over in less than a minute
)
STEM_OF_ROUTE: Final = 0.9  # of the distance between a tour's origin and its area, and ...
STEM_OF_RADIUS: Final = 1.2  # ... of the area's radius, by road: neighbours on a tour lie nearer
REGION_MISFITS: Final = 3
LOADING_NS: Final = 900_000_000_000  # a quarter of an hour: time enough to load or unload
TEACHES: Final = 0.4  # P(loaded) below which a mass near the tare counts as one: the lowest stable ones
DECIDE_NS: Final = 60_000_000_000
DECIDED_NS: Final = 300_000_000_000  # between looks once the load is known
DOOR_BIT: Final = 1  # of the signal ``switches``
LIFT_BIT: Final = 2
PTO_BIT: Final = 4
COUPLED_BIT: Final = 8
IGNITION_BIT: Final = 16


@kernel
def is_fix(lat: float, lon: float, hdop: float) -> bool:
    """Whether a position ``lat``, ``lon`` [°] may be believed at all: within the globe, not 0 N 0 E, not too diluted."""
    return math.fabs(lat) <= 90.0 and math.fabs(lon) <= 180.0 and not hdop > HDOP_MAX and (lat != 0.0 or lon != 0.0)


@kernel
def metres(lat0: float, lon0: float, lat1: float, lon1: float) -> float:
    """Distance [m] of two near points ``lat0``, ``lon0`` and ``lat1``, ``lon1`` [°], flat; 1 % off over 100 km."""
    north = (lat1 - lat0) * METRES_PER_DEG
    east = (lon1 - lon0) * METRES_PER_DEG * math.cos(0.5 * (lat0 + lat1) * math.pi / 180.0)
    return math.sqrt(north * north + east * east)


@kernel
def misfits(state: Any, lat: float, lon: float) -> bool:
    """Whether a fix ``lat``, ``lon`` [°] lies further than ``MISFIT_M`` [m] from the mean of the running stop."""
    north = (lat - state["stop_lat_deg"]) * METRES_PER_DEG
    east = (lon - state["stop_lon_deg"]) * METRES_PER_DEG  # at most: meridians converge
    if north * north + east * east <= MISFIT_M * MISFIT_M:
        return False
    return bool(metres(state["stop_lat_deg"], state["stop_lon_deg"], lat, lon) > MISFIT_M)


@kernel
def _stop_fix(state: Any, lat: float, lon: float) -> None:
    """Take a fix into the mean of the running stop; a jump does not shift it unless it stays."""
    n = state["stop_fixes"]
    if n > 0 and misfits(state, lat, lon):
        state["stop_misfits"] += 1
        if state["stop_misfits"] < MISFITS:
            return
        n = 0
        state["stop_place"] = NOT_LOOKED
    state["stop_misfits"] = 0
    n = min(n + 1, FIXES)
    if n == 1:
        state["stop_lat_deg"], state["stop_lon_deg"] = lat, lon
    else:
        state["stop_lat_deg"] += (lat - state["stop_lat_deg"]) / n
        state["stop_lon_deg"] += (lon - state["stop_lon_deg"]) / n
    state["stop_fixes"] = n


@kernel
def _begin_stand(state: Any, time_ns: int) -> None:
    state["trip_phase"] = STANDING
    state["stand_ns"] = time_ns
    state["stand_mm"] = 0
    state["stop_bits"] = 0
    state["stop_place"] = NOT_LOOKED
    state["stop_lat_deg"] = state["stop_lon_deg"] = math.nan
    state["stop_fixes"] = state["stop_misfits"] = 0
    state["stop_whole"] = 1
    heed_orders(state)


@kernel
def heed_orders(state: Any) -> None:
    """Orders heard under way, or since the stop before, are those of this trip; what is heard at a stop is of the next load."""
    nothing = math.nan
    told = state["cargo_ns"] >= state["order_from_ns"]
    state["order_cargo_kg"] = state["cargo_kg"] if told else nothing
    told = state["units_ns"] >= state["order_from_ns"]
    state["order_loaded"] = state["units_loaded"] if told else nothing
    state["order_empty"] = state["units_empty"] if told else nothing


@kernel
def _look(state: Any, g: Any) -> int:
    """Place of the running stop."""
    if state["stop_place"] == NOT_LOOKED and state["stop_fixes"] > 0:
        state["stop_place"] = place_at(g.places, state["stop_lat_deg"], state["stop_lon_deg"])
    return int(state["stop_place"])


@kernel
def _across_gap(state: Any, time_ns: int, dt_s: float, distance_mm: int, lat: float, lon: float) -> int:
    """A gap in the readings: a stop, or a part of the way."""
    metre = math.nan
    if distance_mm != UNKNOWN:
        metre = distance_mm / 1000.0
    elif not math.isnan(lat) and not math.isnan(state["region_lat_deg"]):
        metre = 1.3 * max(0.0, metres(state["region_lat_deg"], state["region_lon_deg"], lat, lon) - 500.0)
    hidden = dt_s > GAP_TRIP_S
    if not (metre < GAP_STILL_MS * dt_s or hidden or (math.isnan(metre) and dt_s >= GAP_BLIND_S)):
        return NOTHING
    if state["trip_phase"] == MOVING:
        _begin_stand(state, state["time_ns"])
    state["stop_whole"] = int(metre < GAP_STILL_MS * dt_s)
    if state["trip_phase"] == STOPPED:
        return NOTHING
    state["trip_phase"] = STOPPED
    return CLOSED


@inlined
def follow(
    state: Any,
    signals: Any,
    b: int,
    speed_kmh: float,
    distance_mm: int,
    time_ns: int,
    dt_s: float,
) -> int:
    """Move the trip on by one reading: bits CLOSED (its stop is now known as one), STARTED (the reading begins another), LOOK
    (it is one if the map knows the place: ``stop_at_place``).

    ``signals`` of row ``b`` of a block as sent; ``speed_kmh`` of the wheels, NaN where it is not usable; ``distance_mm`` since the reading
    before or UNKNOWN. No map in here: handing its arrays over for every reading would cost more than all the rest.
    """
    gps_kmh, lat, lon = signals[at.GPS_SPEED + b], signals[at.LAT + b], signals[at.LON + b]
    if state["trip_start_ns"] == UNKNOWN:
        _begin_stand(state, time_ns)
        state["trip_phase"] = MOVING if speed_kmh >= GOING_KMH or gps_kmh >= GOING_KMH else STOPPED
        state["stop_whole"] = 0
        return STARTED
    if distance_mm != UNKNOWN:
        state["trip_mm"] += distance_mm
    did = NOTHING
    if dt_s > GAP_S:
        did = _across_gap(state, time_ns, dt_s, distance_mm, lat, lon)
    still = STILL_KMH
    v = speed_kmh
    if math.isnan(v):
        v, still = gps_kmh, STILL_GPS_KMH
    if v >= still and state["trip_phase"] == MOVING:
        return did
    switches = signals[at.SWITCHES + b]
    bits = int(switches) if not math.isnan(switches) else -1
    if math.isnan(v) and bits >= 0 and bits & IGNITION_BIT == 0:
        v = 0.0
    if v < still:
        if state["trip_phase"] == MOVING:
            _begin_stand(state, time_ns)
        if is_fix(lat, lon, signals[at.HDOP + b]):
            _stop_fix(state, lat, lon)
        confirmed = signals[at.RPM + b] < ENGINE_OFF_RPM
        if bits >= 0:
            state["stop_bits"] |= SWITCHES_SEEN | (bits & (DOOR_BIT | LIFT_BIT))
            if bits & (DOOR_BIT | LIFT_BIT):
                state["door_works"] = 1
            coupled = int(bits & COUPLED_BIT != 0)
            if state["coupled"] >= 0 and state["coupled"] != coupled:
                state["stop_bits"] |= COUPLED_CHANGED
            state["coupled"] = coupled
            state["coupling_works"] |= coupled
            confirmed = confirmed or bits & IGNITION_BIT == 0 or bits & PTO_BIT != 0
        if state["trip_phase"] == STANDING:
            since_ns = time_ns - state["stand_ns"]
            if since_ns >= STOP_NS or state["stop_bits"] & COUPLED_CHANGED:
                confirmed = confirmed or state["stop_bits"] & (DOOR_OPENED | LIFT_USED | COUPLED_CHANGED) != 0
                if confirmed or since_ns >= LONG_STOP_NS:
                    state["trip_phase"] = STOPPED
                    did |= CLOSED
                elif state["stop_place"] == NOT_LOOKED and state["stop_fixes"] > 0:
                    did |= LOOK
    elif state["trip_phase"] != MOVING:
        if distance_mm != UNKNOWN:
            state["stand_mm"] += distance_mm
        if v >= GOING_KMH or state["stand_mm"] >= GOING_MM:
            if state["trip_phase"] == STOPPED:
                did |= STARTED
            elif time_ns - state["stand_ns"] >= PAUSE_NS:
                state["trip_pauses"] += 1
            state["trip_phase"] = MOVING
    return did


@kernel
def stop_at_place(state: Any, g: Any) -> int:
    """Bit CLOSED where the vehicle stands at a known place, else NOTHING (0)."""
    if _look(state, g) < 0:
        return NOTHING
    state["trip_phase"] = STOPPED
    return CLOSED


@inlined
def hold_signals(
    state: Any, cargo_kg: float, units_loaded: float, units_empty: float, number: float, time_ns: int
) -> bool:
    """Orders and dispatch are sent when they change: keep the last values. True where another route was dispatched.

    ``units_loaded``, ``units_empty``: load units, a count; ``number``: the dispatched route's; NaN = nothing new.
    """
    if not math.isnan(cargo_kg):
        state["cargo_kg"], state["cargo_ns"] = cargo_kg, time_ns
    if not (math.isnan(units_loaded) and math.isnan(units_empty)):
        state["units_loaded"], state["units_empty"], state["units_ns"] = units_loaded, units_empty, time_ns
    if math.isnan(number) or number == state["dispatched"]:
        return False
    state["dispatched"] = number
    return True


@kernel
def dispatch(state: Any, g: Any) -> None:
    """Find the route that was dispatched."""
    state["dispatched_route"] = route_by_number(g, state["dispatched"])


@inlined
def region_due(state: Any, distance_mm: int) -> bool:
    """Whether the vehicle has come so far that its region is looked up again."""
    if distance_mm != UNKNOWN:
        state["region_mm"] += distance_mm
    return state["region_mm"] >= REGION_MM or math.isnan(state["region_lat_deg"])


@kernel
def find_region(state: Any, g: Any, lat: float, lon: float, hdop: float) -> None:
    """Look the region of ``lat``, ``lon`` [°] up. A fix further from the one before than was driven is not believed at once."""
    if not is_fix(lat, lon, hdop):
        return
    if not math.isnan(state["region_lat_deg"]):
        reach = 1.3 * state["region_mm"] / 1000.0 + REGION_SLACK_M
        if metres(state["region_lat_deg"], state["region_lon_deg"], lat, lon) > reach:
            state["region_misfits"] += 1
            if state["region_misfits"] < REGION_MISFITS:
                return
    state["region_misfits"] = 0
    state["region_mm"] = 0
    state["region_lat_deg"], state["region_lon_deg"] = lat, lon
    state["region"] = region_at(g.regions, lat, lon)


@kernel
def assigned(state: Any, p: Any) -> int:
    """Index of the route told by a dispatcher, else by the registry, -1 none."""
    return int(state["dispatched_route"]) if state["dispatched_route"] >= 0 else int(p["route"])


@kernel
def serves_drops(route: int, g: Any) -> bool:
    """Whether ``route`` (index, -1 none) is a tour of drops."""
    return bool(route >= 0 and g.route[route, 2] == LAST_MILE)


@kernel
def is_stem(state: Any, p: Any, g: Any, route: int) -> bool:
    """Whether the trip is too long to lie within a tour: it is the way out to the customers or the way home from them.

    Never where a van paused: the stop may have been a drop, and the trip partly the tour's. Nothing is unloaded from a truck so fast.
    """
    dropped = state["trip_pauses"] > 0 and p["gvw_kg"] <= PARCELS_KG
    if dropped or route < 0 or g.route[route, 0] < 0 or g.route[route, 1] < 0:
        return False
    a, b = g.places.circle[g.route[route, 0]], g.places.circle[g.route[route, 1]]
    between_m = metres(a[0], a[1], b[0], b[1])
    return bool(state["trip_mm"] > 1000.0 * max(STEM_OF_ROUTE * between_m, STEM_OF_RADIUS * b[2]))


@kernel
def _judge(state: Any, p: Any, g: Any, dwell_us: int) -> None:
    """Load state, then route, stage and cause. The route that tells of the load is the assigned one: an inferred one is but its ends."""
    route = assigned(state, p)
    origin = int(g.route[route, 0]) if route >= 0 else -1
    tour = serves_drops(route, g)
    decide(state, p, g, origin, tour, tour and is_stem(state, p, g, route))
    judge_route(state, p, g, dwell_us)


@kernel
def close_trip(state: Any, p: Any, g: Any) -> None:
    """The stop is one: where the trip ended, what it carried by all that is known, and what its masses teach."""
    state["trip_end_ns"] = state["stand_ns"]
    state["end_place"] = max(_look(state, g), -1)
    state["end_lat_deg"], state["end_lon_deg"] = state["stop_lat_deg"], state["stop_lon_deg"]
    _judge(state, p, g, UNKNOWN)
    learn_tare(state, p, state["p_loaded"] < TEACHES, sure_empty(state))
    weighed = state["evidence"] & BIT_SCALES != 0
    if not weighed:  # scales say what is aboard whatever is usual
        learn_turn(state)
    route = assigned(state, p)
    if not math.isnan(state["aboard_kg"]) and (is_stem(state, p, g, route) or not serves_drops(route, g)):
        learn_loads(state, state["aboard_kg"], state["aboard_sd_kg"], p["capacity_kg"], state["p_loaded"])
    learn_scale(state, p, state["p_loaded"] if weighed else probability(state["odds_but_mass"]))
    state["order_from_ns"] = state["stand_ns"]  # what is heard from here on is of the next load


@kernel
def finish_trip(state: Any, p: Any, g: Any, time_ns: int) -> None:
    """The last word on a trip, when the next one begins: its end may have been found late, and the stop after it is known."""
    dwell_us = (time_ns - state["stand_ns"]) // 1000
    if state["trip_end_ns"] != UNKNOWN and state["end_place"] < 0 <= max(_look(state, g), -1):
        state["end_place"] = state["stop_place"]
        state["end_lat_deg"], state["end_lon_deg"] = state["stop_lat_deg"], state["stop_lon_deg"]
    _judge(state, p, g, dwell_us)
    start = state["start_place"]
    hop = start >= 0 and serves_drops(assigned(state, p), g) and g.places.kind[start] == CUSTOMER
    if start >= 0 and not hop and state["load_state"] != EMPTY and state["load_state"] != WITH_UNITS:
        known = state["stop_us"] != UNKNOWN  # else first heard under way: that is not where it loaded
        state["load_from"] = start if known else -1


@kernel
def start_trip(state: Any, p: Any, g: Any, time_ns: int) -> None:
    """Begin the trip that the reading at ``time_ns`` is the first of."""
    first = state["trip_version"] == 0
    place = max(_look(state, g), -1)
    if first:
        state["p_before"], state["p_last"] = P_LOADED, math.nan
        state["stop_us"] = UNKNOWN
    else:
        kind = int(g.places.kind[place]) if place >= 0 else -1
        long = time_ns - state["stand_ns"] >= LOADING_NS
        state["p_before"] = after_stop(
            state,
            state["stop_bits"],
            state["door_works"] != 0,
            kind,
            long,
            serves_drops(assigned(state, p), g),
        )
        state["stop_us"] = (time_ns - state["stand_ns"]) // 1000 if state["stop_whole"] else UNKNOWN
    state["trip_start_ns"], state["trip_end_ns"] = time_ns, UNKNOWN
    state["trip_version"] = 0
    for k in range(state["trip_sums"].size):
        state["trip_sums"][k] = 0
    state["trip_pto_us"] = 0
    state["trip_mm"] = state["trip_pauses"] = 0
    state["trip_top_kmh"] = 0.0
    state["stop_seen_bits"] = state["stop_bits"]
    state["start_place"], state["end_place"] = place, -1
    state["start_lat_deg"], state["start_lon_deg"] = state["stop_lat_deg"], state["stop_lon_deg"]
    state["end_lat_deg"] = state["end_lon_deg"] = math.nan
    if state["trip_phase"] == MOVING:
        state["stand_ns"] = UNKNOWN
    forget_mass(state)
    forget_load(state)
    heed_orders(state)
    _judge(state, p, g, UNKNOWN)
    state["decide_ns"] = time_ns + DECIDE_NS


@inlined
def start_is_open(state: Any, time_ns: int) -> bool:
    """Whether a first fix could still tell where the trip began."""
    return math.isnan(state["start_lat_deg"]) and time_ns - state["trip_start_ns"] <= START_FIX_NS


@kernel
def find_start(state: Any, g: Any, lat: float, lon: float, hdop: float) -> None:
    """Take the first fix ``lat``, ``lon`` [°] of a trip as its start."""
    if is_fix(lat, lon, hdop):
        state["start_lat_deg"], state["start_lon_deg"] = lat, lon
        state["start_place"] = place_at(g.places, lat, lon)


@kernel
def look_again(state: Any, p: Any, g: Any, time_ns: int) -> bool:
    """Judge the evidence gathered since; whether a reader of the trip must be told."""
    if state["trip_phase"] == MOVING:
        heed_orders(state)
    load, route, stage = state["load_state"], state["trip_route"], state["trip_stage"]
    _judge(state, p, g, UNKNOWN)
    known = state["load_state"] != 0
    state["decide_ns"] = time_ns + (DECIDED_NS if known else DECIDE_NS)
    return bool(load != state["load_state"] or route != state["trip_route"] or stage != state["trip_stage"])
