"""The loop over readings: distance, fuel or energy, emissions and the minute's partial sums, one row after another."""

import math
from typing import Any, Final

from stream.attribution import battery_ways, engine_ways, part_of, scale
from stream.columns import ASSET_KINDS, UNKNOWN
from stream.conditions import mass_of, observe, widened
from stream.counters import HOLD_S
from stream.distance import MS_PER_KMH, PER_HOUR, distance, integrate
from stream.emissions import U_COUNTER_REL, add_adblue, add_tru, battery_co2e, fuel_co2e, leaked
from stream.events import act, notice, refrigerant
from stream.fixed import PER_UNIT, plus
from stream.fuel import (
    COUNTER,
    COUNTER_GAP,
    COUNTER_HR,
    FLOW_METER,
    METER,
    MODEL,
    RATE,
    U_TRU_MODEL_REL,
    battery_energy,
    by_torque,
    gas_fuel,
    liquid_fuel,
    standing_s,
    tru_fuel,
)
from stream.grade import BY_FILTER, BY_MAP, filtered_grade, height_of
from stream.hindsight import keep_trip, look_back
from stream.kernel import kernel
from stream.mass import GRADE_TRUST, can_row, scales_row
from stream.plausibility import usable_odometer_m, usable_wheel_kmh
from stream.result_rows import BLOCK, add_row, begin_sum, blank_row, holds, put_block
from stream.road_load import (
    ENGINE_OFF_RPM,
    air_drag_n,
    apparent_wind,
    battery_power_kw,
    engine_fuel_g_per_h,
    hvac_kw,
    road_powers_w,
    rough_factor,
    torque_fuel_g_per_h,
)
from stream.site import site_energy, site_work
from stream.table import (
    BY_FIRST,
    CO2E_TTW,
    CO2E_WTT,
    DISTANCE,
    DISTANCE_METHOD,
    DT,
    ENERGY,
    FIRST_SUM,
    FUEL_GAS,
    FUEL_LIQUID,
    LOAD_STATE,
    MEASURED,
    METHOD,
    NEWEST_RECEIVED,
    NEWEST_TIME,
    ROW_ASSET,
    ROW_REGION,
    ROW_ROUTE,
    ROW_TRIP,
)
from stream.transport import payload, pto_switched, time_use, transport
from stream.trip_rows import add_rollup, write_version
from stream.trips import (
    CLOSED,
    LOOK,
    STARTED,
    STOPPED,
    close_trip,
    dispatch,
    find_region,
    find_start,
    finish_trip,
    follow,
    hold_signals,
    look_again,
    region_due,
    start_is_open,
    start_trip,
    stop_at_place,
)
from stream.uncertainty import (
    N_PARTS,
    U_MODEL_SECOND_REL,
    U_TORQUE_SECOND_REL,
    add_parts,
    battery_parts,
    begin_spans,
    fuel_parts,
    u_rel_of,
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
    "grid_export_kwh",
    "pv_kwh",
    "heat_kwh",
    "forklift_kwh",
    "goods_out_total_kg",
    "pallets_in_total",
    "pallets_out_total",
    "pallets_stored",
    "adblue_total_l",
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
    "heading_deg",
    "wind_speed_ms",
    "wind_from_deg",
    "precipitation_mm_h",
    "road_iri_m_per_km",
)
IGNITION_BIT: Final = 4  # of the signal ``switches``
UNSEEN_IDLE_S: Final = (
    600.0  # standing longer without engine speed or ignition signal, nobody knows whether the engine runs
)
RAD_S_PER_RPM: Final = math.pi / 30.0
BRAKE_BIT: Final = 5
VEHICLE: Final = ASSET_KINDS.index("vehicle")
MOVING_MS: Final = 5.0 / 3.6
_MEASURED_METHODS: Final = (COUNTER_HR, COUNTER, COUNTER_GAP, FLOW_METER, RATE, METER)


