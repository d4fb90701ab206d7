"""Sensors: exact when honest, and each lie on its own does what it says and nothing else."""

from typing import Any

import numpy as np
import pytest

from simulators import layout as at
from simulators.fleet import World, build
from simulators.scenario import load
from simulators.sensors import LIES, power
from simulators.single import SingleVehicle, vector
from tests.small_world import HONEST, run, scenario

Columns = dict[str, Any]
FLEET = {"weight_sensor": True, "fuel_signals": "high_resolution", "order_weight": 1.0}


def world(*lies: str, seed: int = 5, hills_m: float = 20.0, **fleet: Any) -> World:
    sensors = {**HONEST, **dict.fromkeys(lies, True)}
    return build(scenario(fleet={**FLEET, **fleet}, sensors=sensors, route={"hills_m": hills_m}), seed)


def drive(*lies: str, hours: float = 3.0, **options: Any) -> tuple[Columns, Columns]:
    return run(world(*lies, **options), int(hours * 3600))


def changed(a: Columns, b: Columns) -> set[str]:
    return {name for name in at.SIGNALS if not np.array_equal(a[name], b[name], equal_nan=True)}


def test_the_scenario_lists_the_same_lies() -> None:
    fields = type(load("cold-trunk").sensors).__struct_fields__
    assert fields == LIES
    assert set(HONEST) | {"on_change", "no_rtc"} == set(LIES)


def test_honest_sensors_tell_the_truth() -> None:
    r, t = drive()
    assert np.allclose(r["speed_kmh"], t["speed_kmh"])
    assert np.allclose(r["gps_speed_kmh"], t["speed_kmh"])
    assert np.allclose(r["lat_deg"], t["lat_deg"], atol=1e-12)
    assert np.allclose(r["alt_m"], t["alt_m"])
    assert np.allclose(r["gross_weight_kg"][30:], t["mass_kg"][20:-10], atol=3000.0)
    assert np.allclose(r["fuel_total_hr_l"] - r["fuel_total_hr_l"][0], t["fuel_l"].cumsum() - t["fuel_l"][0])
    assert np.allclose(np.diff(r["odometer_m"]), t["distance_m"][1:], atol=1e-6)
    running = t["engine_on"] > 0.0
    assert (r["fuel_rate_lph"][running] / 3600.0).sum() == pytest.approx(t["fuel_l"].sum(), rel=0.02)
    assert np.array_equal(r["time_ns"], t["time_ns"])
    assert np.isnan(r["battery_power_kw"]).all()
    assert np.isnan(r["tru_fuel_total_l"]).all()


def test_resolution_gives_the_steps_of_the_bus() -> None:
    r, _ = drive("resolution")
    steps = {
        "speed_kmh": 1 / 256,
        "odometer_m": 5.0,
        "engine_speed_rpm": 0.125,
        "engine_torque_pct": 1.0,
        "fuel_rate_lph": 0.05,
        "fuel_total_hr_l": 0.001,
        "fuel_total_l": 0.5,
        "fuel_level_pct": 0.4,
        "gross_weight_kg": 10.0,
        "ambient_temp_c": 1 / 32,
        "lat_deg": 1e-7,
    }
    for name, step in steps.items():
        raw = r[name][~np.isnan(r[name])] / step
        assert np.abs(raw - np.round(raw)).max() < 1e-3, name
        assert raw.size, name
    assert np.all(np.diff(r["fuel_total_hr_l"]) >= 0.0)


def test_each_lie_touches_only_its_own_signals() -> None:
    plain, _ = drive(hours=6.0)
    fuel = {"fuel_rate_lph", "fuel_total_hr_l", "fuel_total_l", "fuel_level_pct"}
    gps = {"lat_deg", "lon_deg", "alt_m", "gps_speed_kmh", "hdop"}
    touched = {
        "fuel_bias": fuel,
        "axle_noise": {"gross_weight_kg"},
        "gps_noise": gps,
        "wheel_bias": {"speed_kmh", "odometer_m"},
        "first_fix": gps,
    }
    for lie, names in touched.items():
        lying, _ = drive(lie, hours=6.0)
        assert changed(plain, lying) == names, lie


