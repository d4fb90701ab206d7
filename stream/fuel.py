"""Fuel and battery energy of one interval, by the best evidence there is, with the method and its uncertainty.

Ladder: high-resolution counter > coarse counter shaped by rate or model > flow meter > rate > tank balance > model > nothing
(unknown). A counter's sum is within one tick of the counter (Eq. 17); a rate or model is never held over a gap.
"""

import math
from typing import Any, Final

import numpy as np

from stream.columns import ENERGY_METHODS, UNKNOWN
from stream.counters import GAP_S, HOLD_S, advance, book, count, settle
from stream.distance import PER_HOUR, integrate
from stream.fixed import PER_UNIT, to_fixed
from stream.kernel import inlined, kernel
from stream.learning import learn_bias, learn_road, learn_torque
from stream.state import U_CLASS_REL

NONE: Final = ENERGY_METHODS.index("none")
COUNTER_HR: Final = ENERGY_METHODS.index("counter_hr")
COUNTER: Final = ENERGY_METHODS.index("counter")
COUNTER_GAP: Final = ENERGY_METHODS.index("counter_gap")
FLOW_METER: Final = ENERGY_METHODS.index("flow_meter")
RATE: Final = ENERGY_METHODS.index("rate")
TANK: Final = ENERGY_METHODS.index("tank")
MODEL: Final = ENERGY_METHODS.index("model")
METER: Final = ENERGY_METHODS.index("meter")

HR_TICK_NL: Final = 250_000_000  # 2 ticks = 0.5 L without a rise while fuel is burnt: the counter stands still
HR_LSB_NL: Final = 1_000_000  # SPN 5054
COARSE_TICK_NL: Final = 500_000_000  # SPN 250 steps by 0.5 L
FINE_TICK_NL: Final = 50_000_000  # a "coarse" counter seen to step by less than this needs no shaping
TRU_MAX_LPH: Final = 10.0  # units burn 1.5 to 4.2 L/h, science reference 3.5
TRU_TICK_NL: Final = 500_000_000
UNITS: Final = 1.0 / PER_UNIT
TRU_BIT: Final = 6  # of the signal ``switches``
U_TRU_MODEL_REL: Final = 0.5  # 1.5 to 4.2 L/h around 2.5
TANK_SETTLES_S: Final = 30.0  # slosh of a tank dies down
TANK_STOP_S: Final = 90.0
TANK_REFUEL: Final = 0.02  # of the tank: a rise by this much is a refuel
TANK_SPAN: Final = 0.10  # of the tank: a fall by this much is known to 10 %
TORQUE_TAUGHT: Final = 5.0
U_TANK_REL: Final = 0.17
# Half-width of the 95 % interval of the amount, by ENERGY_METHODS; science reference section 8, systematic part.
U_METHOD_REL: Final = np.array([math.nan, 0.035, 0.035, 0.035, 0.02, 0.045, U_TANK_REL, U_CLASS_REL, 0.03])


@inlined
def _from_counter(
    c: Any,
    now: int,
    estimate: int,
    cap_per_s: float,
    tick: int,
    lsb: int,
    shaped: bool,
    time_ns: int,
    asked: bool,
) -> int:
    """Amount by a counter, UNKNOWN where it is not ``asked`` for: then it keeps its account only."""
    risen = advance(c, now, time_ns, cap_per_s, tick, lsb)
    if risen == UNKNOWN:
        return UNKNOWN
    count(c, risen, estimate, tick)
    return settle(c, estimate, tick, shaped) if asked else UNKNOWN


@inlined
def by_torque(state: Any, p: Any, torque: float) -> bool:
    """Whether the model by torque (its use, NaN = none) serves: its reference is known, or fuel has told it (5 L or kg modelled).

    The class default of the reference torque is good to 15 % only, no better than road load.
    """
    if math.isnan(torque):
        return False
    known = p["ref_torque_known"] != 0 or not math.isnan(state["ref_torque_nm"])
    return known or state["torque"]["modelled"] >= TORQUE_TAUGHT


