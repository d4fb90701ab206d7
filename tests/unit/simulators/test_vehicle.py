"""The moving vehicle: steady speeds against EMEP/EEA, energy kept, factors that move the fuel."""

from typing import Any

import numpy as np
import pytest

from simulators import layout as at
from simulators.classes import draw_vehicle
from simulators.vehicle import G, move, refrigerate, stand, warm_up


def cruise(
    name: str, kmh: float, load: float, *, fuel: str = "diesel_b7", seconds: int = 500, **state: Any
) -> dict[str, Any]:
    """L/100 km, kWh/km and the final state at a steady speed on an endless road; ``state``: v_wind, grade, temp_c, wet, ..."""
    crr, cda = state.pop("crr_factor", 1.0), state.pop("cda_factor", 1.0)
    vehicle = draw_vehicle(1, "x", vehicle_class=name, fuel=fuel, spread=0.0, crr_factor=crr, cda_factor=cda)
    p = np.array(vehicle.p)
    temp_c = state.get("temp_c", 15.0)
    s = np.zeros(at.N_STATE)
    s[at.S_MASS] = p[at.P_TARE] + load * (p[at.P_GVW] - p[at.P_TARE])
    s[at.S_RHO] = 101325.0 / (287.05 * (temp_c + 273.15))
    s[at.S_AMBIENT_C], s[at.S_TYRE_C] = temp_c, temp_c + 35.0
    s[at.S_ENGINE_ON] = s[at.S_ENGINE_WARM] = s[at.S_ROUGH] = s[at.S_GEAR] = 1.0
    s[at.S_GRADE], s[at.S_WIND_ALONG] = state.get("grade", 0.0), state.get("wind", 0.0)
    s[at.S_WIND_ACROSS], s[at.S_WET], s[at.S_SNOW] = (
        state.get("across", 0.0),
        state.get("wet", 0.0),
        state.get("snow", 0.0),
    )
    s[at.S_ROUGH] = state.get("rough", 1.0)
    s[at.S_CHARGE] = 0.6 * p[at.P_BATTERY_J]
    half = np.zeros(3)
    for i in range(seconds * 10):
        if i % 10 == 0:
            warm_up(s, p, 1.0)
        if i == seconds * 5:
            half = s[[at.S_FUEL, at.S_ENERGY, at.S_DISTANCE]].copy()
        move(s, p, min(p[at.P_ACCEL], 0.5 * (kmh / 3.6 - s[at.S_V])), 0.1)
    fuel_l, energy_j, metres = s[[at.S_FUEL, at.S_ENERGY, at.S_DISTANCE]] - half
    return {"l100": 1e5 * fuel_l / metres, "kwh_km": energy_j / 3600.0 / metres, "s": s, "p": p}


def l100(*arguments: Any, **state: Any) -> float:
    return float(cruise(*arguments, **state)["l100"])


@pytest.mark.parametrize(
    (
        "name",
        "kmh",
        "published",
    ),  # EMEP/EEA, Euro VI, load 0/50/100 %, cycle-mean speed; a steady one takes a little less
    [
        ("artic_40t", 85, (19.6, 26.1, 31.9)),
        ("artic_40t", 70, (20.8, 28.0, 34.5)),
        ("rigid_18t", 85, (18.1, 18.1, 20.0)),
        ("rigid_12t", 70, (14.0, 15.5, 17.1)),
        ("rigid_7.5t", 85, (12.6, 13.2, 13.8)),
    ],
)
def test_steady_consumption_is_near_the_published(name: str, kmh: float, published: tuple[float, ...]) -> None:
    for load, expected in zip((0.0, 0.5, 1.0), published, strict=True):
        assert l100(name, kmh, load) == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("artic_40t", 0.32, 0.7), ("rigid_12t", 0.2, 0.7), ("rigid_7.5t", 0.2, 0.6)]
)
def test_a_tonne_costs_what_the_literature_says(name: str, low: float, high: float) -> None:
    empty, full = cruise(name, 80, 0.0), cruise(name, 80, 1.0)
    tonnes = (full["s"][at.S_MASS] - empty["s"][at.S_MASS]) / 1000.0
    assert low < (full["l100"] - empty["l100"]) / tonnes < high
    assert 0.55 < empty["l100"] / full["l100"] < 0.95


