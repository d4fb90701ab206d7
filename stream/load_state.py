"""What a vehicle carries: log-odds of "goods aboard" over whatever evidence a trip has, each with its own error rate.

L = logit(P before) + sum of log likelihood ratios (Eq. 21); every ratio is bounded by the error rate of its source, so no sensor is ever
believed beyond its record. Empty at P <= 0.2, loaded at P >= 0.8, unknown between. The load changes only at a stop or by coupling:
within a trip evidence only adds up.
"""

import math
from typing import Any, Final

from stream.aboard import UNITS_SHARE, mass_log_ratio
from stream.columns import LOAD_STATES, UNKNOWN
from stream.kernel import kernel
from stream.mass import (
    TARE_FLOOR_SCALES,
    TARE_U_SCALES,
    can_mass,
    can_tare,
    contradicts,
    judge_scales,
    may_contradict,
    scales_mass,
    tare_of,
    torque_is_wrong,
)
from stream.places import PLACE_KINDS

STATE_UNKNOWN: Final = LOAD_STATES.index("unknown")
EMPTY: Final = LOAD_STATES.index("empty")
WITH_UNITS: Final = LOAD_STATES.index("empty_with_load_units")
PARTIAL: Final = LOAD_STATES.index("partial")
FULL: Final = LOAD_STATES.index("full")
P_LOADED: Final = 0.75  # before any evidence: published empty shares are 17 to 30 % of the kilometres (section 5)
DECIDED: Final = 0.8  # and 1 - it: between them the state is unknown
FULL_SHARE: Final = 0.9  # of capacity or pallet positions
FULL_MARGIN: Final = 0.03  # a full load stays full down to so much less: no flapping
# Error rates: how often a source says the wrong thing however sure it is.
ERROR_SCALES: Final = 0.01
ERROR_CAN: Final = 0.02
ERROR_ORDER: Final = 0.02
ERROR_UNITS: Final = 0.03
ERROR_TRAILER: Final = 0.01
# Likelihood ratios loaded : empty of where a trip begins or ends, engineering values [C]; to be replaced by an operator's own.
LR_FROM_ORIGIN: Final = 4.0
LR_TO_UPKEEP: Final = 0.5  # depot, charger, fuel, service
LR_TO_ORIGIN: Final = 0.6
LR_TO_CUSTOMER: Final = 2.0
LR_TOUR_ON: Final = 8.0  # a tour of drops goes on: from customer to customer
LR_TOUR_LIGHT: Final = (
    4.0  # empty : loaded, at most, by mass on a tour: on its last quarter the parcels weigh next to nothing
)
LR_TOUR_BACK: Final = 0.125  # and comes home
HABIT_PRIOR: Final = 4.0  # stops that the rates of any vehicle count for
HABIT_MEMORY: Final = 60.0  # stops that its own habit remembers
LIGHTEST_SHARE: Final = 0.02  # of capacity: goods lighter than this are not told from units by mass
BIT_SCALES, BIT_CAN, BIT_ORDER, BIT_PLACE, BIT_DOORS, BIT_TRAILER, BIT_UNITS, BIT_NEXT = (
    1 << i for i in range(8)
)  # of ``evidence``
DOOR_OPENED: Final = 1  # bits of ``stop_bits``: what was seen at the stop
LIFT_USED: Final = 2
COUPLED_CHANGED: Final = 4
SWITCHES_SEEN: Final = 8
WAREHOUSE: Final = PLACE_KINDS.index("warehouse")
CUSTOMER: Final = PLACE_KINDS.index("customer")
DEPOT: Final = PLACE_KINDS.index("depot")
CHARGER: Final = PLACE_KINDS.index("charger")
FUEL_STATION: Final = PLACE_KINDS.index("fuel")
SERVICE: Final = PLACE_KINDS.index("service")


@kernel
def logit(p: float) -> float:
    """Log-odds of a probability p, 0 < p < 1: ln(p / (1 - p)) (Eq. 21)."""
    return math.log(p / (1.0 - p))