@inlined
def modelled(state: Any, p: Any, road: float, torque: float) -> tuple[float, float]:
    """(best modelled use, its half-width relative) of bare models' uses [L, kg, kWh]: torque before road load, NaN without."""
    if by_torque(state, p, torque):
        return torque * state["torque"]["ratio"], state["torque"]["u_rel"]
    return road * state["road"]["ratio"], state["road"]["u_rel"]


@inlined
def teach(state: Any, measured: float, road: float, torque: float, dt_s: float) -> None:
    """Teach both models (Eq. 16) with an interval of ``dt_s`` [s] whose use was measured [L, kg, kWh]; NaN = that model says nothing."""
    if not math.isnan(road):
        learn_road(state, measured, road, dt_s)
    if not math.isnan(torque):
        learn_torque(state, measured, torque, dt_s)


@kernel
def standing_s(state: Any, time_ns: int) -> float:
    """How long the vehicle has been standing [s], 0 while it moves or nobody knows."""
    return 0.0 if state["parked_ns"] == UNKNOWN else (time_ns - state["parked_ns"]) * 1e-9


@kernel
def tank_balance(state: Any, tank_l: float, level_pct: float, road_l: float, time_ns: int, dt_s: float) -> None:
    """Let the tank teach the road-load model where nothing else measures: the fall of its level between two settled stops.

    The level steps by 0.4 % of the tank and sloshes by 2 to 5 %, worse than the model on any trip, so it books nothing by itself.
    Its mean over a stop of 90 s, after 30 s to settle, is good to 0.5 % of the tank: a fall of 10 % or more is litres known to
    10 %. A rise of 2 % is a refuel and starts anew. ``tank_l`` NaN: nothing is known.
    """
    if math.isnan(tank_l) or math.isnan(dt_s):
        return
    state["tank_modelled"] += road_l
    rest_s = standing_s(state, time_ns)
    if rest_s < TANK_SETTLES_S or math.isnan(level_pct):
        state["tank_level_pct"] = level_pct
        return
    share = min(dt_s / (rest_s - TANK_SETTLES_S + dt_s), 1.0)
    if math.isnan(state["tank_level_pct"]):
        share, state["tank_level_pct"] = 1.0, level_pct
    state["tank_level_pct"] += share * (level_pct - state["tank_level_pct"])
    if rest_s < TANK_STOP_S:
        return
    fell = (state["tank_pct"] - state["tank_level_pct"]) * 0.01
    if math.isnan(fell) or math.isnan(state["tank_modelled"]) or fell < -TANK_REFUEL:
        state["tank_pct"] = state["tank_level_pct"]
        state["tank_modelled"] = 0.0
    elif fell >= TANK_SPAN:
        learn_road(state, fell * tank_l, state["tank_modelled"], 3600.0)
        state["tank_taught"] = 1
        state["tank_pct"] = state["tank_level_pct"]
        state["tank_modelled"] = 0.0