def test_fuel_bias_is_about_three_percent() -> None:
    ratios = []
    for seed in range(24):
        r, t = drive("fuel_bias", hours=1.5, seed=seed)
        ratios.append((r["fuel_total_hr_l"][-1] - r["fuel_total_hr_l"][0]) / t["fuel_l"][1:].sum() - 1.0)
    assert 0.008 < np.std(ratios) < 0.024
    assert abs(np.mean(ratios)) < 0.01
    assert np.abs(ratios).max() < 0.06


def test_weight_errs_by_some_percent_more_when_moving() -> None:
    errors, moving = [], []
    for seed in range(12):
        r, t = drive("axle_noise", hours=2.0, seed=seed)
        settled = np.abs(t["mass_kg"] - np.roll(t["mass_kg"], 20)) < 1.0
        error = (r["gross_weight_kg"] / t["mass_kg"] - 1.0)[settled]
        errors.append(error.std())
        moving.append(
            error[t["speed_kmh"][settled] > 20.0].std() / max(1e-9, error[t["speed_kmh"][settled] < 1.0].std())
        )
    assert 0.01 < np.mean(errors) < 0.05
    assert np.median(moving) > 1.0


def test_wheels_read_high_and_miss_creeping() -> None:
    ratios = []
    for seed in range(16):
        r, t = drive("wheel_bias", hours=1.5, seed=seed)
        fast = t["speed_kmh"] > 30.0
        ratios.append((r["speed_kmh"][fast] / t["speed_kmh"][fast]).mean())
        assert np.all(r["speed_kmh"][t["speed_kmh"] < 0.6] == 0.0)
    assert 1.0 < np.mean(ratios) < 1.012
    assert 0.002 < np.std(ratios) < 0.02


def test_first_fix_takes_about_69_seconds() -> None:
    waits = []
    for seed in range(60):
        r, _ = run(world("first_fix", seed=seed), 600)
        waits.append(int(np.argmin(np.isnan(r["lat_deg"]))))
    assert 50 < np.mean(waits) < 95
    assert min(waits) >= 19


def test_gps_noise_is_metres_and_correlated() -> None:
    r, t = drive("gps_noise", hours=4.0)
    north = (r["lat_deg"] - t["lat_deg"]) * 111_195.0
    assert 1.2 < north.std() < 5.0
    assert np.corrcoef(north[:-1], north[1:])[0, 1] > 0.8
    assert (r["hdop"] > 0.7).all()


def test_tunnels_and_jumps() -> None:
    r, _ = drive("tunnels", hours=6.0, hills_m=60.0)
    gaps = np.isnan(r["lat_deg"])
    assert 0.001 < gaps.mean() < 0.3
    assert not np.isnan(r["speed_kmh"]).any()
    r, t = drive("gps_jumps", hours=40.0)
    far = np.hypot(r["lat_deg"] - t["lat_deg"], r["lon_deg"] - t["lon_deg"]) * 111_195.0 > 250.0
    assert 0 < far.sum() < 200
    assert np.abs(r["lat_deg"][~far] - t["lat_deg"][~far]).max() < 1e-9


def test_not_available_and_stuck_last_minutes() -> None:
    plain, _ = drive(hours=40.0)
    missing, _ = drive("not_available", hours=40.0)
    hit = changed(plain, missing)
    assert hit
    for name in hit:
        lost = np.isnan(missing[name]) & ~np.isnan(plain[name])
        assert lost.any()
        assert lost.sum() <= 40 * 300
        assert np.array_equal(missing[name][~lost], plain[name][~lost], equal_nan=True)
    stuck, _ = drive("stuck", hours=60.0, seed=8)
    honest, _ = drive(hours=60.0, seed=8)
    assert changed(honest, stuck)