@kernel
def probability(odds: float) -> float:
    """Probability of log-odds: 1 / (1 + exp(-odds)) (Eq. 21)."""
    return 1.0 / (1.0 + math.exp(-odds))


@kernel
def bounded(log_ratio: float, error: float) -> float:
    """``log_ratio`` of a source that errs with probability ``error``, 0 to 0.5: at most ln((1 - error) / error) (Eq. 21)."""
    limit = math.log((1.0 - error) / error)
    return min(max(log_ratio, -limit), limit)


@kernel
def _mean(x: float, sd_x: float, y: float, sd_y: float) -> tuple[float, float]:
    """Mean of two independent measurements by their precision, and its standard deviation."""
    share = sd_y * sd_y / (sd_x * sd_x + sd_y * sd_y)
    return x * share + y * (1.0 - share), sd_x * math.sqrt(share)


@kernel
def after_stop(state: Any, bits: int, door_works: bool, place_kind: int, long: bool, last_mile: bool) -> float:
    """P(loaded) after a stop from ``p_loaded`` before it: what was aboard may have gone, and goods may have come. Rates are [C].

    A door that is known to work and stayed shut keeps the load in. Where nothing is known of doors the kind of place decides,
    then whether there was time to load (``long``). Where loads change, a vehicle's own habit counts: some come back loaded, some never.
    On a tour of drops masses err alike from stop to stop: each is judged anew.
    """
    gone, come = (0.25, 0.75) if long else (0.08, 0.24)  # tends to P_LOADED
    handled = long
    if bits & (DOOR_OPENED | LIFT_USED | COUPLED_CHANGED):
        gone, come, handled = 0.25, 0.35, True
    elif bits & SWITCHES_SEEN and door_works:
        gone, come, handled = 0.01, 0.01, False
    elif last_mile:
        gone, come, handled = 0.25, 0.75, False
    elif place_kind == WAREHOUSE:
        gone, come, handled = 0.25, 0.5, True
    elif place_kind in (DEPOT, CHARGER, FUEL_STATION, SERVICE):
        gone, come, handled = 0.05, 0.05, False
    p_loaded = state["p_loaded"]
    state["p_last"] = p_loaded if handled and not last_mile else math.nan
    if handled and not last_mile:
        gone = (HABIT_PRIOR * gone + state["turns_gone"]) / (HABIT_PRIOR + state["turns_loaded"])
        come = (HABIT_PRIOR * come + state["turns_come"]) / (HABIT_PRIOR + state["turns_empty"])
    return float(p_loaded * (1.0 - gone) + (1.0 - p_loaded) * come)


@kernel
def learn_turn(state: Any) -> None:
    """After a trip: count what became of the load at the stop before it."""
    before, now = state["p_last"], state["p_loaded"]
    if math.isnan(before):
        return
    keep = 1.0 - 1.0 / HABIT_MEMORY
    state["turns_loaded"] = state["turns_loaded"] * keep + before
    state["turns_gone"] = state["turns_gone"] * keep + before * (1.0 - now)
    state["turns_empty"] = state["turns_empty"] * keep + 1.0 - before
    state["turns_come"] = state["turns_come"] * keep + (1.0 - before) * now


@kernel
def place_log_ratio(start: int, end: int, kind: Any, origin: int, last_mile: bool, shut: bool, ended: bool) -> float:
    """What the ends of a trip tell: places (-1 unknown), the origin of its assigned route and whether that is a tour of drops.

    ``shut``: the door stayed shut at the start; ``ended``: the end is known, if only to be no known place.
    """
    total = 0.0
    if start >= 0 and start == origin and not shut:
        total += math.log(LR_FROM_ORIGIN)
    if not ended:
        return total
    if end >= 0 and kind[end] in (DEPOT, CHARGER, FUEL_STATION, SERVICE):
        total += math.log(LR_TO_UPKEEP)
    elif last_mile and origin >= 0 and start != origin:
        total += math.log(LR_TOUR_BACK) if end == origin else math.log(LR_TOUR_ON)
    elif end >= 0 and end == origin and start != origin:
        total += math.log(LR_TO_ORIGIN)
    elif end >= 0 and kind[end] == CUSTOMER and start != end:
        total += math.log(LR_TO_CUSTOMER)
    return total


