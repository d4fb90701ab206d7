"""Fuel over speed, load and grade as the kernels compute it, and the published points to hold it against.

The vehicle keeps its speed; air at 15 °C and sea level, dry road, no wind, the defaults of ``stream/vehicle_classes.csv``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stream.factors import VehicleClass
from stream.fleet import DIESEL_KG_PER_L
from stream.road_load import (
    STANDARD_TEMP_C,
    air_density,
    air_drag_n,
    battery_power_kw,
    engine_fuel_g_per_h,
    pressure_at,
    road_powers_w,
    tyre_factor,
)

LOADS: Final = (0.0, 0.5, 1.0)
EEA_SOURCE: Final = "EMEP/EEA air pollutant emission inventory guidebook, Euro VI diesel"
EEA_SPEEDS_KMH: Final = (30, 50, 70, 85)  # means of driving cycles, stops included
# l/100 km on the level at those speeds, each for load 0, 50, 100 %; science reference, section 3.3.
EEA: Final[Mapping[str, tuple[str, tuple[tuple[float, float, float], ...]]]] = {
    "artic_40t": ("artic 34-40 t", ((30.2, 41.5, 52.8), (23.5, 32.1, 40.2), (20.8, 28.0, 34.5), (19.6, 26.1, 31.9))),
    "rigid_18t": ("rigid 14-20 t", ((22.2, 25.6, 29.4), (17.4, 20.8, 23.5), (16.8, 18.9, 21.1), (18.1, 18.1, 20.0))),
    "rigid_12t": ("rigid 7.5-12 t", ((17.0, 19.3, 21.8), (14.2, 16.1, 18.0), (14.0, 15.5, 17.1), (16.3, 17.5, 18.7))),
    "rigid_7.5t": ("rigid <= 7.5 t", ((11.0, 12.2, 13.3), (9.9, 10.8, 11.8), (10.5, 11.3, 12.0), (12.6, 13.2, 13.8))),
}
# Artic, cycle mean 70 km/h, half load: grade in % -> l/100 km; +6 % is not published. Same section.
EEA_GRADES: Final[Mapping[int, float]] = {-6: 0.3, -4: 1.6, -2: 6.7, 0: 28.0, 2: 61.6, 4: 96.9}


@dataclass(frozen=True, slots=True)
class Point:
    """One steady state. ``use`` in l/100 km, or kWh/100 km from the battery; ``capped``: the motor is at its rated power."""

    use: float
    capped: bool


def gross_kg(c: VehicleClass, load: float) -> float:
    """Mass with ``load`` (0 to 1) of the payload that class defaults allow."""
    return c.curb_kg + load * (c.gvw_kg - c.curb_kg)


def _wheel_w(c: VehicleClass, speed_kmh: float, load: float, grade: float) -> float:
    v = speed_kmh / 3.6
    rho = air_density(STANDARD_TEMP_C, pressure_at(0.0), 0.0)
    drag = air_drag_n(v, 0.0, 0.0, rho, c.cda_m2, 0.0, 0.0, 0.0)
    crr = c.crr * tyre_factor(STANDARD_TEMP_C, 0.0)
    return sum(road_powers_w(v, v, 1.0, gross_kg(c, load), c.f_rot, crr, grade, drag))


def is_battery(c: VehicleClass) -> bool:
    """Whether a class drives on a battery."""
    return not math.isnan(c.eta_drive)


def steady(c: VehicleClass, speed_kmh: float, load: float, grade: float = 0.0) -> Point:
    """Fuel or energy at a kept speed above 1 km/h; ``grade`` is rise over run."""
    v = speed_kmh / 3.6
    wheel = _wheel_w(c, speed_kmh, load, grade)
    if is_battery(c):
        kw = battery_power_kw(wheel, v, c.aux_kw, c.p_rated_kw, c.eta_drive, c.eta_regen, math.nan)
        return Point(kw / speed_kmh * 100.0, wheel / 1000.0 > c.p_rated_kw)
    idle = c.idle_lph * DIESEL_KG_PER_L * 1000.0
    a, b = c.willans_a_g_per_h_kw, c.willans_b_g_per_kwh
    g_per_h = engine_fuel_g_per_h(wheel, v, c.aux_kw, 0.0, c.p_rated_kw, 1.0, a, b, idle)
    full = engine_fuel_g_per_h(1e12, v, c.aux_kw, 0.0, c.p_rated_kw, 1.0, a, b, idle)
    return Point(g_per_h / (DIESEL_KG_PER_L * 1000.0) / speed_kmh * 100.0, g_per_h >= full)


def against_published(c: VehicleClass, name: str) -> dict[tuple[int, float], float]:
    """Steady model over published cycle mean, minus 1, by (speed, load)."""
    _, table = EEA[name]
    return {
        (speed, load): steady(c, speed, load).use / litres - 1.0
        for speed, row in zip(EEA_SPEEDS_KMH, table, strict=True)
        for load, litres in zip(LOADS, row, strict=True)
    }
