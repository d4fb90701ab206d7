"""Road load against closed forms, limits, published points and the plain oracle."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.road_load import (
    air_density,
    air_drag_n,
    apparent_wind,
    battery_power_kw,
    engine_fuel_g_per_h,
    hvac_kw,
    pressure_at,
    road_powers_w,
    rough_factor,
    torque_fuel_g_per_h,
    tyre_factor,
)
from tests.plain_model import Truck, Weather, wheel_w

SEMI = (0.034767, 0.039367, -0.001897)


@pytest.mark.parametrize(("temp_c", "rho"), [(15, 1.225), (25, 1.184), (-5, 1.316)])
def test_air_density(temp_c: float, rho: float) -> None:
    assert air_density(temp_c, 101325.0, 0.0) == pytest.approx(rho, abs=1e-3)


def test_humid_air_is_lighter() -> None:
    assert air_density(25.0, 101325.0, 3169.0) / air_density(25.0, 101325.0, 0.0) == pytest.approx(0.9882, abs=1e-4)


def test_taiyuan() -> None:
    assert air_density(10.0, pressure_at(800.0), 0.0) == pytest.approx(1.133, abs=1e-3)


def _power(
    v0: float,
    v1: float,
    dt: float = 1.0,
    mass: float = 40_000.0,
    grade: float = 0.0,
    cda: float = 5.2,
    crr: float = 0.0055,
) -> float:
    drag = air_drag_n(0.5 * (v0 + v1), 0.0, 0.0, 1.225, cda, *SEMI)
    return sum(road_powers_w(v0, v1, dt, mass, 1.04, crr, grade, drag))


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


@pytest.mark.parametrize("grade", [-0.15, -0.05, 0.02, 0.1])
def test_grade_is_weight_times_sine(grade: float) -> None:
    v = 10.0
    slope = math.atan(grade)
    wanted = 40_000 * 9.81 * v * (math.sin(slope) - 0.0055 * (1 - math.cos(slope)))
    assert _power(v, v, grade=grade) - _power(v, v) == pytest.approx(wanted, rel=5e-5)


def test_steeper_than_any_road_is_cut() -> None:
    assert _power(10.0, 10.0, grade=3.0) == _power(10.0, 10.0, grade=0.25)


def test_wind_on_the_nose_adds_to_speed_and_from_behind_takes_off() -> None:
    still = air_drag_n(20.0, 0.0, 0.0, 1.2, 5.0, *SEMI)
    assert air_drag_n(15.0, *apparent_wind(5.0, 90.0, 90.0), 1.2, 5.0, *SEMI) == pytest.approx(still)
    assert air_drag_n(25.0, *apparent_wind(5.0, 270.0, 90.0), 1.2, 5.0, *SEMI) == pytest.approx(still)
    assert air_drag_n(2.0, -5.0, 0.0, 1.2, 5.0, *SEMI) == pytest.approx(-0.5 * 1.2 * 5.0 * 9.0)
    assert apparent_wind(math.nan, 90.0, 90.0) == apparent_wind(5.0, 90.0, math.nan) == (0.0, 0.0)


def test_side_wind_costs_what_the_yaw_polynomial_says() -> None:
    v, across = 20.0, 20.0 * math.tan(math.radians(5.0))
    area = 5.0 + SEMI[0] * 5 + SEMI[1] * 25 + SEMI[2] * 125
    wanted = 0.5 * 1.2 * area * (v * v + across * across)
    for side in (across, -across):
        assert air_drag_n(v, 0.0, side, 1.2, 5.0, *SEMI) == pytest.approx(wanted, rel=1e-6)


@given(
    st.floats(0, 30), st.floats(0, 30), st.floats(0.5, 10), st.floats(-0.2, 0.2), st.floats(-30, 45), st.floats(0, 15),
    st.floats(-180, 180),
)  # fmt: skip
def test_wheel_power_is_the_oracles(
    v0: float, v1: float, dt: float, grade: float, temp: float, wind: float, angle: float
) -> None:
    truck = Truck(27_500, 5.2, 0.0055, 330, 4, 9, 190, 2158, 1.04, SEMI)
    wanted = wheel_w(truck, Weather(temp, 95_000.0, wind, angle), v0, v1, dt, grade)
    along, across = apparent_wind(wind, angle, 0.0)
    drag = air_drag_n(0.5 * (v0 + v1), along, across, air_density(temp, 95_000.0, 0.0), 5.2, *SEMI)
    powers = road_powers_w(v0, v1, dt, 27_500, 1.04, 0.0055 * tyre_factor(temp, 0.0), grade, drag)
    assert sum(powers) == pytest.approx(wanted, rel=1e-4, abs=30.0)


def test_tyres_roll_harder_cold_wet_and_in_snow() -> None:
    assert tyre_factor(25.0, 0.0) == tyre_factor(25.0, math.nan) == 1.0
    assert tyre_factor(-5.0, 0.0) == pytest.approx(1.18)
    assert tyre_factor(25.0, 5.0) == pytest.approx(1.15)  # 1.10 to 1.20
    assert 1.3 <= tyre_factor(0.0, 2.0) / tyre_factor(0.0, 0.0) <= 2.0
    assert tyre_factor(25.0, 0.5) == pytest.approx(1.075)
    assert tyre_factor(math.nan, math.nan) == tyre_factor(15.0, 0.0)


def test_rough_roads_roll_harder_the_faster() -> None:
    assert rough_factor(math.nan, 20.0) == rough_factor(1.5, 20.0) == 1.0
    assert rough_factor(4.0, 20.0) == pytest.approx(1 + 1.58e-5 * 2.5 * 20 / 0.00516)
    assert rough_factor(4.0, 20.0) > rough_factor(4.0, 10.0)


def _fuel(wheel: float, v: float, pto: float = 0.0, turns: float = 1.0) -> float:
    return engine_fuel_g_per_h(wheel, v, 4.0, pto, 330.0, turns, 9.0, 190.0, 2170.0)


def test_fuel_limits() -> None:
    assert _fuel(-50_000.0, 20.0) == 0.0
    assert _fuel(-5_000.0, 2.0) == 2170.0
    assert _fuel(0.0, 0.0) == 2170.0
    assert _fuel(9e9, 20.0) == pytest.approx(9 * 330 + 190 * 330)
    assert _fuel(0.0, 0.0, pto=20.0) == pytest.approx(2170 + 190 * 20)


def test_fuel_fades_into_the_cut_without_a_step() -> None:
    by_power = [_fuel(w, 20.0) for w in range(-40_000, 1_000, 500)]
    assert by_power[0] == 0.0
    assert all(0 <= b - a <= 190 * 0.5 / 0.93 + 1e-9 for a, b in itertools.pairwise(by_power))


def test_a_faster_engine_drags_more() -> None:
    assert _fuel(50_000.0, 15.0, turns=1.4) - _fuel(50_000.0, 15.0, turns=1.0) == pytest.approx(0.4 * 9 * 330)
    assert _fuel(50_000.0, 15.0, turns=9.0) == _fuel(50_000.0, 15.0, turns=1.8)


def test_torque_and_road_load_agree_on_the_same_work() -> None:
    engine_kw = 80.0
    indicated = engine_kw + 9 / 190 * 330
    wheel = (engine_kw - 4.0) * 0.93 * 1000
    assert torque_fuel_g_per_h(indicated, 190.0) == pytest.approx(_fuel(wheel, 20.0))
    assert torque_fuel_g_per_h(-3.0, 190.0) == 0.0


def test_battery_regenerates_above_walking_speed_and_where_there_is_room() -> None:
    assert battery_power_kw(100_000.0, 20.0, 2.0, 330.0, 0.88, 0.75, 50.0) == pytest.approx(100 / 0.88 + 2)
    assert battery_power_kw(-100_000.0, 20.0, 2.0, 330.0, 0.88, 0.75, math.nan) == pytest.approx(-75 + 2)
    assert battery_power_kw(-900_000.0, 20.0, 2.0, 330.0, 0.88, 0.75, 50.0) == pytest.approx(-330 * 0.75 + 2)
    assert battery_power_kw(-100_000.0, 1.0, 2.0, 330.0, 0.88, 0.75, 50.0) == 2.0
    assert battery_power_kw(-100_000.0, 20.0, 2.0, 330.0, 0.88, 0.75, 99.0) == 2.0


def test_cold_costs_a_battery_van_a_fifth_to_two_fifths_more() -> None:
    driving_kw = 0.30 * 35.0  # kWh/km at town speed
    assert 0.2 <= hvac_kw(-10.0) / driving_kw <= 0.4
    assert hvac_kw(20.0) == hvac_kw(math.nan) == 0.0
    assert 0.5 <= hvac_kw(35.0) <= 3.0
