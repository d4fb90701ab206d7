"""Engines and drives against published figures and limits."""

import math

import pytest

from simulators import layout as at
from simulators.classes import CLASSES, MJ_PER_L, draw_vehicle
from simulators.engine import battery_internal_w, friction_nm, fuel_lps, full_load_nm, motor_loss_w

DIESELS = [name for name, c in CLASSES.items() if not c.electric]
RPM = math.pi / 30.0


def parameters(name: str, fuel: str = "diesel_b0") -> tuple[float, ...]:
    return draw_vehicle(1, "x", vehicle_class=name, fuel=fuel, spread=0.0).p


def brake_efficiency(p: tuple[float, ...], n: float, torque: float) -> float:
    flow = fuel_lps(p, n, torque, friction_nm(p, n, 1.0))
    return torque * n / (flow * p[at.P_J_PER_L])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("van_3.5t", 0.36, 0.42),
        ("rigid_7.5t", 0.39, 0.44),
        ("rigid_12t", 0.39, 0.44),
        ("rigid_18t", 0.41, 0.46),
        ("rigid_26t", 0.41, 0.46),
        ("artic_40t", 0.42, 0.47),  # peak 0.46 claimed for series engines, 0.42 in NREL's line-haul vehicle
    ],
)
def test_best_efficiency_is_that_of_series_engines(name: str, low: float, high: float) -> None:
    p = parameters(name)
    n_low, n_rated = p[at.P_N_LOW], p[at.P_N_RATED]
    best = max(
        brake_efficiency(p, n, share * full_load_nm(p, n))
        for n in (n_low + (n_rated - n_low) * i / 20 for i in range(21))
        for share in (0.4, 0.6, 0.7, 0.8, 0.9, 1.0)
    )
    assert low < best < high


def test_friction_is_heywoods() -> None:
    # 12.8 L at 1200 rpm, stroke 158 mm: Sp = 6.32 m/s, tfmep = 75 + 57.6 + 16.0 = 148.6 kPa; T = 151.3 Nm by hand.
    assert friction_nm(parameters("artic_40t"), 1200 * RPM, 1.0) == pytest.approx(151.3, rel=0.002)
    assert friction_nm(parameters("artic_40t"), 1200 * RPM, 0.0) == pytest.approx(1.6 * 151.3, rel=0.002)


@pytest.mark.parametrize("name", DIESELS)
def test_full_load_reaches_rated_power_and_ends_at_the_governor(name: str) -> None:
    p = parameters(name)
    n = p[at.P_N_RATED]
    assert full_load_nm(p, n) * n == pytest.approx(p[at.P_POWER], rel=0.25)
    assert full_load_nm(p, n) * n <= p[at.P_POWER] * 1.001
    assert full_load_nm(p, 1.13 * n) == 0.0
    assert full_load_nm(p, p[at.P_N_IDLE]) < full_load_nm(p, 1.2 * p[at.P_N_LOW]) == p[at.P_T_MAX]


@pytest.mark.parametrize(
    ("name", "low", "high"),  # L/h at idle with auxiliaries: DOE Fact 861 and the ranges of the science reference
    [
        ("van_3.5t", 0.5, 1.1),
        ("rigid_7.5t", 0.9, 1.7),
        ("rigid_12t", 1.1, 2.2),
        ("rigid_18t", 1.4, 2.5),
        ("artic_40t", 1.8, 3.4),
    ],
)
def test_idle_consumption(name: str, low: float, high: float) -> None:
    p = parameters(name)
    n = p[at.P_N_IDLE]
    assert low < 3600 * fuel_lps(p, n, p[at.P_AUX] / n, friction_nm(p, n, 1.0)) < high


def test_dragged_engine_takes_no_fuel() -> None:
    p = parameters("artic_40t")
    n = 1200 * RPM
    friction = friction_nm(p, n, 1.0)
    assert fuel_lps(p, n, -friction, friction) == 0.0
    assert fuel_lps(p, n, -2 * friction, friction) == 0.0
    assert fuel_lps(p, n, -0.9 * friction, friction) > 0.0


def test_a_litre_is_worth_its_heat() -> None:
    n, torque = 1200 * RPM, 1200.0
    per_litre = {}
    for fuel in ("diesel_b0", "hvo100"):
        p = parameters("artic_40t", fuel)
        per_litre[fuel] = fuel_lps(p, n, torque, friction_nm(p, n, 1.0))
    assert per_litre["hvo100"] / per_litre["diesel_b0"] == pytest.approx(MJ_PER_L["diesel_b0"] / MJ_PER_L["hvo100"])
    assert per_litre["hvo100"] / per_litre["diesel_b0"] == pytest.approx(1.04, abs=0.01)  # published: +4 % by volume


def test_gas_engine_is_worse_than_diesel() -> None:
    n, torque = 1300 * RPM, 900.0
    gas = brake_efficiency(parameters("artic_40t", "lng"), n, torque)
    diesel = brake_efficiency(parameters("artic_40t"), n, torque)
    assert 0.75 < gas / diesel < 0.9  # spark ignition


@pytest.mark.parametrize(("name", "cruise_ms", "kw"), [("bev_van_3.5t", 22.0, 20.0), ("bev_artic_40t", 22.0, 100.0)])
def test_motor_is_efficient_at_cruise_and_has_losses_without_load(name: str, cruise_ms: float, kw: float) -> None:
    p = parameters(name, "electricity")
    w = cruise_ms * p[at.P_GEAR_1]
    torque = 1000 * kw / w
    assert 0.88 < 1.0 / (1.0 + motor_loss_w(p, torque, w) / (1000 * kw)) < 0.97
    assert motor_loss_w(p, 0.0, 0.0) > 0.0


def test_battery_loses_both_ways() -> None:
    p = parameters("bev_artic_40t", "electricity")
    out, back = battery_internal_w(p, 100e3), -battery_internal_w(p, -100e3)
    assert out > 100e3 > back
    assert 0.95 < back / out < 0.99
    assert battery_internal_w(p, 0.0) == pytest.approx(0.0, abs=1e-6)
