"""Power and fuel that a vehicle needs to move as it moved: road load with midpoint kinetic energy, Willans line, battery drive.

Used where fuel or energy is not measured, and to say where measured energy went. SI units inside. Equation numbers are those of
``stream/README.md``; sources: science reference sections 3.1 to 3.5 of the project, named there.
"""

import math
from typing import Final

from stream.kernel import inlined, kernel

GRAVITY: Final = 9.81
GAS_CONSTANT_AIR: Final = 287.05  # J/(kg K), dry
ETA_DRIVELINE: Final = 0.93  # wheel to crankshaft
FUEL_CUT_KMH: Final = 15.0  # above it the clutch is closed: wheels that push the engine cut its fuel
REGEN_MIN_KMH: Final = 7.0
REGEN_FULL_PCT: Final = 97.0  # a battery fuller than this takes no more
TYRE_REFERENCE_C: Final = 25.0  # ISO 28580
TYRE_PER_K: Final = 0.006
TYRE_COLDEST_C: Final = -40.0
TYRE_HOTTEST_C: Final = 60.0
STANDARD_TEMP_C: Final = 15.0
SEA_LEVEL_PA: Final = 101325.0
ENGINE_OFF_RPM: Final = 100.0
STANDING_MS: Final = 0.3
WET: Final = 0.15  # more rolling resistance on a wet road: 1.10 to 1.20 [C]
SNOW: Final = 0.4  # on snow: 1.3 to 2 [C]
WET_FROM_MM_H: Final = 1.0  # rain that wets the whole road; less counts in proportion
SNOW_BELOW_C: Final = 1.0
SMOOTH_IRI: Final = 1.5  # m/km, the road that class defaults are made for
ROUGH_PER_IRI_MS: Final = 1.58e-5 / 0.00516  # VTI/MIRIAM truck: .00414 + .00102 MPD (1 mm) + 1.58e-5 IRI v [C]
STEEPEST: Final = 0.25
YAW_LIMIT: Final = 0.17632698  # tan 10°: beyond it the polynomial is not fitted
DEG: Final = 180.0 / math.pi
HVAC_KW_PER_K: Final = (
    0.1  # heating and cooling of a battery vehicle's cab, -10 °C: 3 kW = +20 to 40 % of a van's energy [C]
)
HVAC_MAX_KW: Final = 3.0
HVAC_LOW_C: Final = 18.0
HVAC_HIGH_C: Final = 24.0
TURNS_LOW: Final = 0.4
TURNS_HIGH: Final = 1.8


@kernel
def air_density(temp_c: float, pressure_pa: float, vapour_pa: float) -> float:
    """Air density rho [kg/m3], 0.7 to 1.6; 1.225 at 15 °C, 101325 Pa, dry.

    Eq. 1: rho = (p - 0.378 e) / (287.05 (T + 273.15)). ``temp_c`` T -50 to 60 °C, ``pressure_pa`` p, ``vapour_pa`` e, 0 = dry air
    (humid air is up to 1 % lighter at 25 °C; no signal tells it). Error 0.3 % of the ideal gas law. Source: ISO 2533.
    """
    return (pressure_pa - 0.378 * vapour_pa) / (GAS_CONSTANT_AIR * (temp_c + 273.15))


@kernel
def pressure_at(altitude_m: float) -> float:
    """Pressure p [Pa] of the standard atmosphere at ``altitude_m`` h, -500 to 9000 m.

    Eq. 2: p = 101325 (1 - 2.25577e-5 h)^5.25588. Source: ISO 2533. Weather adds 3 %.
    """
    return SEA_LEVEL_PA * math.pow(1.0 - 2.25577e-5 * altitude_m, 5.25588)


@kernel
def apparent_wind(wind_ms: float, from_deg: float, heading_deg: float) -> tuple[float, float]:
    """Wind along (head wind positive) and across the way [m/s]; (0, 0) where wind or heading is not known.

    Eq. 3: w_par = w cos(from - heading), w_perp = w sin(from - heading). Weather services err by 1 to 2 m/s.
    """
    angle = (from_deg - heading_deg) / DEG
    if math.isnan(angle) or math.isnan(wind_ms):
        return 0.0, 0.0
    return wind_ms * math.cos(angle), wind_ms * math.sin(angle)


