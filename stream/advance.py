"""The loop over readings: distance, fuel or energy, emissions and the minute's partial sums, one row after another."""

import math
from typing import Any, Final

import numpy as np

from stream import signal_rows as at
from stream.co2e_rows import (
    ADBLUE,
    AIR,
    AMOUNT,
    AUX,
    CLIMB,
    DT_S,
    DUE,
    IDLE_RPM,
    KINETIC,
    KMH,
    LOAD_P,
    MASS,
    PAYLOAD,
    PER_RATE,
    PTO,
    RATE_MODELLED,
    ROLL,
    SOC,
    TAUGHT,
    TICK,
    TRU_U,
    TURNS,
    U_SECOND,
    U_SHAPED,
    VEHICLE,
    blank_work,
    book_rows,
    put_reals,
)
from stream.co2e_rows import U as U_AMOUNT
from stream.co2e_rows import V as MEAN_SPEED
from stream.columns import UNKNOWN
from stream.conditions import hear_weather, held_air, mass_of, observe, widened
from stream.counters import HOLD_S
from stream.distance import MS_PER_KMH, PER_HOUR, distance, integrate
from stream.emissions import U_COUNTER_REL, adblue_due, leaked, tru_due
from stream.events import act, notice, refrigerant
from stream.fixed import times, whole_us
from stream.fuel import (
    MODEL,
    NONE,
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
from stream.kernel import inlined, kernel
from stream.lanes import expect_at, expect_record, take, written
from stream.mass import GRADE_TRUST, can_row, scales_row
from stream.plausibility import usable_odometer_m, usable_wheel_kmh
from stream.result_rows import begin_sum, blank_rows, holds, put_block
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
from stream.signal_rows import ENGINE, EXTRAS, HEIGHTS, ORDERS, WEATHER, WORD, far_columns
from stream.site import site_energy, site_work
from stream.table import (
    BLOCK,
    DISTANCE,
    DISTANCE_METHOD,
    DT,
    ENERGY,
    FIRST_SUM,
    FUEL_GAS,
    FUEL_LIQUID,
    LOAD_STATE,
    METHOD,
    NEWEST_TIME,
    ROOM,
    ROW_ASSET,
    ROW_REGION,
    ROW_ROUTE,
    ROW_TRIP,
    TRU_FUEL,
)
from stream.transport import payload, pto_switched, switch_bits, work_by_pto
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
    battery_tick,
    begin_spans,
    fuel_tick,
)

IGNITION_BIT: Final = 4  # of the signal ``switches``
UNSEEN_IDLE_S: Final = (
    600.0  # standing longer without engine speed or ignition signal, nobody knows whether the engine runs
)
RAD_S_PER_RPM: Final = math.pi / 30.0
BRAKE_BIT: Final = 5
MOVING_MS: Final = 5.0 / 3.6
AHEAD: Final = 6  # rows before a device's first one its record is asked for: 3 kB, most of it far away


@kernel
def _speeds(state: Any, speed_kmh: float, gps_speed_kmh: float) -> tuple[float, float]:
    """Speed at both ends of the interval [m/s]: of the wheels, else of the receiver, never one of each."""
    v0, v1 = state["speed_kmh"], speed_kmh
    if math.isnan(v0) or math.isnan(v1):
        v0, v1 = state["gps_speed_kmh"], gps_speed_kmh
    return v0 * MS_PER_KMH, v1 * MS_PER_KMH


@inlined
def _index(n: int) -> Any:
    """``n``, >= 0, as an index: one that may be negative is looked at twice."""
    return np.uint32(n)


@inlined
def ignition_off(switches: int) -> bool:
    """Whether the ignition is known to be off (bit 4)."""
    return switches != UNKNOWN and (switches >> IGNITION_BIT) & 1 == 0


@inlined
def _engine_off(rpm: float, switches: int) -> bool:
    """Whether the engine is known not to turn: by its speed, else by the ignition."""
    if not math.isnan(rpm):
        return rpm < ENGINE_OFF_RPM
    return ignition_off(switches)


@inlined
def brakes(switches: int) -> bool:
    """Whether the service brake is known to be on (bit 5)."""
    return switches != UNKNOWN and (switches >> BRAKE_BIT) & 1 == 1


