"""What changes slowly around a vehicle: weather, its weight, its reference torque. Sent rarely or on change, so held for an hour."""

import math
from typing import Any, Final

from stream.kernel import inlined, kernel
from stream.road_load import STANDARD_TEMP_C, air_density, pressure_at, tyre_factor

HELD_NS: Final = 3_600_000_000_000
HEIGHT_STEP_M: Final = 25.0  # air density changes by 0.3 % over it
WEIGHT_S: Final = 120.0  # axle loads swing with slope, brakes and road: their mean over this
NEW_LOAD: Final = 0.15  # a weight this far from the mean is another load, taken at once
LEAST_OF_TARE: Final = 0.7  # a gross weight below it, or above 1.3 of what is permitted, is a fault of the sensor
MOST_OF_GVW: Final = 1.3
U_MASS_REL: Final = 0.12  # of a trip's fuel where the load is not known: empty to full is 40 %
U_GRADE_REL: Final = 0.10  # of a trip where hills are not known
U_GRADE_FILTER_REL: Final = 0.05
U_RAIN_REL: Final = 0.05  # half of what the low-confidence modifiers change (science reference 3.4)
U_SNOW_REL: Final = 0.15
U_ROUGH_REL: Final = 0.03
U_PTO_REL: Final = 0.15


@inlined
def held_air(state: Any, time_ns: int) -> bool:
    """Forget what was heard more than an hour ago; whether air density and tyre factor are not known any more, or not yet."""
    old = time_ns - state["slow_ns"] > HELD_NS
    if old:
        state["temp_c"] = math.nan
        state["baro_kpa"] = math.nan
        state["wind_speed_ms"] = math.nan
        state["wind_from_deg"] = math.nan
        state["rain_mm_h"] = math.nan
        state["gross_kg"] = math.nan
        state["rho_height_m"] = math.nan
        state["slow_ns"] = time_ns
    return bool(old)


@inlined
def hear_weather(
    state: Any,
    baro_kpa: float,
    wind_ms: float,
    wind_from_deg: float,
    rain_mm_h: float,
    ref_torque_nm: float,
    time_ns: int,
) -> bool:
    """Keep what a reading says beside temperature and weight (NaN = nothing new); whether it changes the air.

    p ``baro_kpa`` [kPa], w ``wind_ms`` [m/s] from ``wind_from_deg`` [°], ``rain_mm_h`` [mm/h], T_ref ``ref_torque_nm`` [N m].
    """
    heard, air = False, False
    if baro_kpa == baro_kpa:
        heard = True
        air |= baro_kpa != state["baro_kpa"]
        state["baro_kpa"] = baro_kpa
    if rain_mm_h == rain_mm_h:
        heard = True
        air |= rain_mm_h != state["rain_mm_h"]
        state["rain_mm_h"] = rain_mm_h
    if wind_ms == wind_ms:
        heard = True
        state["wind_speed_ms"] = wind_ms
    if wind_from_deg == wind_from_deg:
        heard = True
        state["wind_from_deg"] = wind_from_deg
    if ref_torque_nm == ref_torque_nm:
        state["ref_torque_nm"] = ref_torque_nm
    if heard:
        state["slow_ns"] = time_ns
    return air


@inlined
def observe(state: Any, air: bool, temp_c: float, alt_m: float, gross_kg: float, time_ns: int, dt_s: float) -> None:
    """Keep what a reading says of temperature and weight (NaN = nothing new) and the air density and tyre factor that follow (Eq. 1, 2, 6).

    T ``temp_c`` [°C], h ``alt_m`` [m], m ``gross_kg`` [kg], ``dt_s`` since the reading before [s]; ``air``: ``held_air`` or
    ``hear_weather`` ask for a new density. Each is held an hour. GNSS altitude serves where pressure is not measured: its 20 m are
    0.2 % of density. A weight is the mean over 120 s; 15 % off it is another load.
    """
    if temp_c == temp_c:
        air |= temp_c != state["temp_c"]
        state["temp_c"] = temp_c
        state["slow_ns"] = time_ns
    if gross_kg == gross_kg:
        state["slow_ns"] = time_ns
        mean = state["gross_kg"]
        if dt_s < WEIGHT_S and abs(gross_kg - mean) < NEW_LOAD * mean:
            state["gross_kg"] = mean + dt_s * (1.0 / WEIGHT_S) * (gross_kg - mean)
        else:
            state["gross_kg"] = gross_kg
    if air or abs(alt_m - state["rho_height_m"]) > HEIGHT_STEP_M:
        height_m = alt_m
        if math.isnan(alt_m):
            height_m = 0.0 if math.isnan(state["rho_height_m"]) else state["rho_height_m"]
        temp = STANDARD_TEMP_C if math.isnan(state["temp_c"]) else state["temp_c"]
        pressure_pa = state["baro_kpa"] * 1000.0
        if math.isnan(pressure_pa):
            pressure_pa = pressure_at(height_m)
        state["rho"] = air_density(temp, pressure_pa, 0.0)
        state["tyre"] = tyre_factor(temp, state["rain_mm_h"])
        state["rho_height_m"] = height_m


@inlined
def mass_of(state: Any, p: Any) -> tuple[float, bool]:
    """(gross mass m [kg], whether it is known): of the trip by all evidence, else weighed, else tare and order, else half loaded.

    A weight counts from 0.7 of tare to 1.3 of what is permitted. Error: 5 % weighed, 6 % by torque, 40 % of capacity where assumed.
    """
    if state["mass_kg"] > 0.0:
        return state["mass_kg"], True
    gross = state["gross_kg"]
    if state["weight_bad"] == 0 and LEAST_OF_TARE * p["tare_kg"] < gross < MOST_OF_GVW * p["gvw_kg"]:
        return gross, True
    cargo = state["cargo_kg"]
    if cargo >= 0.0:
        return p["tare_kg"] + cargo, True
    return p["mass_kg"], False


@kernel
def widened(
    state: Any, u_rel: float, mass_known: bool, grade_known: bool, grade_filtered: bool, rough: bool, pto_assumed: bool
) -> float:
    """Half-width u of the 95 % interval of a modelled trip [1] with what was assumed in it: squares add up (IPCC 2006, approach 1).

    ``u_rel``: of the model where load, hills and weather are known. Adds 12 % for an unknown load, 10 % for unknown hills, 5 % for
    filtered ones, 5 % rain, 15 % snow, 3 % a roughness from the map, 15 % a power take-off of assumed power.
    """
    u2 = u_rel * u_rel
    if not mass_known:
        u2 += U_MASS_REL * U_MASS_REL
    if grade_filtered:
        u2 += U_GRADE_FILTER_REL * U_GRADE_FILTER_REL
    elif not grade_known:
        u2 += U_GRADE_REL * U_GRADE_REL
    if state["rain_mm_h"] > 0.0:
        more = U_SNOW_REL if state["temp_c"] < 1.0 else U_RAIN_REL
        u2 += more * more
    if rough:
        u2 += U_ROUGH_REL * U_ROUGH_REL
    if pto_assumed:
        u2 += U_PTO_REL * U_PTO_REL
    return math.sqrt(u2)
