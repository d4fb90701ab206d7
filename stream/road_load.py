"""Energy that a vehicle needs to move as it moved: road load with midpoint kinetic energy, Willans line, battery drive.

Used where fuel or energy is not measured. Science reference, section 3; SI units inside.
"""

import math
from typing import Final

from stream.kernel import kernel

GRAVITY: Final = 9.81
GAS_CONSTANT_AIR: Final = 287.05  # J/(kg K), dry
ETA_DRIVELINE: Final = 0.93  # wheel to crankshaft, science reference 3.1
FUEL_CUT_KMH: Final = 15.0  # above it a closed clutch with negative wheel power cuts the fuel
REGEN_MIN_KMH: Final = 7.0
TYRE_REFERENCE_C: Final = 25.0  # ISO 28580
TYRE_PER_K: Final = 0.006
STANDARD_TEMP_C: Final = 15.0
ENGINE_OFF_RPM: Final = 100.0


@kernel
def air_density(temp_c: float, pressure_pa: float) -> float:
    """Dry air density [kg/m3] from temperature [°C] and pressure [Pa]; 1.225 at 15 °C and 101325 Pa."""
    return pressure_pa / (GAS_CONSTANT_AIR * (temp_c + 273.15))


@kernel
def pressure_at(altitude_m: float) -> float:
    """Standard atmosphere pressure [Pa] at ``altitude_m``, -500 to 9000 m."""
    return 101325.0 * math.pow(1.0 - 2.25577e-5 * altitude_m, 5.25588)


@kernel
def wheel_power_w(
    v0_ms: float,
    v1_ms: float,
    dt_s: float,
    mass_kg: float,
    f_rot: float,
    cda_m2: float,
    crr: float,
    grade: float,
    rho: float,
    temp_c: float,
) -> float:
    """Mean power at the wheels over one interval [W], negative when braking.

    ``v0_ms``, ``v1_ms``: speed at both ends; ``grade``: rise over run. Kinetic energy by its difference, so it telescopes:
    dE = m f_rot (v1^2 - v0^2)/2, independent of dt. All other terms at the midpoint speed.
    """
    v = 0.5 * (v0_ms + v1_ms)
    kinetic = 0.5 * mass_kg * f_rot * (v1_ms * v1_ms - v0_ms * v0_ms) / dt_s
    slope = math.atan(grade)
    tyre = crr * (1.0 - TYRE_PER_K * (temp_c - TYRE_REFERENCE_C))
    rolling = mass_kg * GRAVITY * math.cos(slope) * tyre
    climbing = mass_kg * GRAVITY * math.sin(slope)
    air = 0.5 * rho * cda_m2 * v * v
    return (air + rolling + climbing) * v + kinetic


@kernel
def engine_fuel_g_per_h(
    wheel_w: float, v_ms: float, aux_kw: float, p_rated_kw: float, a: float, b: float, idle_g_per_h: float
) -> float:
    """Fuel rate by the Willans line [g/h]: ``a * P_rated + b * P_engine``, capped at rated power, at least idle.

    ``a`` [g/h per kW rated], ``b`` [g/kWh]. Negative wheel power above 15 km/h cuts the fuel.
    """
    if wheel_w < 0.0 and v_ms * 3.6 > FUEL_CUT_KMH:
        return 0.0
    if wheel_w <= 0.0:
        return idle_g_per_h
    engine_kw = min(max(wheel_w, 0.0) / 1000.0 / ETA_DRIVELINE + aux_kw, p_rated_kw)
    return max(a * p_rated_kw + b * engine_kw, idle_g_per_h)


@kernel
def battery_power_kw(
    wheel_w: float, v_ms: float, aux_kw: float, p_rated_kw: float, eta_drive: float, eta_regen: float
) -> float:
    """Power drawn from the traction battery [kW], negative while regenerating (above 7 km/h, limited by rated power)."""
    kw = wheel_w / 1000.0
    if kw >= 0.0:
        return min(kw, p_rated_kw) / eta_drive + aux_kw
    if v_ms * 3.6 < REGEN_MIN_KMH:
        return aux_kw
    return max(kw, -p_rated_kw) * eta_regen + aux_kw
