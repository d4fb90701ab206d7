"""The loop over readings: distance, fuel or energy, emissions and the minute's partial sums, one row after another."""

import math
from typing import Any, Final

from stream.attribution import N_PARTS, battery_parts, engine_parts, part_of, scale
from stream.columns import ASSET_KINDS, UNKNOWN
from stream.conditions import mass_of, observe, widened
from stream.counters import GAP_S, HOLD_S
from stream.distance import distance, integrate
from stream.emissions import battery_co2e, fuel_co2e, product_u, tru_co2e
from stream.fixed import PER_UNIT, plus, times
from stream.fuel import (
    COUNTER,
    COUNTER_GAP,
    COUNTER_HR,
    FLOW_METER,
    METER,
    MODEL,
    NONE,
    RATE,
    U_TRU_MODEL_REL,
    battery_energy,
    by_torque,
    gas_fuel,
    liquid_fuel,
    tru_fuel,
)
from stream.grade import BY_FILTER, BY_MAP, filtered_grade, height_of
from stream.kernel import kernel
from stream.road_load import (
    ENGINE_OFF_RPM,
    STANDING_MS,
    air_drag_n,
    apparent_wind,
    battery_power_kw,
    engine_fuel_g_per_h,
    hvac_kw,
    road_powers_w,
    rough_factor,
    torque_fuel_g_per_h,
)
from stream.site import site_energy
from stream.table import (
    ASSET,
    BAND,
    BY_FIRST,
    CO2,
    CO2_BIOGENIC,
    CO2E_TTW,
    CO2E_WTT,
    DISTANCE,
    DISTANCE_METHOD,
    DISTANCE_UNKNOWN,
    DT,
    ENERGY,
    FUEL_GAS,
    FUEL_LIQUID,
    KIND,
    LOAD_STATE,
    MEASURED,
    METHOD,
    MINUTE,
    NEWEST_RECEIVED,
    NEWEST_TIME,
    OBSERVED,
    READINGS,
    ROLLUP_LOAD_STATE,
    ROUTE,
    SUMMED,
    TRU_FUEL,
    UNKNOWN_TIME,
)

READ: Final = (
    "device",
    "time_ns",
    "received_ns",
    "speed_kmh",
    "gps_speed_kmh",
    "odometer_m",
    "engine_speed_rpm",
    "fuel_rate_lph",
    "fuel_total_hr_l",
    "fuel_total_l",
    "fuel_flow_total_l",
    "gas_total_kg",
    "tru_fuel_total_l",
    "switches",
    "gross_weight_kg",
    "ambient_temp_c",
    "baro_kpa",
    "alt_m",
    "battery_power_kw",
    "battery_energy_total_kwh",
    "grid_import_kwh",
    "gas_kwh_gross",
    "genset_fuel_total_l",
    "hdop",
    "engine_torque_pct",
    "engine_ref_torque_nm",
    "fuel_level_pct",
    "cargo_kg",
    "battery_soc_pct",
    "heading_deg",
    "wind_speed_ms",
    "wind_from_deg",
    "precipitation_mm_h",
    "grade_pct",
    "road_iri_m_per_km",
    "pto_power_kw",
)
PTO_BIT: Final = 2  # of the signal ``switches``
IGNITION_BIT: Final = 4
UNSEEN_IDLE_S: Final = (
    600.0  # standing longer without engine speed or ignition signal, nobody knows whether the engine runs
)
RAD_S_PER_RPM: Final = math.pi / 30.0
MINUTE_NS: Final = 60_000_000_000
VEHICLE: Final = ASSET_KINDS.index("vehicle")
GAP_US: Final = int(GAP_S * 1e6)
MOVING_MS: Final = 5.0 / 3.6
_MEASURED_METHODS: Final = (COUNTER_HR, COUNTER, COUNTER_GAP, FLOW_METER, RATE, METER)
_CODES: Final = (DISTANCE_METHOD, METHOD, LOAD_STATE)  # in each of them 0 is "none" or "unknown"


@kernel
def _speeds(state: Any, speed_kmh: float, gps_speed_kmh: float) -> tuple[float, float]:
    """Speed at both ends of the interval [m/s]: of the wheels, else of the receiver, never one of each."""
    v0, v1 = state["speed_kmh"], speed_kmh
    if math.isnan(v0) or math.isnan(v1):
        v0, v1 = state["gps_speed_kmh"], gps_speed_kmh
    return v0 / 3.6, v1 / 3.6


