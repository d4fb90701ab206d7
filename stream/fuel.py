"""Fuel and battery energy of one interval, by the best evidence there is, with the method and its uncertainty.

Ladder: high-resolution counter > coarse counter shaped by rate or model > flow meter > rate > model > nothing (unknown).
"""

import math
from typing import Any, Final

from stream.columns import ENERGY_METHODS, UNKNOWN
from stream.counters import GAP_S, advance, book, settle
from stream.distance import integrate
from stream.fixed import PER_UNIT, times, to_fixed
from stream.kernel import kernel
from stream.learning import learn, ratio
from stream.road_load import (
    ENGINE_OFF_RPM,
    STANDARD_TEMP_C,
    air_density,
    battery_power_kw,
    engine_fuel_g_per_h,
    pressure_at,
    wheel_power_w,
)
from stream.state import COUNTERS

FUEL_HR: Final = COUNTERS.index("fuel_hr")
FUEL: Final = COUNTERS.index("fuel")
FUEL_FLOW: Final = COUNTERS.index("fuel_flow")
GAS: Final = COUNTERS.index("gas")
BATTERY: Final = COUNTERS.index("battery")
TRU: Final = COUNTERS.index("tru")
NONE: Final = ENERGY_METHODS.index("none")
COUNTER_HR: Final = ENERGY_METHODS.index("counter_hr")
COUNTER: Final = ENERGY_METHODS.index("counter")
COUNTER_GAP: Final = ENERGY_METHODS.index("counter_gap")
FLOW_METER: Final = ENERGY_METHODS.index("flow_meter")
RATE: Final = ENERGY_METHODS.index("rate")
MODEL: Final = ENERGY_METHODS.index("model")
METER: Final = ENERGY_METHODS.index("meter")

HR_TICK_NL: Final = 250_000_000  # 2 ticks = 0.5 L without a rise while fuel is burnt: the counter stands still
COARSE_TICK_NL: Final = 500_000_000  # SPN 250 steps by 0.5 L
FINE_TICK_NL: Final = 50_000_000  # a "coarse" counter seen to step by less than this needs no shaping
TRU_MAX_LPH: Final = 10.0  # units burn 1.5 to 4.2 L/h, science reference 3.5
TRU_TICK_NL: Final = 500_000_000
LITRE_PER_KWH_CAP: Final = 0.25 * 1.2  # most fuel an engine can burn per kWh rated, science reference section 4
KG_PER_KWH_CAP: Final = 0.21 * 1.2


@kernel
def model_wheel_power_w(
    p: Any, v0_ms: float, v1_ms: float, gross_kg: float, temp_c: float, baro_kpa: float, alt_m: float, dt_s: float
) -> float:
    """Wheel power from the speeds at both ends [W]; unknown mass, weather and grade take the vehicle's defaults."""
    mass = gross_kg if gross_kg > 0.5 * p["tare_kg"] else p["mass_kg"]
    temp = STANDARD_TEMP_C if math.isnan(temp_c) else temp_c
    pressure = baro_kpa * 1000.0
    if math.isnan(baro_kpa):
        pressure = pressure_at(0.0 if math.isnan(alt_m) else alt_m)
    return wheel_power_w(
        v0_ms, v1_ms, dt_s, mass, p["f_rot"], p["cda_m2"], p["crr"], 0.0, air_density(temp, pressure), temp
    )


@kernel
def model_fuel_g_per_h(p: Any, wheel_w: float, v_ms: float, rpm: float) -> float:
    """Modelled fuel mass rate [g/h]; 0 with the engine known to be off."""
    if rpm < ENGINE_OFF_RPM:
        return 0.0
    return engine_fuel_g_per_h(
        wheel_w,
        v_ms,
        p["aux_kw"],
        p["p_rated_kw"],
        p["willans_a"],
        p["willans_b"],
        p["idle_g_per_h"],
    )


@kernel
def _from_counter(
    state: Any, k: int, now: int, estimate: int, cap_per_s: float, tick: int, shaped: bool, time_ns: int
) -> int:
    risen = advance(state, k, now, time_ns, cap_per_s, tick)
    if risen == UNKNOWN:
        return UNKNOWN
    return settle(state, k, risen, estimate, tick, shaped)


