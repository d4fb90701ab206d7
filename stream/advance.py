"""The loop over readings: distance, fuel or energy, emissions and the minute's partial sums, one row after another."""

import math
from typing import Any, Final

from stream.columns import ASSET_KINDS, UNKNOWN
from stream.counters import GAP_S
from stream.distance import distance
from stream.emissions import add_tru, battery_co2e, fuel_co2e
from stream.events import watch_site, watch_vehicle
from stream.fixed import plus, times
from stream.fuel import (
    COUNTER,
    COUNTER_GAP,
    COUNTER_HR,
    FLOW_METER,
    METER,
    MODEL,
    NONE,
    RATE,
    U_METHOD_REL,
    battery_energy,
    gas_fuel,
    liquid_fuel,
    model_fuel_g_per_h,
    model_wheel_power_w,
    tru_fuel,
)
from stream.kernel import kernel
from stream.learning import u_model_rel
from stream.plausibility import usable_odometer_m, usable_wheel_kmh
from stream.road_load import ENGINE_OFF_RPM
from stream.site import site_energy
from stream.table import (
    ASSET,
    BAND,
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
    "lat_deg",
    "lon_deg",
    "hdop",
    "fuel_level_pct",
    "battery_soc_pct",
    "cargo_kg",
    "refrigerant_topup_total_kg",
)
IGNITION_BIT: Final = 4  # of the signal ``switches``
MINUTE_NS: Final = 60_000_000_000
VEHICLE: Final = ASSET_KINDS.index("vehicle")
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
def _u_amount_rel(state: Any, method: int) -> float:
    """Relative half-width of the 95 % interval of an amount obtained by ``method``."""
    return u_model_rel(state) if method == MODEL else U_METHOD_REL[method]


@kernel
def ignition_off(switches: float) -> bool:
    """Whether the ignition is known to be off (bit 4)."""
    return not math.isnan(switches) and (int(switches) >> IGNITION_BIT) & 1 == 0


@kernel
def _add(roll: Any, j: int, out: Any, i: int, u_rel: float, is_vehicle: bool) -> None:
    """Add result ``i`` to partial sum ``j``."""
    dt_us = out[DT, i]
    if dt_us != UNKNOWN and (dt_us <= GAP_S * 1e6 or not is_vehicle):
        roll[OBSERVED, j] += dt_us
        if out[METHOD, i] == NONE:
            roll[UNKNOWN_TIME, j] += dt_us
        if is_vehicle and out[DISTANCE, i] == UNKNOWN:
            roll[DISTANCE_UNKNOWN, j] += dt_us
    for pair in SUMMED:
        amount = out[pair[0], i]
        if amount != UNKNOWN:
            roll[pair[1], j] += amount
    total = plus(out[CO2E_TTW, i], out[CO2E_WTT, i])
    if total != UNKNOWN:
        if out[METHOD, i] in _MEASURED_METHODS:
            roll[MEASURED, j] += total
        roll[BAND, j] += times(abs(total), u_rel)


@kernel
def advance_rows(
    r: Any, params: Any, states: Any, out: Any, u_rel: Any, roll: Any, open_rollup: Any, events: Any
) -> tuple[int, int]:
    """Fill ``out`` (result rows x n) and ``u_rel`` for every reading, ``roll`` with partial sums, ``events``; return how many of both.

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
    grid_kwh, gas_kwh, genset_l = r.grid_import_kwh, r.gas_kwh_gross, r.genset_fuel_total_l
    lat, lon, hdop, cargo_kg = r.lat_deg, r.lon_deg, r.hdop, r.cargo_kg
    level_pct, soc_pct, topup_kg = r.fuel_level_pct, r.battery_soc_pct, r.refrigerant_topup_total_kg
    n_rolls = 0
    n_events = 0
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
        is_vehicle = p["kind"] == VEHICLE
        if state["time_ns"] == UNKNOWN or time_ns > state["time_ns"]:
            dt_s = math.nan
            if state["time_ns"] != UNKNOWN:
                out[DT, i] = (time_ns - state["time_ns"]) // 1000
                dt_s = (time_ns - state["time_ns"]) * 1e-9
            if is_vehicle:
                wheel_kmh = usable_wheel_kmh(state, speed[i])
                out[DISTANCE, i], out[DISTANCE_METHOD, i] = distance(
                    state, usable_odometer_m(state, odometer[i]), wheel_kmh, gps_speed[i], time_ns, dt_s
                )
                v0, v1 = _speeds(state, wheel_kmh, gps_speed[i])
                v = 0.5 * (v0 + v1)
                wheel_w = model_wheel_power_w(p, v0, v1, gross_kg[i], temp[i], baro[i], alt[i], dt_s)
                amount = UNKNOWN
                if p["has_battery"]:
                    off = ignition_off(switches[i])
                    amount, method = battery_energy(
                        state, p, battery_kwh[i], battery_kw[i], wheel_w, v, off, time_ns, dt_s
                    )
                    out[ENERGY, i], out[METHOD, i] = amount, method
                    u = battery_co2e(out, i, amount, p["grid_total"], p["grid_u_rel"], _u_amount_rel(state, method))
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
                    u = fuel_co2e(out, i, amount, p, _u_amount_rel(state, method))
                add_tru(out, i, tru_fuel(state, tru_l[i], time_ns), p)
                n_events = watch_vehicle(
                    state,
                    p,
                    lat[i],
                    lon[i],
                    hdop[i],
                    speed[i],
                    gps_speed[i],
                    odometer[i],
                    rpm[i],
                    fuel_rate[i],
                    switches[i],
                    gross_kg[i],
                    cargo_kg[i],
                    fuel_hr[i],
                    fuel_total[i],
                    soc_pct[i] if p["has_battery"] else level_pct[i],
                    amount,
                    out[METHOD, i],
                    time_ns,
                    dt_s,
                    events,
                    n_events,
                    d,
                )
                state["speed_kmh"] = wheel_kmh
                state["gps_speed_kmh"] = gps_speed[i]
                state["fuel_rate_lph"] = fuel_rate[i]
                state["battery_power_kw"] = battery_kw[i]
            else:
                u = site_energy(state, p, grid_kwh[i], gas_kwh[i], genset_l[i], time_ns, i, out)
                n_events = watch_site(state, topup_kg[i], time_ns, events, n_events, d)
            state["time_ns"] = time_ns
        u_rel[i] = u
        minute_ns = time_ns - time_ns % MINUTE_NS
        j = open_rollup[d]
        if j < 0 or roll[MINUTE, j] != minute_ns or roll[ROLLUP_LOAD_STATE, j] != out[LOAD_STATE, i]:
            j = n_rolls
            n_rolls += 1
            open_rollup[d] = j
            roll[:, j] = 0
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
        _add(roll, j, out, i, u, is_vehicle)
    return n_rolls, n_events
