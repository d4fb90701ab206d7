"""The trip before, judged again when its successor is over: two things are known by then that were not known at its end.

What the vehicle weighs empty may have been learnt from the successor. And on a tour of drops a vehicle gets lighter from stop to
stop, so the one stop after which it weighs more is the loading place, and the trip to it the way home: no position is needed. Only
trips whose load is judged by torque are looked at again; an order, scales or units have said all there is to say.
"""

import math
from typing import Any, Final

from stream.aboard import between, mass_log_ratio
from stream.columns import UNKNOWN
from stream.kernel import kernel
from stream.load_state import (
    BIT_CAN,
    BIT_NEXT,
    BIT_ORDER,
    BIT_SCALES,
    BIT_TRAILER,
    BIT_UNITS,
    EMPTY,
    ERROR_CAN,
    FULL,
    LR_TOUR_BACK,
    LR_TOUR_ON,
    STATE_UNKNOWN,
    WITH_UNITS,
    bounded,
    logit,
    on_tour,
    probability,
    told,
)
from stream.mass import BOBTAIL_SHARE, TARE_FLOOR_CAN, can_mass, torque_is_wrong
from stream.torque_scale import scale_without
from stream.trip_route import STAGE_RETURN, cause_of, loads_come_from, only_stood, stage_of
from stream.trip_rows import (
    CAPACITY,
    CAUSE,
    DISTANCE,
    END_LAT,
    END_PLACE,
    EVIDENCE,
    LOAD_STATE,
    LOAD_STATE_P,
    PAYLOAD,
    PAYLOAD_U,
    ROUTE,
    STAGE,
    START_PLACE,
    VERSION,
    YARD_MM,
    book_load,
)
from stream.trips import assigned, is_stem, serves_drops

KEPT: Final = 1  # bits of ``past_kind``
TOUR: Final = 2  # it belongs to a tour of drops,
STEM: Final = 4  # too long to lie within it,
ENDED: Final = 8  # where it ended is known,
STOOD: Final = 16  # and nothing was handed over there
P_HOME: Final = 0.2  # that a stop of a tour is its loading place, before anything is known: a tour has some stops [C]
HEAVIER: Final = (0.1, 1.05)  # of capacity: what is loaded for a tour
HELD: Final = 0.7  # a told state is given up below this; it takes load_state.DECIDED to be told
LIGHTER: Final = (-0.6, 0.05)  # what a drop takes off, or a few returns add


@kernel
def keep_trip(state: Any, p: Any, g: Any, ints: Any, floats: Any, n: int, time_ns: int) -> None:
    """Keep the trip whose last version is row ``n`` until its successor is over; ``time_ns`` [ns]: when that begins.

    A trip within the yard (below 1 km) does not take the place of the one before it.
    """
    row, real = ints[n], floats[n]
    if row[DISTANCE] < YARD_MM:
        return
    state["past_kind"] = 0
    evidence = row[EVIDENCE]
    mass, sd = can_mass(state)
    others = BIT_SCALES | BIT_ORDER | BIT_UNITS | BIT_TRAILER
    if evidence & BIT_CAN == 0 or evidence & others or mass < BOBTAIL_SHARE * p["tare_kg"]:
        return
    route = assigned(state, p)
    kind = KEPT
    if serves_drops(route, g):
        kind |= TOUR
        if is_stem(state, p, g, route):
            kind |= STEM
    if not math.isnan(real[END_LAT]):
        kind |= ENDED
    if only_stood(state, g):
        kind |= STOOD
    state["past_kind"] = kind
    state["past_odds"] = state["odds_but_mass"]
    state["past_can_kg"], state["past_can_sd_kg"] = mass, sd
    state["past_load_from"] = state["load_from"]
    state["past_dwell_us"] = (time_ns - state["stand_ns"]) // 1000
    for k in range(row.size):
        state["past_row"][k] = row[k]
    for k in range(real.size):
        state["past_real"][k] = real[k]


