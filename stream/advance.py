"""The loop over readings: distance, fuel or energy, emissions and the minute's partial sums, one row after another."""

import math
from typing import Any, Final

import numpy as np

from stream.columns import ASSET_KINDS, UNKNOWN
from stream.counters import GAP_S
from stream.distance import distance
from stream.emissions import add_adblue, add_tru, battery_co2e, fuel_co2e, refrigerant
from stream.fixed import plus
from stream.fuel import (
    COUNTER,
    COUNTER_GAP,
    COUNTER_HR,
    FLOW_METER,
    METER,
    NONE,
    RATE,
    battery_energy,
    gas_fuel,
    liquid_fuel,
    model_fuel_g_per_h,
    model_wheel_power_w,
    tru_fuel,
)
from stream.kernel import kernel
from stream.road_load import ENGINE_OFF_RPM
from stream.site import site_energy, site_work
from stream.state import COUNTERS, SITE_COUNTERS
from stream.table import (
    ASSET,
    CH4,
    CO2,
    CO2E_TTW,
    CO2E_WTT,
    DISTANCE,
    DISTANCE_METHOD,
    DISTANCE_UNKNOWN,
    DT,
    ENERGY,
    FIRST_SUM,
    FUEL_GAS,
    FUEL_LIQUID,
    KIND,
    LOAD_STATE,
    MEASURED,
    METHOD,
    MINUTE,
    N2O,
    N_SUMS,
    NEWEST_RECEIVED,
    NEWEST_TIME,
    OBSERVED,
    READINGS,
    ROLLUP_LOAD_STATE,
    ROUTE,
    SPLIT,
    SUMMED,
    UNKNOWN_TIME,
)
from stream.transport import payload, time_use, transport
from stream.uncertainty import N_PARTS, add_parts, battery_parts, fuel_parts, u_rel_of

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
    "cargo_kg",
    "adblue_total_l",
    "refrigerant_topup_total_kg",
    "ambient_temp_c",
    "baro_kpa",
    "alt_m",
    "battery_power_kw",
    "battery_energy_total_kwh",
    "grid_import_kwh",
    "grid_export_kwh",
    "pv_kwh",
    "gas_kwh_gross",
    "genset_fuel_total_l",
    "heat_kwh",
    "forklift_kwh",
    "goods_out_total_kg",
    "pallets_in_total",
    "pallets_out_total",
    "pallets_stored",
)
IGNITION_BIT: Final = 4  # of the signal ``switches``
MINUTE_NS: Final = 60_000_000_000
VEHICLE: Final = ASSET_KINDS.index("vehicle")
MOVING_MS: Final = 5.0 / 3.6
TOPUP: Final = COUNTERS.index("refrigerant")
SITE_TOPUP: Final = SITE_COUNTERS.index("refrigerant")
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
def ignition_off(switches: float) -> bool:
    """Whether the ignition is known to be off (bit 4)."""
    return not math.isnan(switches) and (int(switches) >> IGNITION_BIT) & 1 == 0


@kernel
def _share(sums: Any, out: Any, i: int, is_vehicle: bool) -> None:
    """What result ``i`` adds to each sum, beside what the steps before have written there."""
    sums[READINGS] = 1
    dt_us = out[DT, i]
    if dt_us != UNKNOWN and (dt_us <= GAP_S * 1e6 or not is_vehicle):
        sums[OBSERVED] = dt_us
        if out[METHOD, i] == NONE:
            sums[UNKNOWN_TIME] = dt_us
        if is_vehicle and out[DISTANCE, i] == UNKNOWN:
            sums[DISTANCE_UNKNOWN] = dt_us
    for pair in SUMMED:
        amount = out[pair[0], i]
        if amount != UNKNOWN:
            sums[pair[1]] = amount
    total = plus(out[CO2E_TTW, i], out[CO2E_WTT, i])
    if total != UNKNOWN and out[METHOD, i] in _MEASURED_METHODS:
        sums[MEASURED] = total
    if out[CO2, i] != UNKNOWN and out[CH4, i] != UNKNOWN and out[N2O, i] != UNKNOWN:
        sums[SPLIT] = out[CO2E_TTW, i]