@inlined
def _known(amount: int, p: Any) -> bool:
    """Whether ``amount`` of fuel or energy has a CO2e."""
    if p["has_battery"]:
        return times(amount, p["grid_total"]) != UNKNOWN
    return times(amount, p["fuel_ttw"]) != UNKNOWN and times(amount, p["fuel_wtt"]) != UNKNOWN


@kernel
def advance_rows(
    device: Any,
    time: Any,
    received: Any,
    columns: Any,
    sent: int,
    slot: Any,
    owner: Any,
    params: Any,
    geography: Any,
    states: Any,
    out: Any,
    codes: Any,
    reals: Any,
    roll: Any,
    open_rollup: Any,
    trip_ints: Any,
    trip_floats: Any,
    events: Any,
    block: Any,
    work: Any,
    sum_of: Any,
    signals: Any,
    far: Any,
) -> tuple[int, int, int]:
    """Fill ``out`` (int64 columns x n), ``codes`` (int32 columns x n) and ``reals`` (float64 columns x n) for every reading, ``roll`` with
    partial sums, ``trip_ints`` and ``trip_floats`` with versions of trips, ``events``; return how many sums, versions and events
    there are. ``block`` (rows of emissions before they become columns), ``work`` (what their CO2e needs) and ``sum_of`` (their
    partial sums), ``signals``, ``far`` are room to work in. ``columns``: those of the signals, ``sent``: bits of those that any row has a
    value of. ``states`` and ``open_rollup`` have one row per device that has readings here: ``slot`` names that of each reading,
    ``owner`` the device of each.

    A row that is not newer than the newest taken from its device is kept as a reading, but nothing is computed from it: what the
    counters show then was booked already.
    """
    n_rolls, n_trips, n_events = 0, 0, 0
    n = device.size
    n_far = far_columns(columns, sent, (time, received), far)
    for first in range(0, n, BLOCK):
        rows = min(BLOCK, n - first)
        blank_rows(block)
        blank_work(work)
        heard = take(columns, sent, first, rows, signals)
        one_device = slot[first] == slot[min(first + BLOCK + AHEAD, n) - 1]  # or so it seems: it only saves asking
        booked = 0
        units, sites = False, False
        for b in range(rows):
            i = _index(first + b)
            d, s = _index(device[i]), _index(slot[i])
            state = states[s]
            p = params[d]
            time_ns = time[i]
            if b < n_far:
                expect_at(far[b] + (first + BLOCK) * WORD)
            if b + BLOCK < n_far:
                expect_at(far[b + BLOCK] + (first + BLOCK) * WORD)
            if not one_device and i + AHEAD < n and slot[i + AHEAD] != slot[i + AHEAD - 1]:
                expect_record(states, slot[i + AHEAD])
                expect_record(params, device[i + AHEAD])
            kmh = math.nan
            told = False
            is_vehicle = p["kind"] == VEHICLE
            newer = time_ns > state["time_ns"]  # UNKNOWN is the least there is
            bits = switch_bits(signals[at.SWITCHES + b])
            if newer:
                dt_s = math.nan
                if state["time_ns"] != UNKNOWN:
                    block[DT + b] = whole_us(time_ns - state["time_ns"])
                    dt_s = (time_ns - state["time_ns"]) * 1e-9
                if is_vehicle:
                    held_s = dt_s if 0.0 < dt_s <= HOLD_S else math.nan
                    wheel_kmh = usable_wheel_kmh(state, signals[at.SPEED + b])
                    driven_m = usable_odometer_m(state, signals[at.ODOMETER + b])
                    driven, how = distance(state, driven_m, wheel_kmh, signals[at.GPS_SPEED + b], time_ns, held_s)
                    block[DISTANCE + b], block[DISTANCE_METHOD + b] = driven, how
                    amount, method, u = UNKNOWN, NONE, math.nan
                    tick, due, u_shaped = 0.0, 0.0, 0.0
                    v0, v1 = _speeds(state, wheel_kmh, signals[at.GPS_SPEED + b])
                    v = 0.5 * (v0 + v1)
                    air = held_air(state, time_ns)
                    height, slope = math.nan, math.nan
                    if heard & HEIGHTS:
                        slope = signals[at.GRADE + b] * 0.01
                        height = height_of(signals[at.ALT + b], signals[at.HDOP + b], signals[at.BARO + b])
                    if heard & WEATHER:
                        air |= hear_weather(
                            state,
                            signals[at.BARO + b],
                            signals[at.WIND + b],
                            signals[at.WIND_FROM + b],
                            signals[at.RAIN + b],
                            signals[at.REF_TORQUE + b],
                            time_ns,
                        )
                    observe(state, air, signals[at.TEMP + b], signals[at.ALT + b], signals[at.GROSS + b], time_ns, dt_s)
                    filtered, grade_source = filtered_grade(state, height, v * dt_s)
                    if math.isnan(slope):
                        slope = filtered
                    else:
                        grade_source = BY_MAP
                    moved = not math.isnan(held_s + v)
                    hours = dt_s * PER_HOUR if moved else math.nan
                    pto, pto_assumed = 0.0, False
                    if heard & EXTRAS and not math.isnan(signals[at.PTO_KW + b]):
                        pto = max(signals[at.PTO_KW + b], 0.0)
                    elif pto_switched(bits):
                        pto = p["pto_kw"]
                        pto_assumed = pto > 0.0
                    roll_w, air_w, climb_w, kinetic_w, wheel_w = 0.0, 0.0, 0.0, 0.0, 0.0
                    mass, mass_known = mass_of(state, p)
                    if moved:
                        along, across = 0.0, 0.0
                        if not math.isnan(state["wind_speed_ms"]):
                            along, across = apparent_wind(
                                state["wind_speed_ms"], state["wind_from_deg"], signals[at.HEADING + b]
                            )
                        drag_n = air_drag_n(
                            v, along, across, state["rho"], p["cda_m2"], p["yaw_a1"], p["yaw_a2"], p["yaw_a3"]
                        )
                        crr = p["crr"] * state["tyre"]
                        if heard & EXTRAS and not math.isnan(signals[at.IRI + b]):
                            crr *= rough_factor(signals[at.IRI + b], v)
                        roll_w, air_w, climb_w, kinetic_w = road_powers_w(
                            v0, v1, dt_s, mass, p["f_rot"], crr, slope, drag_n
                        )
                        wheel_w = roll_w + air_w + climb_w + kinetic_w
                    work[ROLL + b], work[AIR + b] = roll_w, air_w
                    work[CLIMB + b], work[KINETIC + b] = climb_w, kinetic_w
                    work[MASS + b] = mass if mass_known else math.nan
                    work[MEAN_SPEED + b], work[DT_S + b], work[PTO + b] = v, dt_s, pto
                    u_second = U_MODEL_SECOND_REL
                    if p["has_battery"]:
                        aux_kw = pto if ignition_off(bits) else p["aux_kw"] + hvac_kw(state["temp_c"]) + pto
                        rate = battery_power_kw(
                            wheel_w, v, aux_kw, p["p_rated_kw"], p["eta_drive"], p["eta_regen"], signals[at.SOC + b]
                        )
                        amount, method, u = battery_energy(
                            state,
                            p,
                            signals[at.BATTERY_KWH + b],
                            signals[at.BATTERY_KW + b],
                            rate * hours,
                            time_ns,
                            held_s,
                            dt_s,
                        )
                        block[ENERGY + b] = amount
                        if _known(amount, p):
                            tick, due = battery_tick(state, method)
                        work[AUX + b], work[SOC + b] = aux_kw, signals[at.SOC + b]
                        work[RATE_MODELLED + b], work[PER_RATE + b] = rate, state["road"]["ratio"] * hours
                    elif p["has_fuel"]:
                        rpm_now = signals[at.RPM + b]
                        turns = 1.0 if math.isnan(rpm_now) else rpm_now / p["cruise_rpm"]
                        rate = engine_fuel_g_per_h(
                            wheel_w, v, p["aux_kw"], pto, p["p_rated_kw"], turns, p["willans_a"], p["willans_b"],
                            p["idle_g_per_h"],
                        )  # fmt: skip
                        if _engine_off(rpm_now, bits):
                            rate = 0.0
                        elif math.isnan(rpm_now) and bits == UNKNOWN and standing_s(state, time_ns) > UNSEEN_IDLE_S:
                            rate = math.nan
                        per_h = hours * p["fuel_per_g"]
                        by_road = rate * per_h
                        indicated_kw, torque_use = math.nan, math.nan
                        if heard & ENGINE:
                            reference = (
                                p["ref_torque_nm"] if math.isnan(state["ref_torque_nm"]) else state["ref_torque_nm"]
                            )
                            indicated_kw = signals[at.TORQUE + b] * rpm_now * reference * (1e-5 * RAD_S_PER_RPM)
                            indicated_kwh = integrate(state["engine_kw"], indicated_kw, held_s, PER_HOUR)
                            if not math.isnan(indicated_kwh):
                                torque_use = torque_fuel_g_per_h(indicated_kwh, p["willans_b"]) * p["fuel_per_g"]
                        state["engine_kw"] = indicated_kw
                        if p["fuel_is_gas"]:
                            amount, method, u = gas_fuel(
                                state, p, signals[at.GAS_TOTAL + b], by_road, torque_use, time_ns, dt_s
                            )
                            block[FUEL_GAS + b] = amount
                        else:
                            running = rpm_now > ENGINE_OFF_RPM or v > MOVING_MS
                            amount, method, u = liquid_fuel(
                                state, p, signals[at.FUEL_HR + b], signals[at.FUEL_TOTAL + b], signals[at.FUEL_FLOW + b],
                                signals[at.LEVEL + b], signals[at.FUEL_RATE + b], by_road, torque_use, running,
                                time_ns, held_s, dt_s,
                            )  # fmt: skip
                            block[FUEL_LIQUID + b] = amount
                        if amount != UNKNOWN:
                            work[AMOUNT + b] = float(amount)
                        if amount > 0:
                            tick, due, u_shaped = fuel_tick(state, p, method)
                        work[TURNS + b] = turns
                        work[RATE_MODELLED + b], work[PER_RATE + b] = rate, state["road"]["ratio"] * per_h
                        if method == MODEL and by_torque(state, p, torque_use):
                            u_second = U_TORQUE_SECOND_REL
                    if method == MODEL and u_second == U_MODEL_SECOND_REL:
                        u = widened(
                            state, u, mass_known, grade_source == BY_MAP, grade_source == BY_FILTER,
                            not math.isnan(signals[at.IRI + b]), pto_assumed,
                        )  # fmt: skip
                    block[METHOD + b] = method
                    work[U_AMOUNT + b], work[U_SECOND + b], work[TAUGHT + b] = u, u_second, state["road"]["modelled"]
                    work[TICK + b], work[DUE + b], work[U_SHAPED + b] = tick, due, u_shaped
                    if heard & EXTRAS or bits != UNKNOWN or state["tru_owed_nl"] != 0:
                        tru_nl, tru_modelled = tru_fuel(
                            state, p["tru_lph"], signals[at.TRU_TOTAL + b], bits, time_ns, dt_s
                        )
                        units = True
                        block[TRU_FUEL + b] = tru_due(state, tru_nl, _known(amount, p))
                        work[TRU_U + b] = U_TRU_MODEL_REL if tru_modelled else U_COUNTER_REL
                    if heard & EXTRAS or state["adblue_owed_nl"] != 0:
                        due_nl = adblue_due(state, signals[at.ADBLUE_TOTAL + b], time_ns, p, _known(amount, p))
                        units = True
                        work[ADBLUE + b] = float(due_nl)
                    found = notice(state, p, signals, b, wheel_kmh, amount, time_ns, dt_s)
                    if found != 0:
                        n_events = act(found, state, p, signals, b, method, time_ns, dt_s, events, n_events, d)
                    kmh = signals[at.GPS_SPEED + b] if math.isnan(wheel_kmh) else wheel_kmh
                    did = follow(state, signals, b, wheel_kmh, driven, time_ns, dt_s)
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
                                book_rows(
                                    block, work, sum_of, device, time, received, params, roll, units, sites, first, booked, b
                                )  # fmt: skip
                                booked = b
                                add_rollup(state, roll, open_rollup[s])
                                open_rollup[s] = -1
                            if state["trip_version"] > 0:
                                finish_trip(state, p, geography, time_ns)
                                n_trips = write_version(state, p, d, roll, -1, trip_ints, trip_floats, n_trips)
                                keep_trip(state, p, geography, trip_ints, trip_floats, n_trips - 1, time_ns)
                            start_trip(state, p, geography, time_ns)
                            begin_spans(state)
                    if heard & ORDERS and hold_signals(
                        state,
                        signals[at.CARGO + b],
                        signals[at.UNITS_LOADED + b],
                        signals[at.UNITS_EMPTY + b],
                        signals[at.ROUTE_NUMBER + b],
                        time_ns,
                    ):
                        dispatch(state, geography)
                    if state["trip_phase"] != STOPPED:
                        v_ms = kmh / 3.6
                        state["trip_top_kmh"] = max(state["trip_top_kmh"], kmh)
                        scales_row(state, p["tare_kg"], p["gvw_kg"], signals[at.GROSS + b], v_ms, time_ns)
                        can_row(
                            state, p, v_ms, signals[at.RPM + b], signals[at.TORQUE + b], signals[at.FRICTION + b],
                            signals[at.REF_TORQUE + b], signals[at.BATTERY_KW + b],
                            slope if grade_source == BY_MAP else GRADE_TRUST * slope, brakes(bits), time_ns,
                        )  # fmt: skip
                        if start_is_open(state, time_ns) and not math.isnan(signals[at.LAT + b]):
                            find_start(state, geography, signals[at.LAT + b], signals[at.LON + b], signals[at.HDOP + b])
                        if time_ns >= state["decide_ns"]:
                            told |= look_again(state, p, geography, time_ns)
                    if region_due(state, driven) and not math.isnan(signals[at.LAT + b]):
                        find_region(state, geography, signals[at.LAT + b], signals[at.LON + b], signals[at.HDOP + b])
                    state["speed_kmh"] = wheel_kmh
                    state["gps_speed_kmh"] = signals[at.GPS_SPEED + b]
                    state["fuel_rate_lph"] = signals[at.FUEL_RATE + b]
                    state["battery_power_kw"] = signals[at.BATTERY_KW + b]
            if is_vehicle:
                route, region, trip_ns = state["trip_route"], state["region"], state["trip_start_ns"]
                load_state, work[LOAD_P + b] = state["load_state"], state["load_state_p"]
            else:
                route, region, trip_ns, load_state, work[LOAD_P + b] = -1, p["region"], UNKNOWN, 0, math.nan
            block[ROW_ASSET + b], block[ROW_ROUTE + b], block[ROW_REGION + b] = p["asset"], route, region
            block[ROW_TRIP + b], block[LOAD_STATE + b] = trip_ns, load_state
            j = open_rollup[s]
            if not holds(roll, j, time_ns, route, region, trip_ns, load_state):
                if j >= 0 and is_vehicle:
                    book_rows(block, work, sum_of, device, time, received, params, roll, units, sites, first, booked, b)
                    booked = b
                    add_rollup(state, roll, j)
                j = n_rolls
                n_rolls += 1
                open_rollup[s] = j
                begin_sum(roll, j, p, time_ns, received[i], route, region, trip_ns, load_state)
            sum_of[b] = j
            if is_vehicle:
                pto_on = signals[at.PTO_KW + b] > 0.0 or pto_switched(bits)
                work[PAYLOAD + b] = payload(p, state, signals[at.GROSS + b], signals[at.CARGO + b])
                work[KMH + b] = kmh
                work[IDLE_RPM + b] = math.nan if pto_on else signals[at.RPM + b]
                if pto_on:
                    work_by_pto(block, b, state, kmh)
            if not is_vehicle:
                sites = True
                for k in range(N_PARTS):
                    work[k * ROOM + b] = 0.0
            if newer:
                if not is_vehicle:
                    sums = roll[FIRST_SUM:NEWEST_TIME, j]
                    site_energy(state, p, signals, time_ns, b, block, work, sums)
                    site_work(state, signals, time_ns, b, block, sums)
                topup_kg = signals[at.TOPUP + b]
                if heard & EXTRAS and not math.isnan(topup_kg):
                    leaked(block, b, state, topup_kg, time_ns, p, roll[FIRST_SUM:NEWEST_TIME, j])
                    n_events = refrigerant(state, topup_kg, time_ns, events, n_events, d)
                state["time_ns"] = time_ns
            if told:
                book_rows(block, work, sum_of, device, time, received, params, roll, units, sites, first, booked, b + 1)
                booked = b + 1
                n_trips = write_version(state, p, d, roll, j, trip_ints, trip_floats, n_trips)
        book_rows(block, work, sum_of, device, time, received, params, roll, units, sites, first, booked, rows)
        put_block(block, rows, out, codes, first)
        put_reals(work, rows, reals, first)
    written()
    for s in range(open_rollup.size):
        if open_rollup[s] >= 0 and params[owner[s]]["kind"] == VEHICLE:
            add_rollup(states[s], roll, open_rollup[s])
    return n_rolls, n_trips, n_events