@kernel
def _switch(switches: float, bit: int) -> bool:
    """Whether a switch is known to be on."""
    return not math.isnan(switches) and (int(switches) >> bit) & 1 == 1


@kernel
def ignition_off(switches: float) -> bool:
    """Whether the ignition is known to be off (bit 4)."""
    return not math.isnan(switches) and (int(switches) >> IGNITION_BIT) & 1 == 0


@kernel
def _engine_off(rpm: float, switches: float) -> bool:
    """Whether the engine is known not to turn: by its speed, else by the ignition."""
    if not math.isnan(rpm):
        return rpm < ENGINE_OFF_RPM
    return ignition_off(switches)


@kernel
def advance_rows(r: Any, params: Any, states: Any, out: Any, u_rel: Any, roll: Any, open_rollup: Any) -> int:
    """Fill ``out`` (result rows x n) and ``u_rel`` for every reading, ``roll`` with partial sums; return how many sums there are.

    A row that is not newer than the newest taken from its device is kept as a reading, but nothing is computed from it: what the
    counters show then was booked already.
    """
    device, time, received = (
        r.device,
        r.time_ns,
        r.received_ns,
    )  # taken out of the tuple once: per row it costs more than the physics
    speed, gps_speed, odometer, rpm = r.speed_kmh, r.gps_speed_kmh, r.odometer_m, r.engine_speed_rpm
    fuel_rate, fuel_hr, fuel_total, fuel_flow = r.fuel_rate_lph, r.fuel_total_hr_l, r.fuel_total_l, r.fuel_flow_total_l
    gas_kg, gross_kg, temp, baro, alt = r.gas_total_kg, r.gross_weight_kg, r.ambient_temp_c, r.baro_kpa, r.alt_m
    battery_kw, battery_kwh = r.battery_power_kw, r.battery_energy_total_kwh
    tru_l, switches = r.tru_fuel_total_l, r.switches
    hdop, torque, ref_torque, level = r.hdop, r.engine_torque_pct, r.engine_ref_torque_nm, r.fuel_level_pct
    cargo_kg, soc, heading, pto_kw = r.cargo_kg, r.battery_soc_pct, r.heading_deg, r.pto_power_kw
    wind, wind_from, rain = r.wind_speed_ms, r.wind_from_deg, r.precipitation_mm_h
    slope_pct, iri = r.grade_pct, r.road_iri_m_per_km
    grid_kwh, gas_kwh, genset_l = r.grid_import_kwh, r.gas_kwh_gross, r.genset_fuel_total_l
    n_rolls = 0
    for i in range(device.size):
        d = device[i]
        state = states[d]
        p = params[d]
        time_ns = time[i]
        for row in range(out.shape[0]):
            out[row, i] = UNKNOWN
        for row in _CODES:
            out[row, i] = 0
        u = math.nan
        parts = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        ug_per_rate = math.nan
        is_vehicle = p["kind"] == VEHICLE
        if state["time_ns"] == UNKNOWN or time_ns > state["time_ns"]:
            dt_s = math.nan
            if state["time_ns"] != UNKNOWN:
                out[DT, i] = (time_ns - state["time_ns"]) // 1000
                dt_s = (time_ns - state["time_ns"]) * 1e-9
            if is_vehicle:
                out[DISTANCE, i], out[DISTANCE_METHOD, i] = distance(
                    state, odometer[i], speed[i], gps_speed[i], time_ns, dt_s
                )
                v0, v1 = _speeds(state, speed[i], gps_speed[i])
                v = 0.5 * (v0 + v1)
                observe(
                    state, temp[i], baro[i], alt[i], wind[i], wind_from[i], rain[i], gross_kg[i], cargo_kg[i],
                    ref_torque[i], time_ns, dt_s,
                )  # fmt: skip
                if v < STANDING_MS:
                    state["rest_s"] += dt_s if dt_s <= HOLD_S else 0.0
                elif v >= STANDING_MS:
                    state["rest_s"] = 0.0
                grade, grade_source = filtered_grade(state, height_of(alt[i], hdop[i], baro[i]), v * dt_s)
                if not math.isnan(slope_pct[i]):
                    grade, grade_source = slope_pct[i] * 0.01, BY_MAP
                moved = 0.0 < dt_s <= HOLD_S and not math.isnan(v)
                hours = dt_s * (1.0 / 3600.0) if moved else math.nan
                pto = 0.0
                if not math.isnan(pto_kw[i]):
                    pto = max(pto_kw[i], 0.0)
                elif _switch(switches[i], PTO_BIT):
                    pto = p["pto_kw"]
                roll_w, air_w, climb_w, kinetic_w, wheel_w = 0.0, 0.0, 0.0, 0.0, 0.0
                mass, mass_known = mass_of(state, p)
                if moved:
                    along, across = 0.0, 0.0
                    if not math.isnan(state["wind_speed_ms"]):
                        along, across = apparent_wind(state["wind_speed_ms"], state["wind_from_deg"], heading[i])
                    drag_n = air_drag_n(
                        v, along, across, state["rho"], p["cda_m2"], p["yaw_a1"], p["yaw_a2"], p["yaw_a3"]
                    )
                    crr = p["crr"] * state["tyre"] * rough_factor(iri[i], v)
                    roll_w, air_w, climb_w, kinetic_w = road_powers_w(
                        v0, v1, dt_s, mass, p["f_rot"], crr, grade, drag_n
                    )
                    wheel_w = roll_w + air_w + climb_w + kinetic_w
                empty = min(p["tare_kg"] / mass, 1.0) if mass_known else 1.0
                if p["has_battery"]:
                    aux_kw = pto if ignition_off(switches[i]) else p["aux_kw"] + hvac_kw(state["temp_c"]) + pto
                    rate = battery_power_kw(wheel_w, v, aux_kw, p["p_rated_kw"], p["eta_drive"], p["eta_regen"], soc[i])
                    amount, method, u = battery_energy(
                        state, p, battery_kwh[i], battery_kw[i], rate * hours, time_ns, dt_s
                    )
                    out[ENERGY, i], out[METHOD, i] = amount, method
                    ug_per_rate = state["road"]["ratio"] * hours * p["grid_total"] * PER_UNIT
                elif p["has_fuel"]:
                    turns = 1.0 if math.isnan(rpm[i]) else rpm[i] / p["cruise_rpm"]
                    rate = engine_fuel_g_per_h(
                        wheel_w, v, p["aux_kw"], pto, p["p_rated_kw"], turns, p["willans_a"], p["willans_b"],
                        p["idle_g_per_h"],
                    )  # fmt: skip
                    seen = not (math.isnan(rpm[i]) and math.isnan(switches[i]))
                    if _engine_off(rpm[i], switches[i]):
                        rate = 0.0
                    elif not seen and state["rest_s"] > UNSEEN_IDLE_S:
                        rate = math.nan
                    reference = p["ref_torque_nm"] if math.isnan(state["ref_torque_nm"]) else state["ref_torque_nm"]
                    indicated_kw = torque[i] * rpm[i] * reference * (1e-5 * RAD_S_PER_RPM)
                    per_h = hours * p["fuel_per_g"]
                    by_road = rate * per_h
                    torque_use = math.nan
                    indicated_kwh = integrate(state["engine_kw"], indicated_kw, dt_s, 3600.0)
                    if not math.isnan(indicated_kwh):
                        torque_use = torque_fuel_g_per_h(indicated_kwh, p["willans_b"]) * p["fuel_per_g"]
                    if p["fuel_is_gas"]:
                        amount, method, u = gas_fuel(state, p, gas_kg[i], by_road, torque_use, time_ns, dt_s)
                        out[FUEL_GAS, i] = amount
                    else:
                        running = rpm[i] > ENGINE_OFF_RPM or v > MOVING_MS
                        amount, method, u = liquid_fuel(
                            state, p, fuel_hr[i], fuel_total[i], fuel_flow[i], level[i], fuel_rate[i], by_road,
                            torque_use, running, time_ns, dt_s,
                        )  # fmt: skip
                        out[FUEL_LIQUID, i] = amount
                    out[METHOD, i] = method
                    state["engine_kw"] = indicated_kw
                    ug_per_rate = state["road"]["ratio"] * per_h * (p["fuel_ttw"] + p["fuel_wtt"]) * PER_UNIT
                if method == MODEL and (p["has_battery"] or not by_torque(state, p, torque_use)):
                    u = widened(
                        state, u, mass_known, grade_source == BY_MAP, grade_source == BY_FILTER,
                        not math.isnan(iri[i]), pto > 0.0 and math.isnan(pto_kw[i]),
                    )  # fmt: skip
                if p["has_battery"]:
                    co2, ttw, wtt, biogenic = battery_co2e(amount, p["grid_total"])
                    u = product_u(u, p["grid_u_rel"])
                else:
                    co2, ttw, wtt, biogenic = fuel_co2e(amount, p)
                    u = product_u(u, p["fuel_u_rel"])
                drive_ug = plus(ttw, wtt)
                if drive_ug != UNKNOWN and ug_per_rate == ug_per_rate:
                    if p["has_battery"]:
                        parts = battery_parts(roll_w, air_w, climb_w, kinetic_w, empty, v, aux_kw, soc[i], rate, p)
                    else:
                        parts = engine_parts(
                            roll_w, air_w, climb_w, kinetic_w, empty, v, p["aux_kw"], pto, turns, rate, p
                        )
                    ug_per_rate = scale(drive_ug, ug_per_rate, rate)
                tru_nl, tru_modelled = tru_fuel(state, p["tru_lph"], tru_l[i], switches[i], time_ns, dt_s)
                out[TRU_FUEL, i] = tru_nl
                if drive_ug != UNKNOWN:
                    tru_co2, tru_ttw, tru_wtt, _ = tru_co2e(tru_nl, p)
                    out[CO2, i] = plus(co2, tru_co2)
                    out[CO2E_TTW, i] = ttw + tru_ttw
                    out[CO2E_WTT, i] = wtt + tru_wtt
                    out[CO2_BIOGENIC, i] = biogenic
                    total_ug = drive_ug + tru_ttw + tru_wtt
                    if tru_modelled and total_ug > 0:
                        tru_share = (tru_ttw + tru_wtt) / total_ug
                        u = product_u(u * (1.0 - tru_share), U_TRU_MODEL_REL * tru_share)
                state["speed_kmh"] = speed[i]
                state["gps_speed_kmh"] = gps_speed[i]
                state["fuel_rate_lph"] = fuel_rate[i]
                state["battery_power_kw"] = battery_kw[i]
            else:
                u = site_energy(state, p, grid_kwh[i], gas_kwh[i], genset_l[i], time_ns, i, out)
            state["time_ns"] = time_ns
        u_rel[i] = u
        minute_ns = time_ns - time_ns % MINUTE_NS
        j = open_rollup[d]
        if j < 0 or roll[MINUTE, j] != minute_ns or roll[ROLLUP_LOAD_STATE, j] != out[LOAD_STATE, i]:
            j = n_rolls
            n_rolls += 1
            open_rollup[d] = j
            for row in range(roll.shape[0]):
                roll[row, j] = 0
            roll[MINUTE, j] = minute_ns
            roll[KIND, j] = p["kind"]
            roll[ASSET, j] = p["asset"]
            roll[ROUTE, j] = p["route"]
            roll[ROLLUP_LOAD_STATE, j] = out[LOAD_STATE, i]
            roll[NEWEST_TIME, j] = time_ns
            roll[NEWEST_RECEIVED, j] = received[i]
        roll[READINGS, j] += 1
        roll[NEWEST_TIME, j] = max(roll[NEWEST_TIME, j], time_ns)
        roll[NEWEST_RECEIVED, j] = max(roll[NEWEST_RECEIVED, j], received[i])
        dt_us = out[DT, i]
        if dt_us != UNKNOWN and (dt_us <= GAP_US or not is_vehicle):
            roll[OBSERVED, j] += dt_us
            if out[METHOD, i] == NONE:
                roll[UNKNOWN_TIME, j] += dt_us
            if is_vehicle and out[DISTANCE, i] == UNKNOWN:
                roll[DISTANCE_UNKNOWN, j] += dt_us
        for pair in SUMMED:
            amount = out[pair[0], i]
            if amount != UNKNOWN:
                roll[pair[1], j] += amount
        total_ug = plus(out[CO2E_TTW, i], out[CO2E_WTT, i])
        if total_ug != UNKNOWN:
            if out[METHOD, i] in _MEASURED_METHODS:
                roll[MEASURED, j] += total_ug
            roll[BAND, j] += times(abs(total_ug), u)
            if is_vehicle:
                for k in range(N_PARTS):
                    part_ug = part_of(parts[k], ug_per_rate)
                    roll[BY_FIRST + k, j] += part_ug
                    total_ug -= part_ug
                roll[BY_FIRST + N_PARTS, j] += total_ug
    return n_rolls
