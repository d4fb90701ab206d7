"""The vehicle model of the science reference, section 3.1, written plainly for one trip: the oracle of the kernels.

Angles by their exact functions, no series, no state, no fixed point; nothing here is imported from ``stream``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

GRAVITY = 9.81


@dataclass(frozen=True)
class Truck:
    """A vehicle as in table 3.2: kg, m2, kW, g/h per kW, g/kWh, g/h."""

    mass: float
    cda: float
    crr: float
    rated: float
    aux: float
    a: float
    b: float
    idle: float
    f_rot: float
    yaw: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Weather:
    """Degrees C, Pa, m/s; the wind's direction against the vehicle's heading in degrees, 0 = head wind."""

    temp: float = 15.0
    pressure: float = 101325.0
    wind: float = 0.0
    wind_angle: float = 0.0
    wet: float = 1.0


def wheel_w(truck: Truck, weather: Weather, v0: float, v1: float, dt: float, grade: float) -> float:
    """Power at the wheels over one interval [W]."""
    v = (v0 + v1) / 2
    rho = weather.pressure / (287.05 * (weather.temp + 273.15))
    angle = math.radians(weather.wind_angle)
    along, across = v + weather.wind * math.cos(angle), weather.wind * math.sin(angle)
    beta = min(math.degrees(math.atan2(abs(across), abs(along))), 10.0) if across else 0.0
    cda = truck.cda + truck.yaw[0] * beta + truck.yaw[1] * beta**2 + truck.yaw[2] * beta**3
    air = 0.5 * rho * cda * math.copysign(along**2 + across**2, along)
    slope = math.atan(grade)
    crr = truck.crr * (1 - 0.006 * (weather.temp - 25)) * weather.wet
    rolling = truck.mass * GRAVITY * math.cos(slope) * crr
    climbing = truck.mass * GRAVITY * math.sin(slope)
    kinetic = 0.5 * truck.mass * truck.f_rot * (v1**2 - v0**2)
    return (air + rolling + climbing) * v + kinetic / dt


def fuel_g_per_h(truck: Truck, wheels_w: float, v: float) -> float:
    """Willans line with idle floor, rated cap and fuel cut above 15 km/h when the wheels push harder than the engine drags."""
    if v < 0.3 or (wheels_w <= 0 and v * 3.6 <= 15):
        return truck.idle
    through = wheels_w / 1000 / 0.93 if wheels_w > 0 else wheels_w / 1000 * 0.93
    fuel = truck.a * truck.rated + truck.b * min(through + truck.aux, truck.rated)
    return max(fuel, truck.idle if wheels_w > 0 else 0.0)


def fuel_g(
    truck: Truck,
    weather: Weather,
    t: Sequence[float],
    v: Sequence[float],
    grade: Sequence[float],
    longest_s: float = 10.0,
) -> float:
    """Fuel of a whole trip [g]; intervals longer than ``longest_s`` are unknown and left out."""
    total = 0.0
    for k in range(1, len(t)):
        dt = t[k] - t[k - 1]
        if 0 < dt <= longest_s:
            wheels = wheel_w(truck, weather, v[k - 1], v[k], dt, grade[k])
            total += fuel_g_per_h(truck, wheels, (v[k] + v[k - 1]) / 2) * dt / 3600
    return total
