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
from stream.mass import can_row, scales_row
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
    IDLE,
    KIND,
    LOAD_STATE,
    MEASURED,
    METHOD,
    MINUTE,
    MOVING,
    NEWEST_RECEIVED,
    NEWEST_TIME,
    OBSERVED,
    READINGS,
    REGION,
    ROLLUP_LOAD_STATE,
    ROUTE,
    ROW_REGION,
    ROW_ROUTE,
    ROW_TRIP,
    SUMMED,
    TRIP_START,
    UNKNOWN_TIME,
)
from stream.trip_rows import add_rollup, write_version
from stream.trips import (
    CLOSED,
    PTO_BIT,
    STARTED,
    STILL_KMH,
    STOPPED,
    close_trip,
    finish_trip,
    follow,
    follow_region,
    hold_signals,
    look_again,
    start_trip,
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
    "refrigerant_topup_total_kg",
    "cargo_kg",
    "load_units_loaded",
    "load_units_empty",
    "route_number",
    "pto_power_kw",
    "grade_pct",
    "engine_torque_pct",
    "engine_friction_torque_pct",
    "engine_ref_torque_nm",
)
IGNITION_BIT: Final = 4  # of the signal ``switches``
BRAKE_BIT: Final = 5
MINUTE_NS: Final = 60_000_000_000
VEHICLE: Final = ASSET_KINDS.index("vehicle")
MOVING_MS: Final = 5.0 / 3.6
_MEASURED_METHODS: Final = (COUNTER_HR, COUNTER, COUNTER_GAP, FLOW_METER, RATE, METER)
_CODES: Final = (DISTANCE_METHOD, METHOD, LOAD_STATE)  # in each of them 0 is "none" or "unknown"
_NAMES: Final = (ROW_ROUTE, ROW_REGION)  # in each of them -1 is null


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
def brakes(switches: float) -> bool:
    """Whether the service brake is known to be on (bit 5)."""
    return not math.isnan(switches) and (int(switches) >> BRAKE_BIT) & 1 == 1


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
def _add_time(
    roll: Any, j: int, state: Any, dt_us: int, kmh: float, rpm: float, switches: float, pto_kw: float
) -> None:
    """Book the interval as moving, idling or neither."""
    pto = pto_kw > 0.0 or (not math.isnan(switches) and int(switches) & PTO_BIT != 0)
    if kmh >= STILL_KMH:
        roll[MOVING, j] += dt_us
        if pto:
            state["trip_pto_us"] += dt_us
    elif rpm > ENGINE_OFF_RPM and not pto:
        roll[IDLE, j] += dt_us