def test_gradients_of_a_half_laden_artic() -> None:
    # EMEP/EEA at 70 km/h: 0.3 / 1.6 / 6.7 / 28.0 / 61.6 / 96.9 L/100 km for -6 to +4 %.
    assert l100("artic_40t", 70, 0.5, grade=-0.06) == 0.0
    assert l100("artic_40t", 70, 0.5, grade=-0.02) < 6.7
    assert l100("artic_40t", 70, 0.5, grade=0.02) == pytest.approx(61.6, rel=0.2)
    assert l100("artic_40t", 70, 0.5, grade=0.04) == pytest.approx(96.9, rel=0.2)


@pytest.mark.parametrize(
    ("change", "low", "high"),
    [
        ({"wind": 5.0}, 1.12, 1.40),  # headwind of 5 m/s at 80 km/h: drag about +50 %, of half the power
        ({"wind": -5.0}, 0.72, 0.92),
        ({"across": 6.0}, 1.05, 1.40),  # yaw of 15 degrees
        ({"temp_c": -10.0}, 1.05, 1.20),  # denser air, stiffer tyres
        ({"temp_c": 35.0}, 0.86, 0.97),
        ({"wet": 1.0}, 1.02, 1.06),  # literature: 2 to 5 %
        ({"snow": 1.0}, 1.05, 1.20),  # 5 to 15 %
        ({"rough": 1.1}, 1.02, 1.07),
        ({"crr_factor": 1.3}, 1.07, 1.18),  # a label class and a half
        ({"cda_factor": 0.9}, 0.92, 0.98),
    ],
)
def test_each_factor_moves_fuel_by_its_size(change: dict[str, Any], low: float, high: float) -> None:
    assert low < l100("artic_40t", 80, 0.5, **change) / l100("artic_40t", 80, 0.5) < high


def test_battery_artic_and_van_take_what_trials_say() -> None:
    assert 0.85 < cruise("bev_artic_40t", 80, 0.5, fuel="electricity")["kwh_km"] < 1.3
    van = cruise("bev_van_3.5t", 60, 0.5, fuel="electricity")["kwh_km"]
    assert 0.15 < van < 0.32
    assert (
        1.15
        < cruise("bev_van_3.5t", 40, 0.5, fuel="electricity", temp_c=-10.0)["kwh_km"]
        / cruise("bev_van_3.5t", 40, 0.5, fuel="electricity")["kwh_km"]
        < 1.5
    )  # literature: +20 to 40 % at -10 °C


def test_a_battery_vehicle_recovers_downhill_but_not_everything() -> None:
    down = cruise("bev_artic_40t", 60, 1.0, fuel="electricity", grade=-0.04)
    up = cruise("bev_artic_40t", 60, 1.0, fuel="electricity", grade=0.04)
    flat = cruise("bev_artic_40t", 60, 1.0, fuel="electricity")["kwh_km"]
    assert down["kwh_km"] < 0.0
    assert up["kwh_km"] + down["kwh_km"] > 2.0 * flat * 0.95
    height_kwh_km = up["s"][at.S_MASS] * G * 0.04 / 3600.0
    assert -down["kwh_km"] < 0.9 * height_kwh_km
    full = np.array(down["s"])
    full[at.S_CHARGE] = 0.99 * down["p"][at.P_BATTERY_J]
    before = full[at.S_ENERGY]
    move(full, down["p"], 0.0, 0.1)
    assert full[at.S_ENERGY] > before  # a full battery takes nothing back


def test_speed_drops_on_a_slope_the_engine_cannot_hold() -> None:
    run = cruise("artic_40t", 85, 1.0, grade=0.05)
    watts = run["s"][at.S_MASS] * G * 0.05 * run["s"][at.S_V]
    assert 8.0 < run["s"][at.S_V] * 3.6 < 60.0
    assert watts < run["p"][at.P_POWER]