@kernel
def liquid_fuel(
    state: Any,
    p: Any,
    total_hr_l: float,
    total_l: float,
    flow_l: float,
    rate_lph: float,
    model_g_per_h: float,
    engine_surely_on: bool,
    time_ns: int,
    dt_s: float,
) -> tuple[int, int]:
    """(fuel in nL or UNKNOWN, method) of one interval. Every counter present keeps its own account, so any may take over.

    A counter is called stuck against the model only while the engine surely runs: a parked truck invents no fuel.
    """
    rate = to_fixed(integrate(state["fuel_rate_lph"], rate_lph, dt_s, 3600.0), PER_UNIT)
    bare = to_fixed(integrate(model_g_per_h, model_g_per_h, dt_s, 3600.0) / (p["fuel_kg_per_l"] * 1000.0), PER_UNIT)
    model = times(bare, ratio(state))
    estimate = rate if rate != UNKNOWN else (model if engine_surely_on else UNKNOWN)
    cap = p["p_rated_kw"] * LITRE_PER_KWH_CAP / 3600.0 * PER_UNIT
    coarse_before = state["counter_last"][FUEL]
    by_hr = _from_counter(state, FUEL_HR, to_fixed(total_hr_l, PER_UNIT), estimate, cap, HR_TICK_NL, False, time_ns)
    now = to_fixed(total_l, PER_UNIT)
    if coarse_before != UNKNOWN and now > coarse_before:
        step = now - coarse_before
        if state["fuel_tick_nl"] == UNKNOWN or step < state["fuel_tick_nl"]:
            state["fuel_tick_nl"] = step
    fine = state["fuel_tick_nl"] != UNKNOWN and state["fuel_tick_nl"] < FINE_TICK_NL
    by_coarse = _from_counter(state, FUEL, now, estimate, cap, COARSE_TICK_NL, not fine, time_ns)
    by_flow = _from_counter(state, FUEL_FLOW, to_fixed(flow_l, PER_UNIT), estimate, cap, HR_TICK_NL, False, time_ns)
    amount, method = UNKNOWN, NONE
    if by_hr != UNKNOWN:
        amount, method = by_hr, COUNTER_HR
    elif by_coarse != UNKNOWN:
        amount, method = by_coarse, COUNTER
    elif by_flow != UNKNOWN:
        amount, method = by_flow, FLOW_METER
    elif rate != UNKNOWN:
        amount, method = rate, RATE
    elif model != UNKNOWN:
        amount, method = model, MODEL
    if bare > 0 and method not in (NONE, MODEL):
        learn(state, amount, bare, dt_s)
    if dt_s > GAP_S and (method in (COUNTER_HR, COUNTER)):
        method = COUNTER_GAP
    book(state, FUEL_HR, FUEL_FLOW, 0 if amount == UNKNOWN else amount)
    return amount, method


@kernel
def gas_fuel(state: Any, p: Any, total_kg: float, model_g_per_h: float, time_ns: int, dt_s: float) -> tuple[int, int]:
    """(gas in µg or UNKNOWN, method) of one interval."""
    bare = to_fixed(integrate(model_g_per_h, model_g_per_h, dt_s, 3600.0) / 1000.0, PER_UNIT)
    model = times(bare, ratio(state))
    cap = p["p_rated_kw"] * KG_PER_KWH_CAP / 3600.0 * PER_UNIT
    amount = _from_counter(state, GAS, to_fixed(total_kg, PER_UNIT), model, cap, COARSE_TICK_NL, True, time_ns)
    method = COUNTER_GAP if dt_s > GAP_S else COUNTER
    if amount != UNKNOWN and bare > 0:
        learn(state, amount, bare, dt_s)
    if amount == UNKNOWN:
        amount, method = model, MODEL
    if amount == UNKNOWN:
        method = NONE
    book(state, GAS, GAS, 0 if amount == UNKNOWN else amount)
    return amount, method


@kernel
def tru_fuel(state: Any, total_l: float, time_ns: int) -> int:
    """Fuel of the refrigeration unit since its counter was last read [nL], UNKNOWN without one. Its tank is its own."""
    cap = TRU_MAX_LPH / 3600.0 * PER_UNIT
    return int(advance(state, TRU, to_fixed(total_l, PER_UNIT), time_ns, cap, TRU_TICK_NL))


@kernel
def battery_energy(
    state: Any,
    p: Any,
    total_kwh: float,
    power_kw: float,
    wheel_w: float,
    v_ms: float,
    ignition_off: bool,
    time_ns: int,
    dt_s: float,
) -> tuple[int, int]:
    """(net battery energy in µWh, negative while regenerating, or UNKNOWN; method) of one interval."""
    measured = to_fixed(integrate(state["battery_power_kw"], power_kw, dt_s, 3600.0), PER_UNIT)
    aux_kw = 0.0 if ignition_off else p["aux_kw"]
    kw = battery_power_kw(wheel_w, v_ms, aux_kw, p["p_rated_kw"], p["eta_drive"], p["eta_regen"])
    bare = to_fixed(integrate(kw, kw, dt_s, 3600.0), PER_UNIT)
    amount, method = UNKNOWN, NONE
    now = to_fixed(total_kwh, PER_UNIT)
    last = state["counter_last"][BATTERY]
    if now != UNKNOWN:
        cap = (
            2.0 * p["p_rated_kw"] * (time_ns - state["counter_time_ns"][BATTERY]) * 1e-9 / 3600.0 * PER_UNIT + PER_UNIT
        )
        if last != UNKNOWN and abs(now - last) <= cap:
            amount = now - last - state["ahead"][BATTERY]
            method = COUNTER_GAP if dt_s > GAP_S else METER
            state["ahead"][BATTERY] -= now - last
        else:
            state["ahead"][BATTERY] = UNKNOWN
        state["counter_last"][BATTERY] = now
        state["counter_time_ns"][BATTERY] = time_ns
    if amount == UNKNOWN and measured != UNKNOWN:
        amount, method = measured, RATE
    if amount != UNKNOWN and bare != UNKNOWN:
        learn(state, amount, bare, dt_s)
    elif bare != UNKNOWN:
        amount, method = times(bare, ratio(state)), MODEL
    book(state, BATTERY, BATTERY, 0 if amount == UNKNOWN else amount)
    return amount, method
