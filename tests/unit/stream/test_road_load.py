"""Road load against closed forms, limits and the published points of the science reference."""

import itertools
import math

import pytest

from stream.road_load import air_density, battery_power_kw, engine_fuel_g_per_h, pressure_at, wheel_power_w


@pytest.mark.parametrize(("temp_c", "rho"), [(15, 1.225), (25, 1.184), (-5, 1.316)])
def test_air_density(temp_c: float, rho: float) -> None:
    assert air_density(temp_c, 101325.0) == pytest.approx(rho, abs=1e-3)


def test_taiyuan() -> None:
    assert air_density(10.0, pressure_at(800.0)) == pytest.approx(1.133, abs=1e-3)


def _power(
    v0: float,
    v1: float,
    dt: float = 1.0,
    mass: float = 40_000.0,
    grade: float = 0.0,
    cda: float = 5.2,
    crr: float = 0.0055,
) -> float:
    return wheel_power_w(v0, v1, dt, mass, 1.04, cda, crr, grade, 1.225, 25.0)


def test_kinetic_energy_telescopes_for_any_step() -> None:
    speeds = [0.0, 3.0, 9.0, 14.0, 20.0, 12.0, 5.0]
    total = sum(_power(a, b, cda=0.0, crr=0.0) for a, b in itertools.pairwise(speeds))
    assert total == pytest.approx(0.5 * 40_000 * 1.04 * (5.0**2 - 0.0**2))


def test_constant_speed_is_rolling_plus_air() -> None:
    v = 80 / 3.6
    assert _power(v, v) == pytest.approx((40_000 * 9.81 * 0.0055 + 0.5 * 1.225 * 5.2 * v * v) * v)


def test_coasting_from_80_to_40_frees_the_published_energy() -> None:
    joule = -_power(80 / 3.6, 40 / 3.6, dt=1e-6, cda=0, crr=0) * 1e-6 / 1.04
    assert joule == pytest.approx(7.41e6, rel=2e-3)  # science reference, section 6


def test_grade_is_weight_times_sine() -> None:
    v = 10.0
    assert _power(v, v, grade=0.05) - _power(v, v) == pytest.approx(
        40_000 * 9.81 * v * (math.sin(math.atan(0.05)) - 0.0055 * (1 - math.cos(math.atan(0.05)))), rel=1e-9
    )


@pytest.mark.parametrize(
    ("mass", "cda", "crr", "rated", "aux", "a", "b", "idle", "litres", "band"),
    [  # EMEP/EEA Euro VI, section 3.3, interpolated to 80 km/h between 70 and 85: artic 0/50/100 %, 7.5 t 50 %
        (15_000, 5.2, 0.0055, 330, 4.0, 9, 190, 2.6, 20.0, 0.12),
        (27_500, 5.2, 0.0055, 330, 4.0, 9, 190, 2.6, 26.7, 0.10),
        (40_000, 5.2, 0.0055, 330, 4.0, 9, 190, 2.6, 32.8, 0.12),
        (6_050, 3.9, 0.0075, 130, 1.5, 10, 205, 1.2, 12.6, 0.20),
    ],
)
def test_steady_fuel_against_published_curves(
    mass: float,
    cda: float,
    crr: float,
    rated: float,
    aux: float,
    a: float,
    b: float,
    idle: float,
    litres: float,
    band: float,
) -> None:
    v = 80 / 3.6
    wheel = wheel_power_w(v, v, 1.0, mass, 1.04, cda, crr, 0.0, 1.225, 25.0)
    g_per_h = engine_fuel_g_per_h(wheel, v, aux, rated, a, b, idle * 835)
    assert g_per_h / 835 / 80 * 100 == pytest.approx(litres, rel=band)


def test_fuel_limits() -> None:
    idle = 2170.0
    assert engine_fuel_g_per_h(-50_000.0, 20.0, 4.0, 330.0, 9.0, 190.0, idle) == 0.0
    assert engine_fuel_g_per_h(-5_000.0, 2.0, 4.0, 330.0, 9.0, 190.0, idle) == idle
    assert engine_fuel_g_per_h(0.0, 0.0, 4.0, 330.0, 9.0, 190.0, idle) == idle
    assert engine_fuel_g_per_h(9e9, 20.0, 4.0, 330.0, 9.0, 190.0, idle) == pytest.approx(9 * 330 + 190 * 330)


def test_battery_regenerates_above_walking_speed_only() -> None:
    assert battery_power_kw(100_000.0, 20.0, 2.0, 330.0, 0.88, 0.75) == pytest.approx(100 / 0.88 + 2)
    assert battery_power_kw(-100_000.0, 20.0, 2.0, 330.0, 0.88, 0.75) == pytest.approx(-75 + 2)
    assert battery_power_kw(-100_000.0, 1.0, 2.0, 330.0, 0.88, 0.75) == 2.0