@kernel
def advance_rows(
    r: Any,
    params: Any,
    geography: Any,
    states: Any,
    out: Any,
    u_rel: Any,
    load_p: Any,
    roll: Any,
    open_rollup: Any,
    trip_ints: Any,
    trip_floats: Any,
    events: Any,
) -> tuple[int, int, int]:
    """Fill ``out`` (result rows x n), ``u_rel`` and ``load_p`` for every reading, ``roll`` with partial sums, ``trip_ints`` and
    ``trip_floats`` with versions of trips, ``events``; return how many sums, versions and events there are.

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
    lat, lon, hdop, grade = r.lat_deg, r.lon_deg, r.hdop, r.grade_pct
    cargo, units_loaded, units_empty, number = r.cargo_kg, r.load_units_loaded, r.load_units_empty, r.route_number
    torque, friction, ref_torque = r.engine_torque_pct, r.engine_friction_torque_pct, r.engine_ref_torque_nm
    pto_kw = r.pto_power_kw
    level_pct, soc_pct, topup_kg = r.fuel_level_pct, r.battery_soc_pct, r.refrigerant_topup_total_kg
    n_rolls, n_trips, n_events = 0, 0, 0
    for i in range(device.size):
        d = device[i]
        state = states[d]
        p = params[d]
        time_ns = time[i]
        for row in range(out.shape[0]):
            out[row, i] = UNKNOWN
        for row in _CODES:
            out[row, i] = 0
        for row in _NAMES:
            out[row, i] = -1
        u = math.nan
        kmh = math.nan
        told = False
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
                kmh = gps_speed[i] if math.isnan(wheel_kmh) else wheel_kmh
                driven = out[DISTANCE, i]
                did = follow(
                    state,
                    geography,
                    time_ns,
                    dt_s,
                    speed[i],
                    gps_speed[i],
                    driven,
                    lat[i],
                    lon[i],
                    hdop[i],
                    rpm[i],
                    switches[i],
                )
                if did:
                    told = True
                    if did & CLOSED or (
                        did & STARTED and state["trip_version"] > 0 and state["trip_end_ns"] == UNKNOWN
                    ):
                        close_trip(state, p, geography)
                    if did & STARTED:
                        if open_rollup[d] >= 0:
                            add_rollup(state, roll, open_rollup[d])
                            open_rollup[d] = -1
                        if state["trip_version"] > 0:
                            finish_trip(state, p, geography, time_ns)
                            n_trips = write_version(state, p, d, roll, -1, trip_ints, trip_floats, n_trips)
                        start_trip(state, p, geography, time_ns)
                hold_signals(state, geography, cargo[i], units_loaded[i], units_empty[i], number[i], time_ns)
                if state["trip_phase"] != STOPPED:
                    v_ms = kmh / 3.6
                    state["trip_top_kmh"] = max(state["trip_top_kmh"], kmh)
                    scales_row(state, p["tare_kg"], p["gvw_kg"], gross_kg[i], v_ms, time_ns)
                    can_row(
                        state,
                        p,
                        v_ms,
                        rpm[i],
                        torque[i],
                        friction[i],
                        ref_torque[i],
                        battery_kw[i],
                        0.01 * grade[i],
                        brakes(switches[i]),
                        time_ns,
                    )
                    if time_ns >= state["decide_ns"]:
                        told |= look_again(state, p, geography, time_ns, lat[i], lon[i], hdop[i])
                follow_region(state, geography, lat[i], lon[i], hdop[i], driven)
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
                    cargo[i],
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
        if is_vehicle:
            out[ROW_ROUTE, i], out[ROW_REGION, i], out[ROW_TRIP, i] = (
                state["trip_route"],
                state["region"],
                state["trip_start_ns"],
            )
            out[LOAD_STATE, i], load_p[i] = state["load_state"], state["load_state_p"]
        else:
            out[ROW_REGION, i], load_p[i] = p["region"], math.nan
        minute_ns = time_ns - time_ns % MINUTE_NS
        j = open_rollup[d]
        if (
            j < 0
            or roll[MINUTE, j] != minute_ns
            or roll[ROLLUP_LOAD_STATE, j] != out[LOAD_STATE, i]
            or roll[TRIP_START, j] != out[ROW_TRIP, i]
            or roll[REGION, j] != out[ROW_REGION, i]
            or roll[ROUTE, j] != out[ROW_ROUTE, i]
        ):
            if j >= 0 and is_vehicle:
                add_rollup(state, roll, j)
            j = n_rolls
            n_rolls += 1
            open_rollup[d] = j
            roll[:, j] = 0
            roll[MINUTE, j] = minute_ns
            roll[KIND, j] = p["kind"]
            roll[ASSET, j] = p["asset"]
            roll[ROUTE, j] = out[ROW_ROUTE, i]
            roll[REGION, j] = out[ROW_REGION, i]
            roll[TRIP_START, j] = out[ROW_TRIP, i]
            roll[ROLLUP_LOAD_STATE, j] = out[LOAD_STATE, i]
            roll[NEWEST_TIME, j] = time_ns
            roll[NEWEST_RECEIVED, j] = received[i]
        roll[READINGS, j] += 1
        roll[NEWEST_TIME, j] = max(roll[NEWEST_TIME, j], time_ns)
        roll[NEWEST_RECEIVED, j] = max(roll[NEWEST_RECEIVED, j], received[i])
        _add(roll, j, out, i, u, is_vehicle)
        dt_us = out[DT, i]
        if is_vehicle and dt_us != UNKNOWN and dt_us <= GAP_S * 1e6:
            _add_time(roll, j, state, dt_us, kmh, rpm[i], switches[i], pto_kw[i])
        if told:
            n_trips = write_version(state, p, d, roll, j, trip_ints, trip_floats, n_trips)
    for d in range(open_rollup.size):
        if open_rollup[d] >= 0 and params[d]["kind"] == VEHICLE:
            add_rollup(states[d], roll, open_rollup[d])
    return n_rolls, n_trips, n_events
