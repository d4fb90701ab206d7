"""Roads between two places: length, way, height and what stands beside them, made from a key and a distance alone.

Nothing is stored: a road is a task's geometry plus noise keyed by the road, so the way back meets the same hills, limits and
tunnels. The course is the sine-generated curve of river meanders (Langbein and Leopold, USGS Professional Paper 422-H, 1966):
the heading swings about the chord by ``meander`` [rad], so the chord is the length times the Bessel function J0(meander) and
distance along the curve is exact.
"""

import math

from simulators import layout as at
from simulators.kernel import kernel
from simulators.layout import (
    K_ALT_A,
    K_ALT_B,
    K_BACK,
    K_BEARING,
    K_HILLS,
    K_LENGTH,
    K_MEANDER,
    K_ROAD,
    K_ROAD_TYPE,
    K_WAVES,
    MOTORWAY,
    RURAL,
    URBAN,
    Vector,
)
from simulators.rng import smooth_noise, uniform

EARTH_M = 6_371_008.8
CELL_M = 100.0
TOWN_M = 1500.0  # the ends of every road
OUTSKIRTS_M = 5000.0
_LONG_M = 5200.0
_SHORT_M = 1300.0


@kernel
def zone_at(k: Vector, x: float) -> int:
    """Kind of road at ``x`` [m] from end A: towns at both ends, the task's own kind between."""
    kind = int(k[K_ROAD_TYPE])
    end = min(x, k[K_LENGTH] - x)
    if kind == URBAN or end < TOWN_M:
        return URBAN
    if kind == RURAL or end < OUTSKIRTS_M:
        return RURAL
    return MOTORWAY


@kernel
def limit_ms(zone: int) -> float:
    """Speed limit [m/s]: 50, 80 and 130 km/h; heavy vehicles meet their own limiter first."""
    if zone == URBAN:
        return 13.89
    if zone == RURAL:
        return 22.22
    return 36.1


@kernel
def height_m(world: int, k: Vector, x: float) -> float:
    """Height above the sea at ``x`` [m] from end A: a ramp between the ends and two octaves of hills that fade there."""
    length = k[K_LENGTH]
    road = int(k[K_ROAD])
    fade = min(1.0, min(x, length - x) / 2000.0)
    hills = smooth_noise(world + road, x / _LONG_M) + 0.25 * smooth_noise(world + road + 1, x / _SHORT_M)
    height: float = k[K_ALT_A] + (k[K_ALT_B] - k[K_ALT_A]) * x / length + k[K_HILLS] * fade * hills
    return height


@kernel
def tunnel_at(world: int, k: Vector, x: float) -> bool:
    """Whether a tunnel covers ``x`` [m] from end A; only out of town, more in hills."""
    if k[K_HILLS] < 8.0 or min(x, k[K_LENGTH] - x) < OUTSKIRTS_M:
        return False
    threshold: float = 0.93 - 0.002 * k[K_HILLS]
    return smooth_noise(world + int(k[K_ROAD]) + 2, x / 900.0) > threshold


@kernel
def roughness_at(world: int, k: Vector, x: float) -> float:
    """Factor on the rolling resistance by surface: motorway about 1, country roads 1.06, streets 1.1, each with bad stretches."""
    zone = zone_at(k, x)
    base = 1.1 if zone == URBAN else 1.06 if zone == RURAL else 1.0
    return base + 0.04 * smooth_noise(world + int(k[K_ROAD]) + 3, x / 2500.0)


@kernel
def heading_at(k: Vector, x: float) -> float:
    """Heading at ``x`` [m] from end A on the way to B [rad from north, clockwise]."""
    swing: float = k[K_BEARING] + k[K_MEANDER] * math.sin(2.0 * math.pi * k[K_WAVES] * x / k[K_LENGTH])
    return swing


@kernel
def along(k: Vector, pos: float) -> float:
    """Distance from end A for a vehicle that has driven ``pos`` [m] of the task."""
    x: float = k[K_LENGTH] - pos if k[K_BACK] > 0.0 else pos
    length: float = k[K_LENGTH]
    return min(max(x, 0.0), length)


@kernel
def stop_chance(zone: int) -> float:
    """Chance that a light or a junction stands at the end of a cell."""
    if zone == URBAN:
        return 0.16
    if zone == RURAL:
        return 0.015
    return 0.0


@kernel
def stop_here(world: int, k: Vector, cell: int, zone: int, passing: int) -> bool:
    """Whether this passing (a counter of the vehicle) has to stop at the end of ``cell``: the light is there, and red."""
    chance = stop_chance(zone)
    if chance <= 0.0 or uniform(world + int(k[K_ROAD]) + 4, cell) > chance:
        return False
    return uniform(world + int(k[K_ROAD]) + 5, cell * 8192 + passing % 8192) < 0.6


def bessel_j0(x: float) -> float:
    """J0 for 0 to 2, by its series."""
    q = x * x / 4.0
    return 1.0 - q * (1.0 - q / 4.0 * (1.0 - q / 9.0 * (1.0 - q / 16.0 * (1.0 - q / 25.0))))


def rhumb(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> tuple[float, float]:
    """Length [m] and bearing [rad] of the line of constant heading between two points given in degrees, not across 180°."""
    phi_a, phi_b = math.radians(lat_a), math.radians(lat_b)
    d_lon = math.radians(lon_b - lon_a)
    stretched = math.log(math.tan(math.pi / 4 + phi_b / 2) / math.tan(math.pi / 4 + phi_a / 2))
    d_phi = phi_b - phi_a
    ratio = d_phi / stretched if abs(stretched) > 1e-12 else math.cos(phi_a)
    return math.hypot(d_phi, ratio * d_lon) * EARTH_M, math.atan2(d_lon, stretched)


def road(
    k: Vector,
    *,
    road_id: int,
    back: bool,
    a: tuple[float, float, float],
    b: tuple[float, float, float],
    kind: int,
    hills_m: float,
    meander: float,
) -> None:
    """Write the road from ``a`` to ``b`` (latitude, longitude, height) into task ``k``; ``back``: it is driven from b to a.

    ``road_id`` below 2^40 names the road: the same id has the same hills in every task. Length at least 200 m.
    """
    chord, bearing = rhumb(a[0], a[1], b[0], b[1])
    length = max(200.0, chord / bessel_j0(meander))
    k[at.K_ROAD] = float(road_id * 8)
    k[at.K_BACK] = float(back)
    k[at.K_LENGTH] = length
    k[at.K_LAT_A], k[at.K_LON_A], k[at.K_ALT_A] = a
    k[at.K_LAT_B], k[at.K_LON_B], k[at.K_ALT_B] = b
    k[at.K_BEARING] = bearing
    k[at.K_MEANDER] = meander
    k[at.K_WAVES] = float(max(1, round(length / 12_000.0)))
    k[at.K_ROAD_TYPE] = float(kind)
    k[at.K_HILLS] = hills_m