@kernel
def p_way_home(rise_kg: float, sd_kg: float, capacity_kg: float) -> float:
    """P(a stop of a tour is its loading place) by how much more the vehicle weighs after it; ``sd_kg``: of that difference [kg]."""
    more = between(rise_kg, HEAVIER[0] * capacity_kg, HEAVIER[1] * capacity_kg, sd_kg)
    less = between(rise_kg, LIGHTER[0] * capacity_kg, LIGHTER[1] * capacity_kg, sd_kg)
    return probability(logit(P_HOME) + bounded(math.log((more + 1e-15) / (less + 1e-15)), ERROR_CAN))


@kernel
def still_held(was: int, p_loaded: float) -> bool:
    """Whether load state ``was``, once told, is kept at a ``p_loaded`` (0 to 1) that would not have told it: no flapping."""
    if was == STATE_UNKNOWN:
        return False
    return p_loaded <= 1.0 - HELD if was in (EMPTY, WITH_UNITS) else p_loaded >= HELD


@kernel
def look_back(state: Any, p: Any, g: Any, ints: Any, floats: Any, n: int) -> int:
    """After a trip was closed, judge the one before it again; where its load state changes, write another version as row ``n``.

    Returns the number of rows.
    """
    kind = state["past_kind"]
    after, sd_after = can_mass(state)
    if kind == 0 or math.isnan(after) or torque_is_wrong(state) or after < BOBTAIL_SHARE * p["tare_kg"]:
        return n
    state["past_kind"] = 0
    capacity = p["capacity_kg"]
    before, sd_before = state["past_can_kg"], state["past_can_sd_kg"]
    odds = state["past_odds"]
    scale, sd_scale = scale_without(state, p, before, sd_before, probability(odds))
    true_per_can = 1.0 / scale
    aboard = before * true_per_can - p["tare_kg"]
    sd = true_per_can * math.hypot(sd_before, max(sd_scale, TARE_FLOOR_CAN) * before * true_per_can)
    by_mass = bounded(mass_log_ratio(state, aboard, sd, capacity, False), ERROR_CAN)
    within = kind & TOUR != 0 and kind & STEM == 0
    p_loaded, p_home = probability(odds + on_tour(by_mass, within)), 0.0
    if kind & TOUR and not kind & ENDED:
        if state["stop_us"] == UNKNOWN:
            return n
        rise = (after - before) * true_per_can
        p_home = p_way_home(rise, math.hypot(sd_before, sd_after) * true_per_can, capacity)
        back = probability(odds + math.log(LR_TOUR_BACK) + by_mass)
        onward = probability(odds + math.log(LR_TOUR_ON) + on_tour(by_mass, within))
        p_loaded = p_home * back + (1.0 - p_home) * onward
    row, real = state["past_row"], state["past_real"]
    was = row[LOAD_STATE]
    nothing = math.nan
    found, share, payload, u_payload, units_kg = told(
        p_loaded, aboard, sd, nothing, nothing, nothing, capacity, nothing, was == FULL
    )
    if found == was or (found == STATE_UNKNOWN and still_held(was, p_loaded)):
        return n
    row[VERSION] += 1
    row[LOAD_STATE], real[LOAD_STATE_P] = found, share
    row[EVIDENCE] |= BIT_NEXT
    real[PAYLOAD], real[PAYLOAD_U], real[CAPACITY] = payload, u_payload, capacity
    book_load(row, payload, units_kg / p["tare_kg"])
    start, end = row[START_PLACE], row[END_PLACE]
    empty = found in (EMPTY, WITH_UNITS)
    stage = STAGE_RETURN
    if not (empty and p_home > 0.5):
        stage = stage_of(g, row[ROUTE], start, end, empty, loads_come_from(g, p["route"], state["past_load_from"]))
    row[STAGE] = stage
    row[CAUSE] = cause_of(g, empty, start, -1 if kind & STOOD else end, stage, row[DISTANCE], state["past_dwell_us"])
    for k in range(row.size):
        ints[n, k] = row[k]
    for k in range(real.size):
        floats[n, k] = real[k]
    return n + 1