def test_coasting_loses_what_the_resistances_take() -> None:
    run = cruise("artic_40t", 80, 0.5)
    s, p = run["s"], run["p"]
    s[at.S_GRADE] = -0.02
    s[at.S_WIND_ALONG] = -s[at.S_V]  # no drag at first
    fuel = s[at.S_FUEL]
    for _ in range(30):
        move(s, p, -0.5, 0.1)
    assert s[at.S_FUEL] == fuel  # fuel cut
    assert s[at.S_A] == pytest.approx(-0.5, abs=0.02)
    assert s[at.S_BRAKING] in (0.0, 1.0)


def test_acceleration_costs_kinetic_energy() -> None:
    run = cruise("artic_40t", 40, 0.5)
    s, p = run["s"], run["p"]
    fuel, v0, metres = s[at.S_FUEL], s[at.S_V], s[at.S_DISTANCE]
    while s[at.S_V] < 80 / 3.6:
        move(s, p, 0.2, 0.1)
    kinetic = 0.5 * s[at.S_MASS] * (s[at.S_V] ** 2 - v0**2)
    steady = 0.5 * (l100("artic_40t", 40, 0.5) + l100("artic_40t", 80, 0.5)) / 1e5 * (s[at.S_DISTANCE] - metres)
    extra_j = (s[at.S_FUEL] - fuel - steady) * p[at.P_J_PER_L]
    assert 0.36 < kinetic / extra_j < 0.5  # at the engine's and the drivetrain's efficiency


def test_standing_still_costs_idle_or_nothing() -> None:
    run = cruise("artic_40t", 50, 0.5)
    s, p = run["s"], run["p"]
    before = s[at.S_FUEL]
    stand(s, p, 3600.0)
    assert 1.8 < s[at.S_FUEL] - before < 3.4
    s[at.S_ENGINE_ON] = 0.0
    before = s[at.S_FUEL]
    stand(s, p, 3600.0)
    assert s[at.S_FUEL] == before
    assert s[at.S_N] == 0.0


def test_refrigeration_keeps_the_box_cold_with_its_own_fuel() -> None:
    vehicle = draw_vehicle(
        1, "x", vehicle_class="artic_40t", fuel="diesel_b7", refrigerated=True, tru_set_c=2.0, spread=0.0
    )
    litres = {}
    for air in (5.0, 30.0):
        p, s = np.array(vehicle.p), np.zeros(at.N_STATE)
        s[at.S_AMBIENT_C], s[at.S_BOX_C], s[at.S_TRU_MODE], s[at.S_TRU_TANK] = air, 15.0, 2.0, 200.0
        for _ in range(6 * 3600):
            refrigerate(s, p, False, 1.0)
        assert 0.0 < s[at.S_BOX_C] < 4.0
        assert s[at.S_FUEL] == 0.0
        assert s[at.S_TRU_TANK] == pytest.approx(200.0 - s[at.S_TRU_FUEL])
        litres[air] = s[at.S_TRU_FUEL] / 6
    assert 0.8 < litres[5.0] <= litres[30.0] < 4.2  # engine-on 1.5 to 4.2 L/h


def test_vehicles_of_a_class_differ_and_nominal_ones_do_not() -> None:
    drawn = [draw_vehicle(1, f"v{i}", vehicle_class="artic_40t", fuel="diesel_b7").p for i in range(200)]
    for index, sd in ((at.P_CDA, 0.04), (at.P_CRR, 0.06), (at.P_INDICATED, 0.015), (at.P_TARE, 0.02)):
        values = np.array([p[index] for p in drawn])
        assert values.std() / values.mean() == pytest.approx(sd, rel=0.25)
    same = {draw_vehicle(i, f"v{i}", vehicle_class="artic_40t", fuel="diesel_b7", spread=0.0).p for i in range(5)}
    assert len(same) == 1
    with pytest.raises(ValueError, match="does not run on electricity"):
        draw_vehicle(1, "x", vehicle_class="artic_40t", fuel="electricity")