@kernel
def advance_rows(r: Any, params: Any, states: Any, out: Any, u_rel: Any, roll: Any, open_rollup: Any) -> int:
    """Fill ``out`` (result rows x n) and ``u_rel`` for every reading, ``roll`` (n x columns) with partial sums; return how many.

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
    gas_kg, gross_kg, cargo_kg = r.gas_total_kg, r.gross_weight_kg, r.cargo_kg
    temp, baro, alt = r.ambient_temp_c, r.baro_kpa, r.alt_m
    battery_kw, battery_kwh = r.battery_power_kw, r.battery_energy_total_kwh
    tru_l, adblue_l, topup_kg, switches = (
        r.tru_fuel_total_l,
        r.adblue_total_l,
        r.refrigerant_topup_total_kg,
        r.switches,
    )
    grid_kwh, export_kwh, pv_kwh = r.grid_import_kwh, r.grid_export_kwh, r.pv_kwh
    gas_kwh, genset_l, heat_kwh, forklift_kwh = r.gas_kwh_gross, r.genset_fuel_total_l, r.heat_kwh, r.forklift_kwh
    goods_kg, inward, outward, stored = r.goods_out_total_kg, r.pallets_in_total, r.pallets_out_total, r.pallets_stored
    sums = np.zeros(N_SUMS, np.int64)  # what one reading adds
    part = np.zeros(N_PARTS)  # of its error
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
        sums[:] = 0
        part[:] = 0.0
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
                wheel_w = model_wheel_power_w(p, v0, v1, gross_kg[i], temp[i], baro[i], alt[i], dt_s)
                weighed = gross_kg[i] > 0.0
                if p["has_battery"]:
                    off = ignition_off(switches[i])
                    energy, method = battery_energy(
                        state, p, battery_kwh[i], battery_kw[i], wheel_w, v, off, time_ns, dt_s
                    )
                    out[ENERGY, i], out[METHOD, i] = energy, method
                    battery_co2e(out, i, energy, p)
                    if out[CO2E_WTT, i] != UNKNOWN:
                        battery_parts(part, p, state, method, out[CO2E_WTT, i], dt_s, weighed)
                elif p["has_fuel"]:
                    model = model_fuel_g_per_h(p, wheel_w, v, rpm[i])
                    if p["fuel_is_gas"]:
                        amount, method = gas_fuel(state, p, gas_kg[i], model, time_ns, dt_s)
                        out[FUEL_GAS, i] = amount
                    else:
                        running = rpm[i] > ENGINE_OFF_RPM or v > MOVING_MS
                        amount, method = liquid_fuel(
                            state,
                            p,
                            fuel_hr[i],
                            fuel_total[i],
                            fuel_flow[i],
                            fuel_rate[i],
                            model,
                            running,
                            time_ns,
                            dt_s,
                        )
                        out[FUEL_LIQUID, i] = amount
                    out[METHOD, i] = method
                    fuel_co2e(out, i, amount, p)
                    if amount > 0:
                        fuel_parts(part, p, state, method, out[CO2E_TTW, i], out[CO2E_WTT, i], dt_s, v, weighed)
                add_tru(out, i, state, tru_fuel(state, tru_l[i], time_ns), p, part)
                add_adblue(out, i, state, adblue_l[i], time_ns, p, part)
                refrigerant(out, i, state, TOPUP, topup_kg[i], time_ns, p, sums)
                transport(out, i, p, payload(p, gross_kg[i], cargo_kg[i]), sums)
                time_use(out, i, state, v, rpm[i], switches[i], sums)
                state["speed_kmh"] = speed[i]
                state["gps_speed_kmh"] = gps_speed[i]
                state["fuel_rate_lph"] = fuel_rate[i]
                state["battery_power_kw"] = battery_kw[i]
            else:
                site_energy(
                    state,
                    p,
                    grid_kwh[i],
                    export_kwh[i],
                    pv_kwh[i],
                    gas_kwh[i],
                    genset_l[i],
                    heat_kwh[i],
                    time_ns,
                    i,
                    out,
                    part,
                    sums,
                )
                site_work(state, forklift_kwh[i], goods_kg[i], inward[i], outward[i], stored[i], time_ns, i, out, sums)
                refrigerant(out, i, state, SITE_TOPUP, topup_kg[i], time_ns, p, sums)
            state["time_ns"] = time_ns
        u_rel[i] = math.nan
        if out[CO2E_WTT, i] != UNKNOWN and out[CO2E_TTW, i] != UNKNOWN:
            u_rel[i] = u_rel_of(part, float(out[CO2E_TTW, i] + out[CO2E_WTT, i]))
            add_parts(part, sums)
        _share(sums, out, i, is_vehicle)
        minute_ns = time_ns - time_ns % MINUTE_NS
        j = open_rollup[d]
        if j < 0 or roll[j, MINUTE] != minute_ns or roll[j, ROLLUP_LOAD_STATE] != out[LOAD_STATE, i]:
            j = n_rolls
            n_rolls += 1
            open_rollup[d] = j
            roll[j] = 0
            roll[j, MINUTE] = minute_ns
            roll[j, KIND] = p["kind"]
            roll[j, ASSET] = p["asset"]
            roll[j, ROUTE] = p["route"]
            roll[j, ROLLUP_LOAD_STATE] = out[LOAD_STATE, i]
            roll[j, NEWEST_TIME] = time_ns
            roll[j, NEWEST_RECEIVED] = received[i]
        roll[j, NEWEST_TIME] = max(roll[j, NEWEST_TIME], time_ns)
        roll[j, NEWEST_RECEIVED] = max(roll[j, NEWEST_RECEIVED], received[i])
        for k in range(N_SUMS):
            roll[j, FIRST_SUM + k] += sums[k]
    return n_rolls
