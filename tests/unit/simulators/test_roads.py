"""Roads: known Bessel values, exact lengths, and the same hills both ways."""

import math
from itertools import pairwise

import pytest

from simulators import layout as at
from simulators.layout import Vector
from simulators.rng import key_of
from simulators.roads import (
    CELL_M,
    bessel_j0,
    heading_at,
    height_m,
    limit_ms,
    rhumb,
    road,
    stop_here,
    tunnel_at,
    zone_at,
)
from simulators.single import vector

WORLD = key_of(1, "world")
A, B = (50.0, 8.0, 120.0), (50.4, 8.9, 260.0)


def task(*, back: bool = False, hills_m: float = 30.0, kind: int = at.MOTORWAY, meander: float = 0.7) -> Vector:
    k = [0.0] * at.N_TASK
    road(k, road_id=77, back=back, a=A, b=B, kind=kind, hills_m=hills_m, meander=meander)
    return vector(k)


@pytest.mark.parametrize(("x", "j0"), [(0.0, 1.0), (0.5, 0.93847), (1.0, 0.76520), (1.5, 0.51183)])
def test_bessel_function(x: float, j0: float) -> None:
    assert bessel_j0(x) == pytest.approx(j0, abs=1e-5)  # Abramowitz and Stegun, table 9.1


def test_rhumb_line_of_known_places() -> None:
    # Along the equator and along a meridian a degree is 111.195 km on this sphere.
    assert rhumb(0.0, 0.0, 0.0, 1.0) == pytest.approx((111_195.0, math.pi / 2), rel=1e-4)
    assert rhumb(50.0, 8.0, 51.0, 8.0) == pytest.approx((111_195.0, 0.0), rel=1e-4, abs=1e-9)
    assert rhumb(60.0, 8.0, 60.0, 9.0)[0] == pytest.approx(111_195.0 / 2, rel=1e-4)


@pytest.mark.parametrize("meander", [0.0, 0.4, 0.9])
def test_following_the_heading_ends_at_the_other_end(meander: float) -> None:
    k = task(meander=meander)
    north = east = 0.0
    step = 10.0
    for i in range(int(k[at.K_LENGTH] / step)):
        heading = heading_at(k, (i + 0.5) * step)
        north, east = north + step * math.cos(heading), east + step * math.sin(heading)
    chord, bearing = rhumb(A[0], A[1], B[0], B[1])
    assert math.hypot(north, east) == pytest.approx(chord, rel=2e-3)
    assert math.atan2(east, north) == pytest.approx(bearing, abs=0.01)
    assert k[at.K_LENGTH] == pytest.approx(chord / bessel_j0(meander))


def test_heights_join_the_ends_and_slopes_stay_drivable() -> None:
    k = task(hills_m=45.0)
    length = k[at.K_LENGTH]
    assert height_m(WORLD, k, 0.0) == pytest.approx(A[2])
    assert height_m(WORLD, k, length) == pytest.approx(B[2])
    heights = [height_m(WORLD, k, x * CELL_M) for x in range(int(length / CELL_M))]
    slopes = [(b - a) / CELL_M for a, b in pairwise(heights)]
    assert max(map(abs, slopes)) < 0.08
    assert max(heights) - min(heights) > 60.0
    rms = math.sqrt(sum(x * x for x in slopes) / len(slopes))
    assert 0.005 < rms < 0.03


def test_towns_stand_at_both_ends() -> None:
    k = task()
    zones = [zone_at(k, x) for x in (0.0, 1000.0, 3000.0, 20_000.0, k[at.K_LENGTH] - 3000.0, k[at.K_LENGTH] - 10.0)]
    assert zones == [at.URBAN, at.URBAN, at.RURAL, at.MOTORWAY, at.RURAL, at.URBAN]
    assert [round(limit_ms(z) * 3.6) for z in (at.URBAN, at.RURAL, at.MOTORWAY)] == [50, 80, 130]


def test_stops_belong_to_towns_and_change_with_the_passing() -> None:
    k = task()
    town = [[stop_here(WORLD, k, cell, at.URBAN, passing) for cell in range(3000)] for passing in (1, 2)]
    share = sum(town[0]) / 3000
    assert share == pytest.approx(0.16 * 0.6, abs=0.03)
    assert town[0] != town[1]
    assert not any(stop_here(WORLD, k, cell, at.MOTORWAY, 1) for cell in range(3000))


def test_tunnels_are_in_hills_only() -> None:
    flat, hilly = task(hills_m=2.0), task(hills_m=60.0)
    xs = [x * 50.0 for x in range(int(hilly[at.K_LENGTH] / 50.0))]
    assert not any(tunnel_at(WORLD, flat, x) for x in xs)
    assert 0.005 < sum(tunnel_at(WORLD, hilly, x) for x in xs) / len(xs) < 0.2


def test_a_very_short_way_still_has_a_length() -> None:
    k = [0.0] * at.N_TASK
    road(k, road_id=1, back=False, a=A, b=A, kind=at.URBAN, hills_m=0.0, meander=0.5)
    assert k[at.K_LENGTH] == 200.0
