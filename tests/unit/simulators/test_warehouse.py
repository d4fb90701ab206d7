import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulators import kernel
from simulators import warehouse_model as model
from simulators.warehouse import REGISTERS, TRUTH, Register, Simulated, Warehouse, simulate
from simulators.warehouse_meters import MeterFaults
from simulators.warehouse_spec import PRESETS, WarehouseSpec, check, from_registry, parameters
from stream.columns import READING

START_S = 1_736_121_600  # Monday 6 January 2025, 00:00 UTC
DAY_S = 86_400
ROW = {
    "warehouse": "hall-1",
    "device": "wh-hall-1",
    "name": "Hall 1",
    "lat_deg": "51.2",
    "lon_deg": "6.8",
    "grid_zone": "DE",
}


many_days = pytest.mark.skipif(not kernel.COMPILED, reason="many simulated days need numba; 2 s a day without")


def spec(preset: str = "ambient", **keys: Any) -> WarehouseSpec:
    return from_registry(ROW, preset, **keys)


def run(site: WarehouseSpec, *, days: float = 2, every_s: int = 300, seed: int = 5) -> Simulated:
    return simulate([site], seed=seed, start_s=START_S, duration_s=int(days * DAY_S), every_s=every_s)


def year(site: WarehouseSpec) -> dict[str, float]:
    """Totals of a year, from one week of each month."""
    found = dict.fromkeys(TRUTH, 0.0)
    for month in range(12):
        world = Warehouse(site, seed=5, start_s=START_S + month * 30 * DAY_S)
        world.advance(world.now_s + 7 * DAY_S)
        for name, at in TRUTH.items():
            found[name] += world.totals()[at] * 365 / 84
    return found


def test_electricity_in_equals_electricity_out_in_every_interval() -> None:
    truth = run(spec("cold_store", pv_kwp=900, outages_per_year=300), days=7).truth
    given = truth["grid_import_kwh"] + truth["pv_kwh"] + truth["genset_kwh"]
    taken = truth["load_kwh"] + truth["grid_export_kwh"]
    assert np.abs(given - taken).max() < 1e-6
    assert truth["genset_kwh"].sum() > 0
    assert truth["grid_export_kwh"].sum() > 0
    assert truth["outage_s"].sum() > 0


def test_load_is_the_sum_of_its_parts_when_the_grid_is_there() -> None:
    truth = run(spec("cold_store", outages_per_year=0), days=7).truth
    parts = sum(truth[n] for n in ("forklift_kwh", "cold_kwh", "light_kwh", "base_kwh", "heat_kwh"))
    assert np.abs(truth["load_kwh"] - parts).max() < 1e-6


def test_without_grid_and_generator_nothing_draws_power() -> None:
    site = spec("ambient", outages_per_year=300)
    world = Warehouse(site, seed=5, start_s=START_S)
    before = world.totals()
    cut_s = dark = 0.0
    for minute in range(1, 7 * 1440):
        world.advance(START_S + 60 * minute)
        after = world.totals()
        if after[model.S_OUTAGE_S] - before[model.S_OUTAGE_S] == 60:
            cut_s += 60
            dark += after[model.S_LOAD_KWH] - before[model.S_LOAD_KWH]
        before = after
    assert cut_s > 600
    assert dark == 0.0


def test_pallets_are_conserved_and_fit() -> None:
    result = run(spec("cross_dock"), days=7)
    stored = result.readings["pallets_stored"]
    start = PRESETS["cross_dock"]["pallet_positions"] * PRESETS["cross_dock"]["fill"]
    change = np.cumsum(result.truth["pallets_in"] - result.truth["pallets_out"])
    assert np.array_equal(stored, start + change)
    assert stored.min() >= 0
    assert stored.max() <= PRESETS["cross_dock"]["pallet_positions"]
    mean_kg = result.truth["goods_out_kg"].sum() / result.truth["pallets_out"].sum()
    assert mean_kg == pytest.approx(480, rel=0.02)
    assert result.truth["rehandled"].sum() / (result.truth["pallets_in"] + result.truth["pallets_out"]).sum() == (
        pytest.approx(0.12, abs=0.02)
    )