@inlined
def air_drag_n(
    v_ms: float, along_ms: float, across_ms: float, rho: float, cda_m2: float, a1: float, a2: float, a3: float
) -> float:
    """Air drag F_air [N] at road speed v, positive against the motion; a tail wind faster than the vehicle pushes it.

    Eq. 4: v_rel^2 = (v + w_par)^2 + w_perp^2, b = min(|beta|, 10°), tan beta = w_perp / (v + w_par),
    CdA' = CdA + a1 b + a2 b^2 + a3 b^3. Eq. 5: F = rho CdA' v_rel^2 / 2. ``a1`` to ``a3`` [m2/deg^n] by body: VECTO.
    The arc tangent is its series to b^5: wrong by less than 5e-5 degrees below 10°.
    """
    along = v_ms + along_ms
    if across_ms == 0.0:
        return 0.5 * rho * cda_m2 * along * abs(along)
    across = abs(across_ms)
    t = YAW_LIMIT
    if across < YAW_LIMIT * abs(along):
        t = across / abs(along)
    t2 = t * t
    b = DEG * t * (1.0 - t2 * (1.0 / 3.0 - t2 * 0.2))
    area = cda_m2 + b * (a1 + b * (a2 + b * a3))
    force = 0.5 * rho * area * (along * along + across * across)
    return -force if along < 0.0 else force


@kernel
def tyre_factor(temp_c: float, rain_mm_h: float) -> float:
    """Rolling resistance over its value at 25 °C on a dry road: kT kWet [1]. NaN inputs mean 15 °C and dry.

    Eq. 6: kT = 1 - 0.006 (T - 25), T -40 to 60 °C (truck tyre, ISO 28580); kWet up to 1.15 in rain, 1.4 in snow (below 1 °C), in
    proportion up to 1 mm/h. The weather parts are [C]: rain 2 to 5 %, snow 5 to 15 % of fuel.
    """
    temp = STANDARD_TEMP_C if math.isnan(temp_c) else min(max(temp_c, TYRE_COLDEST_C), TYRE_HOTTEST_C)
    factor = 1.0 - TYRE_PER_K * (temp - TYRE_REFERENCE_C)
    if rain_mm_h > 0.0:
        more = SNOW if temp < SNOW_BELOW_C else WET
        factor *= 1.0 + more * min(rain_mm_h / WET_FROM_MM_H, 1.0)
    return factor


@kernel
def rough_factor(iri_m_per_km: float, v_ms: float) -> float:
    """Rolling resistance on a rough road over that on one of IRI 1.5 m/km: kRough [1]; 1 where ``iri_m_per_km`` is NaN.

    Eq. 6: kRough = 1 + 1.58e-5 (IRI - 1.5) v / 0.00516, at least 0.9. Source: VTI/MIRIAM truck regression [C]. IRI 0 to 20.
    """
    if math.isnan(iri_m_per_km):
        return 1.0
    return max(0.9, 1.0 + ROUGH_PER_IRI_MS * (iri_m_per_km - SMOOTH_IRI) * v_ms)


@inlined
def road_powers_w(
    v0_ms: float, v1_ms: float, dt_s: float, mass_kg: float, f_rot: float, crr: float, grade: float, drag_n: float
) -> tuple[float, float, float, float]:
    """Mean power [W] of one interval for rolling, air, climbing and acceleration; the last two are negative when given back.

    ``v0_ms``, ``v1_ms``: speed at both ends, v their mean; ``crr``: with all its factors; ``grade``: rise over run, cut at 25 %.
    Eq. 7: P_roll = m g cos(th) Crr' v, P_climb = m g sin(th) v; Eq. 8: P_kin = m f_rot (v1^2 - v0^2) / (2 dt), which telescopes
    for any dt; Eq. 9: their sum and F_air v is the power at the wheels. cos by its series to the fourth power: 8e-5 at 25 %.
    """
    v = 0.5 * (v0_ms + v1_ms)
    g = min(max(grade, -STEEPEST), STEEPEST)
    g2 = g * g
    weight_w = mass_kg * GRAVITY * (1.0 - g2 * (0.5 - 0.375 * g2)) * v
    kinetic_w = 0.5 * mass_kg * f_rot * (v1_ms - v0_ms) * (v1_ms + v0_ms) / dt_s
    return weight_w * crr, drag_n * v, weight_w * g, kinetic_w