@kernel
def on_tour(by_mass: float, within: bool) -> float:
    """Log ratio ``by_mass``, bounded below where the trip lies ``within`` a tour of drops, whose last loads weigh next to nothing."""
    return max(by_mass, -math.log(LR_TOUR_LIGHT)) if within else by_mass


@kernel
def decide(state: Any, p: Any, g: Any, origin: int, last_mile: bool, stem: bool) -> None:
    """Put together what this trip has shown: ``load_state``, ``load_state_p``, ``payload_kg`` and ``mass_kg`` with their bands.

    ``last_mile``: it belongs to a tour of drops; ``stem``: it is that tour's way out or home.

    ``payload_kg`` are goods, ``mass_kg`` the gross mass; both NaN while unknown, ``*_u_kg`` their 95 % half-widths.
    """
    capacity = p["capacity_kg"]
    odds = logit(state["p_before"])
    by_mass = 0.0
    evidence = 0
    aboard, sd_aboard, mass, sd_mass = math.nan, math.nan, math.nan, math.nan
    error = ERROR_CAN
    can, sd = can_mass(state)
    if not math.isnan(can):
        tare, sd_tare = can_tare(state, p)
        true_per_can = p["tare_kg"] / tare  # efficiency and torque err in proportion
        mass, sd_mass = can * true_per_can, true_per_can * math.hypot(sd, sd_tare * can / tare)
        aboard, sd_aboard = mass - p["tare_kg"], sd_mass
        evidence |= BIT_CAN
    scales, sd = scales_mass(state, p["tare_kg"])
    if not math.isnan(scales + state["order_cargo_kg"]):
        state["weight_by_order"] = contradicts(scales, p["tare_kg"] + state["order_cargo_kg"], sd, p["gvw_kg"])
    if not math.isnan(scales) and may_contradict(state, mass, p):
        state["weight_by_can"] = contradicts(scales, mass, math.hypot(sd, sd_mass), p["gvw_kg"])
        judge_scales(state)
    if torque_is_wrong(state):
        aboard, sd_aboard, mass, sd_mass = math.nan, math.nan, math.nan, math.nan
        evidence = 0
    if not math.isnan(scales) and state["weight_bad"] == 0:
        tare, sd_tare = tare_of(
            state["tare_scales_kg"], state["tare_scales_n"], p["tare_kg"], TARE_U_SCALES, TARE_FLOOR_SCALES
        )
        by_scales, sd_scales = scales - tare, math.hypot(sd, sd_tare)
        evidence |= BIT_SCALES
        error = ERROR_SCALES
        if math.isnan(sd_aboard):
            aboard, sd_aboard, mass, sd_mass = by_scales, sd_scales, scales, sd
        else:  # two measurements of one mass
            mass, sd_mass = _mean(mass, sd_mass, scales, sd)
            aboard, sd_aboard = _mean(aboard, sd_aboard, by_scales, sd_scales)
    if not math.isnan(aboard):
        ratio = mass_log_ratio(state, aboard, sd_aboard, capacity, evidence & BIT_SCALES != 0)
        by_mass = on_tour(bounded(ratio, error), last_mile and not stem)
    cargo, loaded_units, empty_units = state["order_cargo_kg"], state["order_loaded"], state["order_empty"]
    if not math.isnan(cargo):
        odds += bounded(20.0 if cargo >= 1.0 else -20.0, ERROR_ORDER)
        evidence |= BIT_ORDER
    elif not math.isnan(loaded_units):  # the same people say both: they count once
        odds += bounded(20.0 if loaded_units >= 1.0 else -20.0, ERROR_UNITS)
        evidence |= BIT_UNITS
    coupled = state["coupled"]
    if p["has_trailer"] and state["coupling_works"] and coupled == 0:
        odds -= bounded(20.0, ERROR_TRAILER)
        evidence |= BIT_TRAILER
    if state["door_works"] and state["stop_seen_bits"] & SWITCHES_SEEN:
        evidence |= BIT_DOORS
    shut = evidence & BIT_DOORS != 0 and state["stop_seen_bits"] & (DOOR_OPENED | LIFT_USED | COUPLED_CHANGED) == 0
    ended = state["trip_end_ns"] != UNKNOWN and not math.isnan(state["end_lat_deg"])
    by_place = place_log_ratio(state["start_place"], state["end_place"], g.places.kind, origin, last_mile, shut, ended)
    if by_place != 0.0:
        odds += by_place
        evidence |= BIT_PLACE
    state["odds_but_mass"] = odds
    p_loaded = probability(odds + by_mass)
    found, share, payload, u_payload, units_kg = told(
        p_loaded, aboard, sd_aboard, cargo, loaded_units, empty_units, capacity, p["pallet_positions"],
        state["load_state"] == FULL,
    )  # fmt: skip
    if math.isnan(mass) and not math.isnan(cargo):
        mass, sd_mass = p["tare_kg"] + cargo, 0.02 * p["tare_kg"] + 0.01 * cargo
    state["p_loaded"] = p_loaded
    state["load_state"], state["load_state_p"] = found, share
    state["evidence"] = evidence
    state["aboard_kg"], state["aboard_sd_kg"] = aboard, sd_aboard
    state["payload_kg"], state["payload_u_kg"] = payload, u_payload
    state["units_kg"] = units_kg
    state["mass_kg"], state["mass_u_kg"] = mass, 1.96 * sd_mass