@inlined
def liquid_fuel(
    state: Any,
    p: Any,
    total_hr_l: float,
    total_l: float,
    flow_l: float,
    level_pct: float,
    rate_lph: float,
    road_l: float,
    torque_l: float,
    engine_surely_on: bool,
    time_ns: int,
    held_s: float,
    dt_s: float,
) -> tuple[int, int, float]:
    """(fuel in nL or UNKNOWN, method, half-width of its 95 % interval, relative) of one interval.

    ``held_s``: the interval, NaN where a rate is not held so long. ``road_l``, ``torque_l``: what the bare models say of it [L], NaN
    where they cannot. Every counter present keeps its own account, so any may take over. A counter is called stuck against the model
    only while the engine surely runs: a parked truck invents no fuel.
    """
    rate_l = integrate(state["fuel_rate_lph"], rate_lph, held_s, PER_HOUR)
    rate = to_fixed(rate_l, PER_UNIT)
    estimate, model, u_model = rate, UNKNOWN, math.nan
    if rate == UNKNOWN:  # else nobody asks the model
        model_l, u_model = modelled(state, p, road_l, torque_l)
        model = to_fixed(model_l, PER_UNIT)
        if engine_surely_on:
            estimate = model
    cap = p["fuel_cap_per_s"]
    by_hr, by_coarse, by_flow = UNKNOWN, UNKNOWN, UNKNOWN
    counted_s = math.inf
    if not math.isnan(total_hr_l):
        c = state["fuel_hr"]
        counted_s = (time_ns - c["time_ns"]) * 1e-9
        now = to_fixed(total_hr_l, PER_UNIT)
        by_hr = _from_counter(c, now, estimate, cap, HR_TICK_NL, HR_LSB_NL, False, time_ns, True)
    if not math.isnan(total_l):
        c = state["fuel"]
        now = to_fixed(total_l, PER_UNIT)
        step = now - c["last"]
        if c["last"] != UNKNOWN and step > 0 and (state["fuel_tick_nl"] == UNKNOWN or step < state["fuel_tick_nl"]):
            state["fuel_tick_nl"] = step
        fine = state["fuel_tick_nl"] != UNKNOWN and state["fuel_tick_nl"] < FINE_TICK_NL
        if by_hr == UNKNOWN:
            counted_s = (time_ns - c["time_ns"]) * 1e-9
        asked = by_hr == UNKNOWN
        by_coarse = _from_counter(c, now, estimate, cap, COARSE_TICK_NL, COARSE_TICK_NL, not fine, time_ns, asked)
    if not math.isnan(flow_l):
        c = state["fuel_flow"]
        asked = by_hr == UNKNOWN and by_coarse == UNKNOWN
        if asked:
            counted_s = (time_ns - c["time_ns"]) * 1e-9
        now = to_fixed(flow_l, PER_UNIT)
        by_flow = _from_counter(c, now, estimate, cap, HR_TICK_NL, HR_LSB_NL, False, time_ns, asked)
    amount, method, u = UNKNOWN, NONE, math.nan
    if by_hr != UNKNOWN:
        amount, method = by_hr, COUNTER_HR
    elif by_coarse != UNKNOWN:
        amount, method = by_coarse, COUNTER
    elif by_flow != UNKNOWN:
        amount, method = by_flow, FLOW_METER
    if amount != UNKNOWN:
        if counted_s <= GAP_S:
            litres = amount * UNITS
            teach(state, litres, road_l, torque_l, dt_s)
            if not math.isnan(rate_l):
                learn_bias(state, litres, rate_l, dt_s)
        elif method != FLOW_METER:
            method = COUNTER_GAP
        u = U_METHOD_REL[method]
    elif rate != UNKNOWN:
        amount, method, u = rate, RATE, U_METHOD_REL[RATE]
        teach(state, rate_l, road_l, torque_l, dt_s)
    elif model != UNKNOWN:
        amount, method, u = model, MODEL, u_model
        if state["tank_taught"] and not by_torque(state, p, torque_l):
            method, u = TANK, U_TANK_REL
    if method in (MODEL, TANK):
        tank_balance(state, p["level_size"], level_pct, road_l, time_ns, dt_s)
    elif method != NONE:
        state["tank_pct"] = math.nan
        state["tank_taught"] = 0
    booked = 0 if amount == UNKNOWN else amount
    book(state["fuel_hr"], booked)
    book(state["fuel"], booked)
    book(state["fuel_flow"], booked)
    return amount, method, u