@kernel
def _speeds(state: Any, speed_kmh: float, gps_speed_kmh: float) -> tuple[float, float]:
    """Speed at both ends of the interval [m/s]: of the wheels, else of the receiver, never one of each."""
    v0, v1 = state["speed_kmh"], speed_kmh
    if math.isnan(v0) or math.isnan(v1):
        v0, v1 = state["gps_speed_kmh"], gps_speed_kmh
    return v0 * MS_PER_KMH, v1 * MS_PER_KMH


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
def brakes(switches: float) -> bool:
    """Whether the service brake is known to be on (bit 5)."""
    return not math.isnan(switches) and (int(switches) >> BRAKE_BIT) & 1 == 1


@kernel
def advance_rows(
    r: Any,
    slot: Any,
    owner: Any,
    params: Any,
    geography: Any,
    states: Any,
    out: Any,
    codes: Any,
    u_rel: Any,
    load_p: Any,
    roll: Any,
    open_rollup: Any,
    trip_ints: Any,
    trip_floats: Any,
    events: Any,
    block: Any,
    part: Any,
) -> tuple[int, int, int]:
    """Fill ``out`` (int64 columns x n), ``codes`` (int32 columns x n), ``u_rel`` and ``load_p`` for every reading, ``roll`` with
    partial sums, ``trip_ints`` and ``trip_floats`` with versions of trips, ``events``; return how many sums, versions and events
    there are. ``block`` (rows of emissions before they become columns) and ``part`` (of a reading's error) are room to work in.
    ``states`` and ``open_rollup`` have one row per device that has readings here: ``slot`` names that of each reading, ``owner``
    the device of each.

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
    grid_kwh, export_kwh, pv_kwh = r.grid_import_kwh, r.grid_export_kwh, r.pv_kwh
    gas_kwh, genset_l, heat_kwh, forklift_kwh = r.gas_kwh_gross, r.genset_fuel_total_l, r.heat_kwh, r.forklift_kwh
    goods_kg, inward, outward, stored = r.goods_out_total_kg, r.pallets_in_total, r.pallets_out_total, r.pallets_stored
    adblue_l = r.adblue_total_l
    lat, lon, hdop, grade = r.lat_deg, r.lon_deg, r.hdop, r.grade_pct
    cargo, units_loaded, units_empty, number = r.cargo_kg, r.load_units_loaded, r.load_units_empty, r.route_number
    torque, friction, ref_torque = r.engine_torque_pct, r.engine_friction_torque_pct, r.engine_ref_torque_nm
    pto_kw = r.pto_power_kw
    heading, wind, wind_from, rain, iri = (
        r.heading_deg,
        r.wind_speed_ms,
        r.wind_from_deg,
        r.precipitation_mm_h,
        r.road_iri_m_per_km,
    )
    level_pct, soc_pct, topup_kg = r.fuel_level_pct, r.battery_soc_pct, r.refrigerant_topup_total_kg
    n_rolls, n_trips, n_events = 0, 0, 0
    for i in range(device.size):
        d, s = device[i], slot[i]
        state = states[s]
        p = params[d]
        time_ns = time[i]
        b = i % BLOCK
        if b == 0 and i > 0:
            put_block(block, BLOCK, out, codes, i - BLOCK)
        blank_row(block, b)
        for k in range(N_PARTS):
            part[k] = 0.0
        kmh = math.nan
        told = False
        ways = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        ug_per_rate, rate = 0.0, 0.0
        is_vehicle = p["kind"] == VEHICLE
        newer = state["time_ns"] == UNKNOWN or time_ns > state["time_ns"]
        if newer:
            dt_s = math.nan
            if state["time_ns"] != UNKNOWN:
                block[DT, b] = (time_ns - state["time_ns"]) // 1000
                dt_s = (time_ns - state["time_ns"]) * 1e-9
            if is_vehicle:
                wheel_kmh = usable_wheel_kmh(state, speed[i])
                block[DISTANCE, b], block[DISTANCE_METHOD, b] = distance(
                    state, usable_odometer_m(state, odometer[i]), wheel_kmh, gps_speed[i], time_ns, dt_s
                )
                amount = UNKNOWN
                v0, v1 = _speeds(state, wheel_kmh, gps_speed[i])
                v = 0.5 * (v0 + v1)
                observe(
                    state, temp[i], baro[i], alt[i], wind[i], wind_from[i], rain[i], gross_kg[i],
                    ref_torque[i], time_ns, dt_s,
                )  # fmt: skip
                slope, grade_source = filtered_grade(state, height_of(alt[i], hdop[i], baro[i]), v * dt_s)
                if not math.isnan(grade[i]):
                    slope, grade_source = grade[i] * 0.01, BY_MAP
                moved = 0.0 < dt_s <= HOLD_S and not math.isnan(v)
                hours = dt_s * PER_HOUR if moved else math.nan
                pto = 0.0
                if not math.isnan(pto_kw[i]):
                    pto = max(pto_kw[i], 0.0)
                elif pto_switched(switches[i]):
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
                        v0, v1, dt_s, mass, p["f_rot"], crr, slope, drag_n
                    )
                    wheel_w = roll_w + air_w + climb_w + kinetic_w
                empty = min(p["tare_kg"] / mass, 1.0) if mass_known else 1.0
                if p["has_battery"]:
                    aux_kw = pto if ignition_off(switches[i]) else p["aux_kw"] + hvac_kw(state["temp_c"]) + pto
                    rate = battery_power_kw(
                        wheel_w, v, aux_kw, p["p_rated_kw"], p["eta_drive"], p["eta_regen"], soc_pct[i]
                    )
                    amount, method, u = battery_energy(
                        state, p, battery_kwh[i], battery_kw[i], rate * hours, time_ns, dt_s
                    )
                    block[ENERGY, b], block[METHOD, b] = amount, method
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
                    elif not seen and standing_s(state, time_ns) > UNSEEN_IDLE_S:
                        rate = math.nan
                    reference = p["ref_torque_nm"] if math.isnan(state["ref_torque_nm"]) else state["ref_torque_nm"]
                    indicated_kw = torque[i] * rpm[i] * reference * (1e-5 * RAD_S_PER_RPM)
                    per_h = hours * p["fuel_per_g"]
                    by_road = rate * per_h
                    torque_use = math.nan
                    indicated_kwh = integrate(state["engine_kw"], indicated_kw, dt_s, PER_HOUR)
                    if not math.isnan(indicated_kwh):
                        torque_use = torque_fuel_g_per_h(indicated_kwh, p["willans_b"]) * p["fuel_per_g"]
                    if p["fuel_is_gas"]:
                        amount, method, u = gas_fuel(state, p, gas_kg[i], by_road, torque_use, time_ns, dt_s)
                        block[FUEL_GAS, b] = amount
                    else:
                        running = rpm[i] > ENGINE_OFF_RPM or v > MOVING_MS
                        amount, method, u = liquid_fuel(
                            state, p, fuel_hr[i], fuel_total[i], fuel_flow[i], level_pct[i], fuel_rate[i], by_road,
                            torque_use, running, time_ns, dt_s,
                        )  # fmt: skip
                        block[FUEL_LIQUID, b] = amount
                    block[METHOD, b] = method
                    state["engine_kw"] = indicated_kw
                    ug_per_rate = state["road"]["ratio"] * per_h * (p["fuel_ttw"] + p["fuel_wtt"]) * PER_UNIT
                u_second = U_MODEL_SECOND_REL
                if method == MODEL and not p["has_battery"] and by_torque(state, p, torque_use):
                    u_second = U_TORQUE_SECOND_REL
                elif method == MODEL:
                    u = widened(
                        state, u, mass_known, grade_source == BY_MAP, grade_source == BY_FILTER,
                        not math.isnan(iri[i]), pto > 0.0 and math.isnan(pto_kw[i]),
                    )  # fmt: skip
                if p["has_battery"]:
                    battery_co2e(block, b, amount, p)
                    if block[CO2E_WTT, b] != UNKNOWN:
                        battery_parts(part, p, state, method, block[CO2E_WTT, b], dt_s, u)
                elif p["has_fuel"]:
                    fuel_co2e(block, b, amount, p)
                    if amount > 0:
                        fuel_parts(part, p, state, method, block[CO2E_TTW, b], block[CO2E_WTT, b], dt_s, v, u, u_second)
                drive_ug = plus(block[CO2E_TTW, b], block[CO2E_WTT, b])
                if drive_ug == UNKNOWN or math.isnan(ug_per_rate * rate):
                    ug_per_rate = 0.0
                else:
                    if p["has_battery"]:
                        ways = battery_ways(roll_w, air_w, climb_w, kinetic_w, empty, v, aux_kw, soc_pct[i], rate, p)
                    else:
                        ways = engine_ways(
                            roll_w, air_w, climb_w, kinetic_w, empty, v, p["aux_kw"], pto, turns, rate, p
                        )
                    ug_per_rate = scale(drive_ug, ug_per_rate, rate)
                tru_nl, tru_modelled = tru_fuel(state, p["tru_lph"], tru_l[i], switches[i], time_ns, dt_s)
                add_tru(block, b, state, tru_nl, U_TRU_MODEL_REL if tru_modelled else U_COUNTER_REL, p, part)
                if not math.isnan(adblue_l[i]) or state["adblue_owed_nl"] != 0:
                    add_adblue(block, b, state, adblue_l[i], time_ns, p, part)
                level = soc_pct[i] if p["has_battery"] else level_pct[i]
                found = notice(
                    state, p, lat[i], lon[i], hdop[i], speed[i], gps_speed[i], odometer[i], rpm[i], fuel_rate[i],
                    switches[i], gross_kg[i], cargo[i], fuel_hr[i], fuel_total[i], level, amount, time_ns, dt_s,
                )  # fmt: skip
                if found != 0:
                    n_events = act(
                        found, state, p, lat[i], lon[i], hdop[i], speed[i], gps_speed[i], gross_kg[i], fuel_hr[i],
                        fuel_total[i], block[METHOD, b], time_ns, dt_s, events, n_events, d,
                    )  # fmt: skip
                kmh = gps_speed[i] if math.isnan(wheel_kmh) else wheel_kmh
                driven = block[DISTANCE, b]
                did = follow(
                    state,
                    time_ns,
                    dt_s,
                    wheel_kmh,
                    gps_speed[i],
                    driven,
                    lat[i],
                    lon[i],
                    hdop[i],
                    rpm[i],
                    switches[i],
                )
                if did & LOOK:
                    did = stop_at_place(state, geography)
                if did:
                    told = True
                    if did & CLOSED or (
                        did & STARTED and state["trip_version"] > 0 and state["trip_end_ns"] == UNKNOWN
                    ):
                        close_trip(state, p, geography)
                        n_trips = look_back(state, p, geography, trip_ints, trip_floats, n_trips)
                    if did & STARTED:
                        if open_rollup[s] >= 0:
                            add_rollup(state, roll, open_rollup[s])
                            open_rollup[s] = -1
                        if state["trip_version"] > 0:
                            finish_trip(state, p, geography, time_ns)
                            n_trips = write_version(state, p, d, roll, -1, trip_ints, trip_floats, n_trips)
                            keep_trip(state, p, geography, trip_ints, trip_floats, n_trips - 1, time_ns)
                        start_trip(state, p, geography, time_ns)
                        begin_spans(state)
                if hold_signals(state, cargo[i], units_loaded[i], units_empty[i], number[i], time_ns):
                    dispatch(state, geography)
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
                        slope if grade_source == BY_MAP else GRADE_TRUST * slope,
                        brakes(switches[i]),
                        time_ns,
                    )
                    if start_is_open(state, time_ns) and not math.isnan(lat[i]):
                        find_start(state, geography, lat[i], lon[i], hdop[i])
                    if time_ns >= state["decide_ns"]:
                        told |= look_again(state, p, geography, time_ns)
                if region_due(state, driven) and not math.isnan(lat[i]):
                    find_region(state, geography, lat[i], lon[i], hdop[i])
                state["speed_kmh"] = wheel_kmh
                state["gps_speed_kmh"] = gps_speed[i]
                state["fuel_rate_lph"] = fuel_rate[i]
                state["battery_power_kw"] = battery_kw[i]
        if is_vehicle:
            route, region, trip_ns = state["trip_route"], state["region"], state["trip_start_ns"]
            load_state, load_p[i] = state["load_state"], state["load_state_p"]
        else:
            route, region, trip_ns, load_state, load_p[i] = -1, p["region"], UNKNOWN, 0, math.nan
        block[ROW_ASSET, b], block[ROW_ROUTE, b], block[ROW_REGION, b] = p["asset"], route, region
        block[ROW_TRIP, b], block[LOAD_STATE, b] = trip_ns, load_state
        j = open_rollup[s]
        if not holds(roll, j, time_ns, route, region, trip_ns, load_state):
            if j >= 0 and is_vehicle:
                add_rollup(state, roll, j)
            j = n_rolls
            n_rolls += 1
            open_rollup[s] = j
            begin_sum(roll, j, p, time_ns, received[i], route, region, trip_ns, load_state)
        sums = roll[FIRST_SUM:NEWEST_TIME, j]
        if newer:
            if not is_vehicle:
                site_energy(
                    state, p, grid_kwh[i], export_kwh[i], pv_kwh[i], gas_kwh[i], genset_l[i], heat_kwh[i], time_ns, b,
                    block, part, sums,
                )  # fmt: skip
                site_work(
                    state, forklift_kwh[i], goods_kg[i], inward[i], outward[i], stored[i], time_ns, b, block, sums
                )
            if not math.isnan(topup_kg[i]):
                leaked(block, b, state, topup_kg[i], time_ns, p, sums)
                n_events = refrigerant(state, topup_kg[i], time_ns, events, n_events, d)
            state["time_ns"] = time_ns
        u_rel[i] = math.nan
        total_ug = plus(block[CO2E_TTW, b], block[CO2E_WTT, b])
        if total_ug != UNKNOWN:
            u_rel[i] = u_rel_of(part, float(total_ug))
            add_parts(part, sums)
            if block[METHOD, b] in _MEASURED_METHODS:
                sums[MEASURED] += total_ug
            if is_vehicle:
                by_roll, by_air = part_of(ways[0], ug_per_rate), part_of(ways[1], ug_per_rate)
                by_grade, by_speed = part_of(ways[2], ug_per_rate), part_of(ways[3], ug_per_rate)
                by_idle, by_aux = part_of(ways[4], ug_per_rate), part_of(ways[5], ug_per_rate)
                by_load = part_of(ways[6], ug_per_rate)
                sums[BY_FIRST] += by_roll
                sums[BY_FIRST + 1] += by_air
                sums[BY_FIRST + 2] += by_grade
                sums[BY_FIRST + 3] += by_speed
                sums[BY_FIRST + 4] += by_idle
                sums[BY_FIRST + 5] += by_aux
                sums[BY_FIRST + 6] += by_load
                sums[BY_FIRST + 7] += total_ug - by_roll - by_air - by_grade - by_speed - by_idle - by_aux - by_load
        if is_vehicle:
            transport(block, b, p, payload(p, state, gross_kg[i], cargo[i]), sums)
            time_use(block, b, state, kmh, rpm[i], switches[i], pto_kw[i], sums)
        add_row(block, b, is_vehicle, sums)
        roll[NEWEST_TIME, j] = max(roll[NEWEST_TIME, j], time_ns)
        roll[NEWEST_RECEIVED, j] = max(roll[NEWEST_RECEIVED, j], received[i])
        if told:
            n_trips = write_version(state, p, d, roll, j, trip_ints, trip_floats, n_trips)
    n = device.size
    last = n % BLOCK if n % BLOCK > 0 else min(n, BLOCK)
    put_block(block, last, out, codes, n - last)
    for s in range(open_rollup.size):
        if open_rollup[s] >= 0 and params[owner[s]]["kind"] == VEHICLE:
            add_rollup(states[s], roll, open_rollup[s])
    return n_rolls, n_trips, n_events