@pytest.mark.parametrize(("lie", "share"), [("counter_reset", 0.01), ("ecu_swap", 0.002)])
def test_counters_reset_and_control_units_are_swapped(lie: str, share: float) -> None:
    boots = 20_000
    vehicle = SingleVehicle(scenario(fleet=FLEET, sensors={**HONEST, lie: True}), 5)
    s, p, k = vector([0.0] * at.N_STATE), vehicle._p, vector([0.0] * at.N_TASK)
    s[at.S_FUEL], s[at.S_ECU_BASE] = 500.0, 90_000.0
    k[at.K_KIND] = at.WAIT
    counts = []
    for i in range(boots):
        for parked_s in (0.0, 1e6):  # on, and off again
            s[at.S_PARKED_S] = parked_s
            assert power(s, p, k, 77, 600.0 * i) == (parked_s == 0.0)
        counts.append(s[at.S_ECU_BASE] + s[at.S_FUEL] * (1.0 + p[at.P_FUEL_BIAS]))
        if lie == "counter_reset":
            s[at.S_ECU_BASE] = 90_000.0
    other = np.array(counts) != counts[0]
    events = other.sum() if lie == "counter_reset" else (np.diff(counts) != 0.0).sum()
    assert events / boots == pytest.approx(share, rel=0.35)
    if lie == "counter_reset":
        assert set(np.array(counts)[other]) == {0.0}
    assert s[at.S_BOOT] == boots


def test_on_change_sends_slow_signals_when_they_change() -> None:
    every, _ = drive(hours=2.0)
    some, _ = drive("on_change", hours=2.0)
    for name in ("gross_weight_kg", "cargo_kg", "switches"):
        sent = ~np.isnan(some[name])
        assert 0 < sent.sum() < 0.5 * sent.size
        held = some[name].copy()
        for i in range(1, held.size):
            if np.isnan(held[i]):
                held[i] = held[i - 1]
        assert np.array_equal(held, every[name], equal_nan=True), name
    assert np.array_equal(some["speed_kmh"], every["speed_kmh"])


def test_a_clock_without_battery_starts_in_the_past() -> None:
    r, t = run(world("no_rtc", "first_fix"), 900)
    error_s = (r["time_ns"] - t["time_ns"]) / 1e9
    assert error_s[0] < -3600.0
    assert r["clock_source"][0] == 0
    assert r["clock_error_ms"][0] == -1
    assert 10 < (error_s != 0.0).sum() <= 41
    assert set(np.unique(r["clock_source"][error_s == 0.0])) <= {2, 3}
    good, true = run(world(), 300)
    assert np.array_equal(good["time_ns"], true["time_ns"])


def test_a_parked_vehicle_falls_silent() -> None:
    small = scenario(fleet={**FLEET, "shift": "day"}, sensors=HONEST)
    readings, truth = run(build(small, 5), 86_400)
    pauses_s = np.diff(truth["time_ns"]) / 1e9
    assert pauses_s.max() > 6 * 3600.0
    parked = (truth["stage"] == 0) & (truth["engine_on"] == 0.0)
    silent = np.isnan(readings["speed_kmh"])
    assert silent.any()
    assert np.all(parked[silent])
    assert not np.isnan(readings["lat_deg"][silent]).any()
    assert truth["fuel_l"].sum() > 0.0


@pytest.mark.parametrize(("fuel_signals", "present"), [("rate", {"fuel_rate_lph"}), ("none", set())])
def test_fuel_signals_that_are_not_fitted_are_absent(fuel_signals: str, present: set[str]) -> None:
    r, _ = drive(hours=1.0, fuel_signals=fuel_signals)
    names = ("fuel_rate_lph", "fuel_total_hr_l", "fuel_total_l")
    assert {name for name in names if not np.isnan(r[name]).all()} == present


def test_gas_and_battery_vehicles_have_their_own_signals() -> None:
    gas, truth = run(build(scenario(fleet={**FLEET, "fuel": "lng"}, sensors=HONEST), 5), 2 * 3600)
    used = gas["gas_total_kg"][-1] - gas["gas_total_kg"][0]
    assert used == pytest.approx(0.4525 * truth["fuel_l"][1:].sum(), rel=1e-6)
    assert np.isnan(gas["fuel_total_hr_l"]).all()
    electric = {**FLEET, "vehicle_class": "bev_artic_40t", "fuel": "electricity"}
    battery, truth = run(build(scenario(fleet=electric, sensors=HONEST), 5), 2 * 3600)
    used = battery["battery_energy_total_kwh"][-1] - battery["battery_energy_total_kwh"][0]
    assert used == pytest.approx(truth["energy_kwh"][1:].sum(), abs=1e-6)
    assert battery["battery_power_kw"].min() < 0.0 < battery["battery_power_kw"].max()
    assert np.isnan(battery["fuel_rate_lph"]).all()