@kernel
def gas_fuel(
    state: Any, p: Any, total_kg: float, road_kg: float, torque_kg: float, time_ns: int, dt_s: float
) -> tuple[int, int, float]:
    """(gas in µg or UNKNOWN, method, half-width u of its 95 % interval) of one interval; see ``liquid_fuel``.

    ``total_kg`` [kg] by Eq. 17: SPN 1040 steps by 0.5 kg, 3.5 % by the meter. ``road_kg``, ``torque_kg``: Eq. 10 and 11 [kg], NaN = none.
    """
    model_kg, u = modelled(state, p, road_kg, torque_kg)
    model = to_fixed(model_kg, PER_UNIT)
    c = state["gas"]
    counted_s = (time_ns - c["time_ns"]) * 1e-9
    cap = p["fuel_cap_per_s"]
    now = to_fixed(total_kg, PER_UNIT)
    amount = _from_counter(c, now, model, cap, COARSE_TICK_NL, COARSE_TICK_NL, True, time_ns, True)
    method = COUNTER
    if amount != UNKNOWN:
        u = U_METHOD_REL[COUNTER]
        if counted_s <= GAP_S:
            teach(state, amount * UNITS, road_kg, torque_kg, dt_s)
        else:
            method = COUNTER_GAP
    else:
        amount, method = model, MODEL
    if amount == UNKNOWN:
        method, u = NONE, math.nan
    book(c, 0 if amount == UNKNOWN else amount)
    return amount, method, u


@inlined
def tru_fuel(state: Any, tru_lph: float, total_l: float, switches: int, time_ns: int, dt_s: float) -> tuple[int, bool]:
    """(fuel of the refrigeration unit in nL or UNKNOWN, whether it is modelled) since its last reading. Its tank is its own.

    Eq. 13: its counter; where it never had one, ``tru_lph`` [L/h] of the class while its engine-on signal (switch bit 6) is on.
    Never times 24 h: without counter and signal the use is unknown.
    """
    if math.isnan(total_l) and switches == UNKNOWN:
        return UNKNOWN, False
    c = state["tru"]
    cap = TRU_MAX_LPH / 3600.0 * PER_UNIT
    risen = advance(c, to_fixed(total_l, PER_UNIT), time_ns, cap, TRU_TICK_NL, TRU_TICK_NL)
    if risen != UNKNOWN:
        return int(risen), False
    if c["last"] != UNKNOWN or switches == UNKNOWN or not 0.0 < dt_s <= HOLD_S:
        return UNKNOWN, False
    if (switches >> TRU_BIT) & 1 == 0:
        return UNKNOWN, False
    return to_fixed(tru_lph * dt_s * PER_HOUR, PER_UNIT), True


@kernel
def battery_energy(
    state: Any, p: Any, total_kwh: float, power_kw: float, road_kwh: float, time_ns: int, held_s: float, dt_s: float
) -> tuple[int, int, float]:
    """(net battery energy in µWh, negative while regenerating, or UNKNOWN; method; half-width u of its 95 % interval) of one interval.

    Counter ``total_kwh`` before the trapezoid of ``power_kw`` before the model ``road_kwh`` (Eq. 12 times Eq. 16); NaN = not there.
    Error: 3 % by the battery's own meter (science reference, section 8), 10 % modelled once calibrated.
    """
    measured = to_fixed(integrate(state["battery_power_kw"], power_kw, held_s, PER_HOUR), PER_UNIT)
    amount, method = UNKNOWN, NONE
    now = to_fixed(total_kwh, PER_UNIT)
    c = state["battery"]
    if now != UNKNOWN:
        last = c["last"]
        cap = 2.0 * p["p_rated_kw"] * (time_ns - c["time_ns"]) * 1e-9 / 3600.0 * PER_UNIT + PER_UNIT
        if last != UNKNOWN and abs(now - last) <= cap:
            amount = now - last - c["ahead"]
            method = COUNTER_GAP if dt_s > GAP_S else METER
            c["ahead"] -= now - last
        else:
            c["ahead"] = UNKNOWN
        c["last"] = now
        c["time_ns"] = time_ns
    if amount == UNKNOWN and measured != UNKNOWN:
        amount, method = measured, RATE
    u = U_METHOD_REL[method]
    if amount != UNKNOWN:
        if not math.isnan(road_kwh):
            learn_road(state, amount * UNITS, road_kwh, dt_s)
    elif not math.isnan(road_kwh):
        amount, method = to_fixed(road_kwh * state["road"]["ratio"], PER_UNIT), MODEL
        u = state["road"]["u_rel"]
    book(c, 0 if amount == UNKNOWN else amount)
    return amount, method, u