@kernel
def told(
    p_loaded: float,
    aboard: float,
    sd_aboard: float,
    cargo: float,
    loaded_units: float,
    empty_units: float,
    capacity: float,
    positions: float,
    was_full: bool,
) -> tuple[int, float, float, float, float]:
    """(load state, its probability, goods [kg], their 95 % half-width [kg], empty load units [kg]) by P(loaded) and known amounts.

    ``p_loaded``: 0 to 1; ``aboard`` with its ``sd_aboard``, ``cargo``, ``capacity`` [kg]; ``loaded_units``, ``empty_units`` and
    ``positions`` in number; NaN = not known.
    """
    found, share, units_kg = STATE_UNKNOWN, math.nan, 0.0
    payload, u_payload = math.nan, math.nan
    if not math.isnan(cargo):
        payload, u_payload = cargo, math.hypot(0.02 * cargo, 0.01 * capacity)
    elif not math.isnan(aboard):
        payload, u_payload = max(aboard, 0.0), 1.96 * sd_aboard
    if p_loaded >= DECIDED:
        found = PARTIAL
        full = FULL_SHARE - (FULL_MARGIN if was_full else 0.0)
        if not math.isnan(payload) and payload >= full * capacity:
            found = FULL
        if not math.isnan(loaded_units) and loaded_units >= full * positions:
            found = FULL
        share = p_loaded
    elif p_loaded <= 1.0 - DECIDED:
        found = EMPTY
        if not math.isnan(empty_units):
            if empty_units >= 1.0:
                found = WITH_UNITS
        elif 1.64 * sd_aboard < aboard < 2.0 * UNITS_SHARE * capacity and aboard > 0.4 * LIGHTEST_SHARE * capacity:
            found = WITH_UNITS
        if found == WITH_UNITS and not math.isnan(aboard):
            units_kg = max(aboard, 0.0)
        payload, u_payload = 0.0, 1.96 * sd_aboard if not math.isnan(sd_aboard) else UNITS_SHARE * capacity
        share = 1.0 - p_loaded
    return found, share, payload, u_payload, units_kg


@kernel
def forget_load(state: Any) -> None:
    """Nothing is known of what is aboard."""
    state["load_state"], state["load_state_p"], state["evidence"] = STATE_UNKNOWN, math.nan, 0
    state["payload_kg"] = state["payload_u_kg"] = state["mass_kg"] = state["mass_u_kg"] = math.nan
    state["units_kg"] = 0.0


@kernel
def sure_empty(state: Any) -> bool:
    """Whether an order said that nothing is aboard, and no load units were told of."""
    return state["order_cargo_kg"] < 1.0 and not state["order_empty"] > 0.0 and state["load_state"] == EMPTY