def test_nothing_moves_on_sunday_or_at_night() -> None:
    result = run(spec(utc_offset_h=1), days=7, every_s=3600)
    moved = result.truth["pallets_in"] + result.truth["pallets_out"]
    local = result.truth["time_ns"] // 1_000_000_000 // 3600  # an hour's begin by the site's clock is its end by UTC
    sunday = (local // 24 + 3) % 7 == 6
    night = (local % 24 < 6) | (local % 24 >= 22)
    assert moved[sunday | night].sum() == 0
    assert moved[~(sunday | night)].sum() > 5000


def test_sun_shines_by_day_and_more_in_summer() -> None:
    june = 1_750_500_000 // DAY_S * DAY_S  # 21 June 2025
    assert model.sun_sine(51.0, 0.0, june + DAY_S // 2) == pytest.approx(
        math.sin(math.radians(90 - 51 + 23.44)), abs=1e-3
    )
    assert model.sun_sine(51.0, 0.0, june) < 0
    assert model.sun_sine(51.0, 90.0, june + DAY_S // 4) == pytest.approx(
        model.sun_sine(51.0, 0.0, june + DAY_S // 2), abs=1e-3
    )
    assert model.irradiance(1.0, 0.0) == pytest.approx(1037, abs=1)  # Haurwitz, sun overhead
    assert model.irradiance(1.0, 1.0) == pytest.approx(0.25 * 1037, abs=1)  # Kasten and Czeplak, overcast
    assert model.irradiance(-0.1, 0.0) == 0.0
    pv = run(spec(), days=2, every_s=3600)
    hour = pv.truth["time_ns"] // 1_000_000_000 // 3600 % 24
    assert pv.truth["pv_kwh"][(hour < 6) | (hour > 18)].sum() == 0
    assert pv.truth["pv_kwh"].sum() > 0


@pytest.mark.parametrize(("share", "low", "high"), [(1.0, 0.25, 0.30), (0.5, 0.25, 0.30), (0.25, 0.35, 0.50)])
def test_generator_fuel_lies_in_the_published_range(share: float, low: float, high: float) -> None:
    assert low <= model.genset_lph(share * 400, 400) / (share * 400) <= high


@many_days
def test_yearly_figures_lie_in_the_published_ranges() -> None:
    hall = spec()
    ambient = year(hall)
    assert 25 <= ambient["load_kwh"] / hall.area_m2 <= 60  # kWh/m2, ambient warehouses
    assert 800 <= ambient["pv_kwh"] / hall.pv_kwp <= 1150  # kWh/kWp, western Germany
    assert 15 <= ambient["gas_kwh_gross"] / hall.area_m2 <= 90
    assert ambient["forklift_kwh"] / (ambient["pallets_in"] + ambient["pallets_out"]) == pytest.approx(0.23, rel=0.3)
    house = spec("cold_store")
    cold = year(house)
    assert 37 <= cold["load_kwh"] / (house.chilled_m3 + house.frozen_m3) <= 111  # 56 and 74 (Evans 2014), half to 1.5
    assert 0.07 <= cold["refrigerant_leak_kg"] / (40_000 * 0.012) <= 0.25  # IPCC, cold storage


@many_days
@pytest.mark.parametrize(
    ("preset", "change", "column", "sign"),
    [
        ("ambient", {"temp_mean_c": 3.0}, "gas_kwh_gross", 1),
        ("ambient", {"pallets_per_day": 1600.0}, "forklift_kwh", 1),
        ("ambient", {"forklift_battery": "lead"}, "forklift_kwh", 1),
        ("ambient", {"rehandle_share": 0.5}, "forklift_kwh", 1),
        ("ambient", {"pv_kwp": 0.0}, "grid_import_kwh", 1),
        ("ambient", {"close_h": 12.0}, "light_kwh", -1),
        ("cold_store", {"temp_mean_c": 20.0}, "cold_kwh", 1),
        ("cold_store", {"frozen_m3": 5000.0}, "cold_kwh", -1),
    ],
)
def test_each_factor_moves_energy_the_right_way(preset: str, change: dict[str, Any], column: str, sign: int) -> None:
    base = run(spec(preset), days=4, every_s=3600).truth[column].sum()
    changed = run(spec(preset, **change), days=4, every_s=3600).truth[column].sum()
    assert (changed - base) * sign > 0.03 * base


@many_days
def test_refrigerant_comes_in_steps_at_nine_on_a_workday() -> None:
    result = run(spec("cold_store", leak_per_year=2.0), days=90, every_s=3600)
    added = result.truth["refrigerant_topup_kg"]
    at = np.flatnonzero(added)
    assert 2 <= at.size <= 8
    begin_h = result.truth["time_ns"][at] // 1_000_000_000 // 3600 - 1
    assert set((begin_h % 24).tolist()) == {9}
    assert set(((begin_h // 24 + 3) % 7).tolist()) <= set(range(6))
    assert added[at].min() > 0.14 * 480  # the fitter comes when 15 % are gone
    counter = result.readings["refrigerant_topup_total_kg"]
    assert np.array_equal(counter, np.round(np.cumsum(added), 1))


def test_rooms_stay_near_their_set_points() -> None:
    result = run(spec("cold_store", outages_per_year=0), days=3)
    assert result.readings["indoor_temp_c"].min() >= -23.1
    assert result.readings["indoor_temp_c"].max() <= -20.9
    hall = run(spec(temp_mean_c=0.0), days=3)
    assert hall.readings["indoor_temp_c"].min() >= 8


def test_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    def digest(seed: int) -> str:
        result = run(spec(), seed=seed)
        return hashlib.sha256(
            b"".join(v.tobytes() for v in (*result.readings.values(), *result.truth.values()))
        ).hexdigest()

    assert digest(5) == digest(5)
    assert digest(5) != digest(6)


def test_truth_does_not_depend_on_how_often_it_is_read() -> None:
    ends = []
    for every_s in (7, 60, 1800):
        world = Warehouse(spec(), seed=5, start_s=START_S)
        for now in range(START_S + every_s, START_S + 12 * 3600, every_s):
            world.advance(now)
        world.advance(START_S + 12 * 3600)
        ends.append(world.totals())
    assert ends[0] == ends[1] == ends[2]


SCRIPT = """
import hashlib, sys
if sys.argv[1] == "plain":
    for name in ("numpy", "numba", "pyarrow", "duckdb"):
        sys.modules[name] = None
import simulators.warehouse_source
from simulators import kernel
from simulators.warehouse import Warehouse
from simulators.warehouse_spec import from_registry
faults = {"resets_per_year": 300, "swaps_per_year": 300, "stalls_per_year": 300, "value_loss": 0.05, "class_error": 0.01}
site = from_registry(%r, "cold_store", pv_kwp=300.0, outages_per_year=300, meter_faults=faults)
world = Warehouse(site, seed=11, start_s=%d + 8 * 3600)
digest = hashlib.sha256()
for _ in range(60):
    world.advance(world.now_s + 60)
    digest.update(repr((world.read(), world.totals())).encode())
print(kernel.COMPILED, digest.hexdigest())
"""


def test_a_gateway_without_numpy_gets_the_very_numbers_of_compiled_code() -> None:
    def outcome(how: str) -> tuple[str, str]:
        found = subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT % (ROW, START_S), how],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[3],
            env={k: v for k, v in os.environ.items() if k != "NUMBA_DISABLE_JIT"},
        )
        compiled, digest = found.stdout.split()
        return compiled, digest

    compiled, digest = outcome("compiled")
    assert compiled == "True"
    assert outcome("plain") == ("False", digest)


def test_readings_have_every_column_and_only_what_is_fitted() -> None:
    result = run(spec("cross_dock", genset_kw=0.0, heating="none"), days=0.1)
    assert set(result.readings) == {c.name for c in READING}
    for name in ("pv_kwh", "grid_export_kwh", "gas_kwh_gross", "genset_fuel_total_l", "refrigerant_topup_total_kg"):
        assert np.isnan(result.readings[name]).all(), name
    for name in ("grid_import_kwh", "forklift_kwh", "pallets_in_total", "goods_out_total_kg", "indoor_temp_c"):
        assert not np.isnan(result.readings[name]).any(), name
    assert result.readings["seq"].tolist() == list(range(result.readings["seq"].size))
    assert result.devices == ("wh-hall-1",)


def test_sites_of_one_world_are_ordered_by_time_and_do_not_touch_each_other() -> None:
    two = from_registry({**ROW, "warehouse": "hall-2", "device": "wh-hall-2"}, "cross_dock")
    both = simulate([spec(), two], seed=5, start_s=START_S, duration_s=7200, every_s=60)
    alone = simulate([two], seed=5, start_s=START_S, duration_s=7200, every_s=60)
    assert (np.diff(both.readings["time_ns"]) >= 0).all()
    second = both.readings["device"] == 1
    assert np.array_equal(both.readings["grid_import_kwh"][second], alone.readings["grid_import_kwh"])
    assert both.readings["boot_id"][second][0] == alone.readings["boot_id"][0] > 0


@pytest.mark.parametrize("register", [r for r in REGISTERS if r.signal in TRUTH], ids=lambda r: r.signal)
def test_a_good_meter_follows_the_truth_to_one_step(register: Register) -> None:
    site = spec("ambient", genset_kw=200.0, meter_step_kwh=0.1)
    result = run(site, days=1, every_s=60)
    counter = result.readings[register.signal]
    truth = np.cumsum(result.truth[register.signal])
    error = (counter - counter[0]) - (truth - truth[0])
    assert np.abs(error).max() <= 0.1 + 1e-6
    assert np.allclose(counter * 10, np.round(counter * 10), atol=1e-6)
    assert (np.diff(counter) >= 0).all()


FAULTY = {"resets_per_year": 120.0, "swaps_per_year": 120.0, "stalls_per_year": 120.0}


@many_days
def test_meter_faults_are_those_that_the_ledger_lists() -> None:
    site = spec("ambient", meter_faults=FAULTY)
    result = run(site, days=10, every_s=60)
    events = result.events["wh-hall-1"]
    assert {e.kind for e in events} == {"reset", "swap", "stall"}
    shown = result.readings["forklift_kwh"]
    truth = np.cumsum(result.truth["forklift_kwh"])
    time_s = result.readings["time_ns"] // 1_000_000_000
    own = [e for e in events if e.signal == "forklift_kwh"]
    silent = np.zeros(shown.size, bool)
    for event in own:
        silent |= (event.kind == "stall") & (time_s >= event.time_s) & (time_s < event.time_s + event.duration_s)
    assert silent.sum() > 100
    assert np.unique(shown[silent & (time_s < next(e for e in own if e.kind == "stall").time_s + 600)]).size == 1
    zeroed = [e for e in own if e.kind != "stall"]
    for i, event in enumerate(zeroed):
        until = zeroed[i + 1].time_s if i + 1 < len(zeroed) else time_s[-1] + 1
        live = (time_s >= event.time_s) & (time_s < until) & ~silent
        at_event = truth[np.searchsorted(time_s, event.time_s) - 1 : np.searchsorted(time_s, event.time_s) + 1]
        counted = shown[live] - event.register
        assert (counted >= truth[live] - at_event[1] - 0.02).all()
        assert (counted <= truth[live] - at_event[0] + 0.02).all()


def test_lost_values_are_absent_and_lost_readings_take_no_number() -> None:
    full = run(spec(), days=1, every_s=60)
    site = spec(meter_faults={"value_loss": 0.1, "reading_loss": 0.2})
    holey = run(site, days=1, every_s=60)
    n = full.readings["seq"].size
    assert holey.readings["seq"].size == pytest.approx(0.8 * n, rel=0.05)
    assert holey.readings["seq"].tolist() == list(range(holey.readings["seq"].size))
    missing = np.isnan(holey.readings["grid_import_kwh"]).mean()
    assert missing == pytest.approx(0.1, abs=0.03)
    assert holey.truth["load_kwh"].sum() == pytest.approx(full.truth["load_kwh"].sum(), rel=0.01)


@many_days
def test_class_error_is_a_gain_within_its_band() -> None:
    gains = []
    for seed in range(40):
        result = run(spec(pv_kwp=0.0, meter_faults={"class_error": 0.02}), days=0.5, every_s=3600, seed=seed)
        counted = result.readings["grid_import_kwh"][-1] - result.readings["grid_import_kwh"][0]
        gains.append(counted / result.truth["grid_import_kwh"][1:].sum() - 1)
    assert np.abs(gains).max() < 0.04
    assert 0.005 < np.std(gains) < 0.015  # a 95 % band of 2 % is one standard deviation of 1 %


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"area_m2": 500.0}, "pallet_positions"),
        ({"open_h": 20.0, "close_h": 6.0}, "open_h"),
        ({"frozen_m3": 1e6}, "chilled_m3"),
        ({"meter_step_kwh": 0.5}, "meter_step_kwh"),
        ({"meter_faults": {"value_loss": 2.0}}, "meter_faults.value_loss"),
        ({"device": "Wh 1"}, "device"),
        ({"lat_deg": 89.0}, "lat_deg"),
        ({"pallets": 3}, "pallets"),
        ({"pallet_kg": math.nan}, "pallet_kg"),
        ({"heating": "coal"}, "heating"),
    ],
)
def test_an_impossible_warehouse_is_refused_by_name_and_key(keys: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)hall-1.*{named}"):
        spec(**keys)


def test_an_unknown_preset_and_an_empty_world_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'palace'.*cross_dock"):
        spec("palace")
    with pytest.raises(ValueError, match="no warehouses"):
        simulate([], seed=1, start_s=START_S, duration_s=60)
    with pytest.raises(ValueError, match="one device"):
        simulate([spec(), spec()], seed=1, start_s=START_S, duration_s=60)
    with pytest.raises(ValueError, match="every_s"):
        simulate([spec()], seed=1, start_s=START_S, duration_s=60, every_s=0)


def test_registry_row_and_parameters_come_from_the_same_spec() -> None:
    site = spec(pallet_positions=9000)
    row = Warehouse(site, seed=1, start_s=START_S).registry_row()
    assert row["pallet_positions"] == "9000"
    assert from_registry(row).pallet_positions == 9000
    assert from_registry({**row, "lat_deg": 0.0, "area_m2": ""}).lat_deg == 0.0
    with pytest.raises(ValueError, match=r"hall-1.*pallet_positions 'many'"):
        from_registry({**row, "pallet_positions": "many"})
    assert len(parameters(site, 1)) == model.N_P
    check(site)
    assert site.meter_faults == MeterFaults()
