"""The model inside the step: against the plain oracle on recorded truck cycles, and term by term on made-up drives."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from stream.columns import ENERGY_METHODS, UNKNOWN
from stream.fleet import Vehicle
from stream.pipeline import Columns, start, step
from tests.plain_model import Truck, Weather, fuel_g
from tests.support import SHARED, fleet, readings

CYCLES = SHARED / "data" / "nrel_truck_cycles"
NAMES = (
    "HHDDTCruiseSmooth",
    "fastsim_longHaul",
    "t3co_class8_linehaul_lammert",
    "t3co_long_haul",
    "t3co_refuse",
    "t3co_regional_haul",
    "t3co_yard_tractor",
)
needs_cycles = pytest.mark.skipif(not CYCLES.is_dir(), reason=f"no {CYCLES.name}: recorded cycles are not shipped")
ARTIC = Vehicle("t1", "d-t1", "artic_40t", "diesel_b0")
SEMI = (0.034767, 0.039367, -0.001897)
DENSITY = 0.8299  # B0, UK conversion factors 2025
T = np.arange(0, 1800)
Floats = npt.NDArray[np.float64]


def _run(batch: Columns, vehicle: Vehicle = ARTIC) -> Columns:
    return step(start(fleet(vehicle)), batch)[1].emissions


def _total(e: Columns, name: str = "fuel_nl") -> float:
    known = e[name][e[name] != UNKNOWN]
    return float(known.sum()) / 1e9


def _truck(mass: float) -> Truck:
    return Truck(mass, 5.2, 0.0055, 330, 4.0, 9, 190, 2.6 * 830, 1.04, SEMI)


@needs_cycles
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("mass", "temp", "baro"), [(15_500.0, 25.0, 101.325), (36_000.0, -5.0, 90.0)])
def test_recorded_cycles_are_the_oracles(name: str, mass: float, temp: float, baro: float) -> None:
    table = pq.read_table(CYCLES / f"{name}.parquet").slice(0, 12_000)
    t, v, grade = (table[c].to_numpy().astype(float) for c in ("cycSecs", "cycMps", "cycGrade"))
    e = _run(
        readings(
            t, speed_kmh=v * 3.6, grade_pct=grade * 100, gross_weight_kg=mass, ambient_temp_c=temp, baro_kpa=baro,
            switches=16.0,
        )
    )  # fmt: skip
    wanted = fuel_g(_truck(mass), Weather(temp, baro * 1000), t.tolist(), v.tolist(), grade.tolist()) / 1000 / DENSITY
    assert wanted > 0.1
    assert _total(e) == pytest.approx(wanted, rel=5e-4)


@needs_cycles
def test_a_long_haul_burns_what_trucks_burn() -> None:
    """80,000 lb line haul: 5.5 to 7.5 miles a gallon in every published fleet, 31 to 43 L/100 km."""
    table = pq.read_table(CYCLES / "t3co_long_haul.parquet")
    t, v = (table[c].to_numpy().astype(float) for c in ("cycSecs", "cycMps"))
    e = _run(readings(t, speed_kmh=v * 3.6, grade_pct=0.0, gross_weight_kg=36_287.0, switches=16.0))
    km = float(np.trapezoid(v, t)) / 1000
    assert 28 < _total(e) / km * 100 < 43


def _drive(**signals: npt.ArrayLike) -> Columns:
    given: dict[str, Any] = {
        "speed_kmh": 75.0, "gross_weight_kg": 27_500.0, "switches": 16.0, "ambient_temp_c": 15.0, "grade_pct": 0.0,
    }  # fmt: skip
    return readings(T, **(given | signals))


def test_wind_rain_and_roughness_cost_what_the_oracle_says() -> None:
    still = _total(_run(_drive()))
    v = [75 / 3.6] * T.size
    for angle in (0.0, 60.0, 180.0):
        e = _run(_drive(heading_deg=90.0, wind_speed_ms=6.0, wind_from_deg=90.0 + angle))
        weather = Weather(15.0, 101325.0, 6.0, angle)
        wanted = fuel_g(_truck(27_500.0), weather, T.tolist(), v, [0.0] * T.size) / 1000 / DENSITY
        assert _total(e) == pytest.approx(wanted, rel=5e-4)
    assert _total(_run(_drive(wind_speed_ms=6.0, wind_from_deg=90.0))) == still  # no heading: nobody knows
    wet = _run(_drive(precipitation_mm_h=3.0))
    assert 1.02 < _total(wet) / still < 1.08  # rain 2 to 5 % of fuel, and the tyres' full 15 % here
    snow = _total(_run(_drive(precipitation_mm_h=3.0, ambient_temp_c=-3.0)))
    assert 1.05 < snow / _total(_run(_drive(ambient_temp_c=-3.0))) < 1.20
    assert _total(_run(_drive(road_iri_m_per_km=5.0))) > still
    assert np.nanmin(wet["co2e_u_rel"]) > np.nanmax(_run(_drive())["co2e_u_rel"])


def test_weather_sent_once_is_held_an_hour_and_no_longer() -> None:
    t = np.arange(0, 5400, 1)
    once = np.full(t.size, np.nan)
    once[0] = -20.0
    e = _run(readings(t, speed_kmh=80.0, ambient_temp_c=once, switches=16.0))
    warm = _run(readings(t, speed_kmh=80.0, switches=16.0))
    assert e["fuel_nl"][3500] > 1.05 * warm["fuel_nl"][3500]
    assert e["fuel_nl"][3700] == warm["fuel_nl"][3700]


def test_payload_costs_and_empty_is_less_than_full() -> None:
    empty, half, full = (_total(_run(_drive(gross_weight_kg=m))) for m in (15_000.0, 27_500.0, 40_000.0))
    assert empty < half < full
    by_order = _total(_run(_drive(gross_weight_kg=np.nan, cargo_kg=12_500.0)))
    assert by_order == pytest.approx(half, rel=0.01)
    broken = _run(_drive(gross_weight_kg=500_000.0))
    assert _total(broken) == pytest.approx(half, rel=0.01)  # no truck weighs that: half loaded is assumed
    assert np.nanmin(broken["co2e_u_rel"]) > np.nanmax(_run(_drive())["co2e_u_rel"])


@pytest.mark.parametrize("every", [2, 5])
def test_time_step_does_not_matter(every: int) -> None:
    t = np.arange(0, 3600)
    v = 62 + 18 * np.sin(t / 40) + 4 * np.sin(t / 11)
    grade = 1.5 * np.sin(t / 300)
    fine = _total(_run(readings(t, speed_kmh=v, grade_pct=grade, switches=16.0)))
    k = slice(0, None, every)
    coarse = _total(_run(readings(t[k], speed_kmh=v[k], grade_pct=grade[k], switches=16.0)))
    assert coarse == pytest.approx(fine, rel=0.02)


def _loop(noise_m: float, resolution_m: float) -> tuple[float, float]:
    """Fuel of a loop over gentle hills with heights, and of the same on the level, both without a weight."""
    t = np.arange(0, 4 * 3600)
    v = 20.0 + 0.0 * t
    s = 20.0 * t
    height = 300 + 12 * np.sin(2 * np.pi * s / 9000.0)  # +-0.84 %, ends where it began
    rng = np.random.default_rng(4)
    wander = np.zeros(t.size)
    for i in range(1, t.size):
        wander[i] = wander[i - 1] * (1 - 1 / 90) + noise_m * math.sqrt(2 / 90) * rng.normal()
    alt = np.round((height + wander) / resolution_m) * resolution_m
    hilly = _run(readings(t, speed_kmh=v * 3.6, alt_m=alt, switches=16.0))
    level = _run(readings(t, speed_kmh=v * 3.6, alt_m=300.0, switches=16.0))
    return _total(hilly), _total(level)


def test_closed_loop_grade_cancels() -> None:
    hilly, level = _loop(0.0, 0.1)
    assert hilly == pytest.approx(level, rel=0.03)


def test_noise_of_the_receiver_makes_no_fuel() -> None:
    noisy, _ = _loop(6.0, 0.1)
    clean, _ = _loop(0.0, 0.1)
    assert noisy == pytest.approx(clean, rel=0.03)


def test_power_take_off_by_power_by_switch_and_not_at_all() -> None:
    standing: dict[str, Any] = {"speed_kmh": 0.0, "engine_speed_rpm": 900.0}
    idle = _total(_run(_drive(**standing)))
    hours = (T.size - 1) / 3600
    assert idle == pytest.approx(2.6 * 830 / 1000 / DENSITY * hours, rel=1e-3)
    by_power = _total(_run(_drive(**standing, pto_power_kw=30.0)))
    assert (by_power - idle) * DENSITY * 1000 == pytest.approx(190 * 30 * hours, rel=1e-3)
    by_switch = _run(_drive(**standing | {"switches": 16.0 + 4.0}))
    assert (_total(by_switch) - idle) * DENSITY * 1000 == pytest.approx(190 * 25 * hours, rel=1e-3)  # class default


def test_a_parked_truck_of_which_nothing_is_known_is_unknown_after_ten_minutes() -> None:
    e = _run(_drive(speed_kmh=0.0, switches=np.nan))
    named = [ENERGY_METHODS[m] for m in e["energy_method"]]
    assert named[300] == "model"
    assert set(named[700:]) == {"none"}
    off = _run(_drive(speed_kmh=0.0, switches=0.0))
    assert _total(off) == 0.0
    assert {ENERGY_METHODS[m] for m in off["energy_method"][1:]} == {"model"}


def test_engine_speed_moves_the_drag_of_the_engine() -> None:
    slow, fast = (_total(_run(_drive(engine_speed_rpm=n))) for n in (1150.0, 1500.0))
    assert slow == _total(_run(_drive()))
    hours = (T.size - 1) / 3600
    assert (fast - slow) * DENSITY * 1000 == pytest.approx((1500 / 1150 - 1) * 9 * 330 * hours, rel=1e-3)


def test_torque_is_used_when_its_reference_is_known_or_learnt() -> None:
    torque: dict[str, Any] = {"engine_speed_rpm": 1200.0, "engine_torque_pct": 40.0}
    kw = 0.40 * 2300 * 1200 * math.pi / 30 / 1000
    litres = kw * 190 / 1000 / DENSITY * (T.size - 1) / 3600
    by_signal = _run(_drive(**torque, engine_ref_torque_nm=2300.0))
    assert _total(by_signal) == pytest.approx(litres, rel=1e-3)
    registered = Vehicle("t1", "d-t1", "artic_40t", "diesel_b0", ref_torque_nm=2300.0)
    assert _total(_run(_drive(**torque), registered)) == pytest.approx(litres, rel=1e-3)
    assert _total(_run(_drive(**torque))) == pytest.approx(_total(_run(_drive(engine_speed_rpm=1200.0))), rel=1e-9)
    t = np.arange(0, 7200)
    counter = np.where(t < 3600, t * litres / (T.size - 1), np.nan)
    taught = _run(readings(t, speed_kmh=75.0, switches=16.0, fuel_total_hr_l=np.floor(counter * 1000) / 1000, **torque))
    later = taught["fuel_nl"][t > 3700]
    assert later.sum() / 1e9 == pytest.approx(litres / (T.size - 1) * later.size, rel=0.02)
    assert np.nanmax(taught["co2e_u_rel"][t > 3700]) < np.nanmin(_run(_drive())["co2e_u_rel"])


def test_refrigeration_unit_by_its_signal_only_while_it_has_no_counter() -> None:
    on = _run(_drive(switches=16.0 + 64.0))
    assert _total(on, "tru_fuel_nl") == pytest.approx(2.5 * (T.size - 1) / 3600, rel=1e-6)
    assert np.nanmin(on["co2e_u_rel"]) > 0.1
    off = _run(_drive())
    assert (off["tru_fuel_nl"] == UNKNOWN).all()  # no unit seen: nothing, not 0
    counted = _run(_drive(switches=16.0 + 64.0, tru_fuel_total_l=10.0 + np.floor(T * 1.8 / 3600 * 2) / 2))
    assert _total(counted, "tru_fuel_nl") == pytest.approx(0.5, abs=0.51)


def test_tank_teaches_what_nothing_else_measures() -> None:
    """A truck with a level and a speed only burns a fifth more than its class; stops of five minutes every 100 minutes."""
    t = np.arange(0, 16 * 3600, 2)
    moving = t % 6300 < 6000
    v = np.where(moving, 80.0, 0.0)
    tanked = Vehicle("t1", "d-t1", "artic_40t", "diesel_b0", tank_l=600.0)
    signals: dict[str, Any] = {
        "speed_kmh": v,
        "gross_weight_kg": 27_500.0,
        "switches": np.where(moving, 16.0, 0.0),
    }
    bare = _run(readings(t, **signals), tanked)
    burnt = np.cumsum(np.where(bare["fuel_nl"] == UNKNOWN, 0, bare["fuel_nl"])) / 1e9 * 1.2
    rng = np.random.default_rng(1)
    slosh = np.where(moving, rng.normal(0, 2.0, t.size), 0.0)
    level = np.round((95.0 - burnt / 6.0 + slosh) / 0.4) * 0.4
    e = _run(readings(t, **signals, fuel_level_pct=level), tanked)
    named = [ENERGY_METHODS[m] for m in e["energy_method"]]
    assert named[100] == "model"
    assert named[-1] == "tank"
    late = t > 12 * 3600
    assert e["fuel_nl"][late].sum() / 1e9 == pytest.approx(np.ptp(burnt[late]), rel=0.07)


def test_cold_costs_a_battery_van() -> None:
    van = Vehicle("v", "d-v", "bev_van_3.5t", "electricity", grid_zone="uk")
    t = np.arange(0, 1800)
    mild, cold = (
        _total(_run(readings(t, speed_kmh=40.0, ambient_temp_c=c, switches=16.0), van), "energy_uwh")
        for c in (20.0, -10.0)
    )
    assert 1.2 < cold / mild < 1.7  # science 3.5: +20 to 40 % by heating, and the tyres' part


def test_a_full_battery_takes_nothing_back() -> None:
    van = Vehicle("v", "d-v", "bev_van_3.5t", "electricity", grid_zone="uk")
    t = np.arange(0, 600)
    downhill: dict[str, Any] = {"speed_kmh": 50.0, "grade_pct": -6.0, "switches": 16.0}
    room = _total(_run(readings(t, **downhill, battery_soc_pct=60.0), van), "energy_uwh")
    full = _total(_run(readings(t, **downhill, battery_soc_pct=99.0), van), "energy_uwh")
    assert room < 0 < full