@inlined
def engine_fuel_g_per_h(
    wheel_w: float,
    v_ms: float,
    aux_kw: float,
    pto_kw: float,
    p_rated_kw: float,
    turns: float,
    a: float,
    b: float,
    idle_g_per_h: float,
) -> float:
    """Fuel rate [g/h] by the Willans line, idle floor and rated cap.

    Eq. 10: m = a P_rated n/n_cruise + b P_eng, P_eng = P_w/0.93 + P_aux + P_pto (P_w 0.93 where the wheels push), at most P_rated.
    ``a`` [g/h per kW rated], ``b`` [g/kWh], ``turns`` n/n_cruise (1 where unknown), cut to 0.4 .. 1.8. Above 15 km/h wheels that
    push harder than the engine drags cut the fuel to 0; slower it idles. Error: 5 % of fuel at work, 15 % between trips (CARB).
    """
    if v_ms < STANDING_MS or (wheel_w <= 0.0 and v_ms * 3.6 <= FUEL_CUT_KMH):
        return idle_g_per_h + b * pto_kw
    through_kw = wheel_w * (1e-3 / ETA_DRIVELINE) if wheel_w > 0.0 else wheel_w * (1e-3 * ETA_DRIVELINE)
    engine_kw = min(through_kw + aux_kw + pto_kw, p_rated_kw)
    fuel = a * p_rated_kw * min(max(turns, TURNS_LOW), TURNS_HIGH) + b * engine_kw
    return max(fuel, idle_g_per_h) if wheel_w > 0.0 else max(fuel, 0.0)


@kernel
def torque_fuel_g_per_h(indicated_kw: float, b: float) -> float:
    """Fuel rate [g/h] from indicated power, which is torque (friction included, SPN 513) times engine speed.

    Eq. 11: m = b P_ind: what Eq. 10 says with P_ind = P_eng + (a/b) P_rated n/n_cruise. Error: 15 % by the reference torque
    where the class default stands for it, 3 % once calibrated.
    """
    return b * max(indicated_kw, 0.0)


@kernel
def hvac_kw(temp_c: float) -> float:
    """Heating or cooling of a battery vehicle's cab [kW], 0 to 3: 0.1 kW per K below 18 or above 24 °C [C]; 0 for NaN.

    Combustion engines heat with their waste heat; their air conditioning is in the auxiliaries.
    """
    if temp_c < HVAC_LOW_C:
        return min(HVAC_KW_PER_K * (HVAC_LOW_C - temp_c), HVAC_MAX_KW)
    if temp_c > HVAC_HIGH_C:
        return min(HVAC_KW_PER_K * (temp_c - HVAC_HIGH_C), HVAC_MAX_KW)
    return 0.0


@kernel
def battery_power_kw(
    wheel_w: float,
    v_ms: float,
    aux_kw: float,
    p_rated_kw: float,
    eta_drive: float,
    eta_regen: float,
    soc_pct: float,
) -> float:
    """Power drawn from the traction battery [kW], negative while regenerating.

    Eq. 12: P = P_w/eta + P_aux, or P_w eta_regen + P_aux above 7 km/h; at most rated power either way; a battery above 97 % takes
    nothing (``soc_pct`` NaN: there is room). Source: science reference 3.5; error 6 % of a trip once calibrated.
    """
    kw = wheel_w * 1e-3
    if kw >= 0.0:
        return min(kw, p_rated_kw) / eta_drive + aux_kw
    if v_ms * 3.6 < REGEN_MIN_KMH or soc_pct > REGEN_FULL_PCT:
        return aux_kw
    return max(kw, -p_rated_kw) * eta_regen + aux_kw
