"""The whole step on small made-up trips whose answer is plain."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from stream.columns import DISTANCE_METHODS, ENERGY_METHODS, UNKNOWN
from stream.fleet import Vehicle, Warehouse
from stream.pipeline import Columns, start, step
from stream.state import StateError
from tests.support import S_NS, T0_NS, fleet, join, readings, rows

N = 600
T = np.arange(N)


def _run(batch: Columns, vehicles: tuple[Vehicle, ...] = (), warehouses: tuple[Warehouse, ...] = ()) -> Columns:
    return step(start(fleet(*vehicles, warehouses=warehouses)), batch)[1].emissions


def _known(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    known: npt.NDArray[np.int64] = values[values != UNKNOWN]
    return known


def _litres(emissions: Columns) -> float:
    return float(_known(emissions["fuel_nl"]).sum()) / 1e9


def _methods(emissions: Columns) -> set[str]:
    return {ENERGY_METHODS[m] for m in emissions["energy_method"]}


def test_high_resolution_counter_comes_first_and_sums_exactly() -> None:
    total = np.floor(1000_000 + T * 6.7) / 1000
    e = _run(readings(T, fuel_total_hr_l=total, fuel_rate_lph=30.0, speed_kmh=80.0))
    assert _methods(e) == {"counter_hr", "none"}
    assert round(_litres(e) * 1000) == round((total[-1] - total[0]) * 1000)


def test_co2e_is_litres_times_the_published_factor() -> None:
    e = _run(readings([0, 3600 - 10, 3600], fuel_total_hr_l=[0.0, 89.0, 89.5], odometer_m=0.0))
    kg = _known(e["co2e_ttw_ug"]).sum() / 1e9
    assert kg == pytest.approx(89.5 * 2.48697, rel=1e-4)  # science reference, section 1, B7


def test_coarse_counter_is_shaped_by_the_rate_and_stays_within_a_tick() -> None:
    rate = 20 + 15 * np.sin(T / 40)
    used = np.cumsum(rate) / 3600
    e = _run(readings(T, fuel_total_l=np.floor(used * 2) / 2, fuel_rate_lph=rate * 1.05, speed_kmh=60.0))
    assert _methods(e) <= {"counter", "none"}
    assert abs(_litres(e) - (used[-1] - used[0])) <= 0.5
    assert np.count_nonzero(_known(e["fuel_nl"])) > 0.95 * N


def test_rate_is_integrated_and_never_held_over_a_gap() -> None:
    t = np.concatenate([T[:300], T[300:] + 3600])
    e = _run(readings(t, fuel_rate_lph=36.0))
    assert _litres(e) == pytest.approx(36.0 * 598 / 3600, rel=1e-6)
    assert e["fuel_nl"][300] == UNKNOWN
    assert ENERGY_METHODS[e["energy_method"][300]] == "none"


def test_model_is_the_last_resort_and_says_so() -> None:
    e = _run(readings(T, speed_kmh=80.0, gross_weight_kg=27_500.0))
    assert _methods(e) == {"model", "none"}
    assert _litres(e) / (80 * 599 / 3600) * 100 == pytest.approx(26.7, rel=0.10)  # EMEP/EEA artic half laden
    assert np.nanmin(e["co2e_u_rel"]) > 0.15


def test_vehicle_teaches_its_model_and_a_gap_is_filled_by_it() -> None:
    t = np.arange(3 * 3600)
    v = 70 + 12 * np.sin(t / 90)
    bare = _run(readings(t, speed_kmh=v))
    planted = np.cumsum(np.where(bare["fuel_nl"] == UNKNOWN, 0, bare["fuel_nl"])) / 1e9 * 1.25
    measured = np.where(t < 2 * 3600, planted, np.nan)
    e = _run(readings(t, speed_kmh=v, fuel_total_hr_l=measured))
    gap = e["fuel_nl"][t >= 2 * 3600]
    assert {ENERGY_METHODS[m] for m in e["energy_method"][t >= 2 * 3600]} == {"model"}
    assert gap.sum() / 1e9 == pytest.approx(planted[-1] - planted[2 * 3600 - 1], rel=0.06)
    assert np.nanmin(e["co2e_u_rel"][t >= 2 * 3600]) < np.nanmin(bare["co2e_u_rel"])


def test_a_wild_counter_does_not_teach_without_bound() -> None:
    t = np.arange(2 * 3600)
    counter = np.where(t < 3600, t * 0.02, np.nan)
    e = _run(readings(t, speed_kmh=60.0, fuel_total_hr_l=counter))
    bare = _run(readings(t, speed_kmh=60.0))
    assert e["fuel_nl"][-1] <= 1.61 * bare["fuel_nl"][-1]


def test_nothing_measured_is_unknown_not_zero() -> None:
    e = _run(readings(T, lat_deg=50.0, lon_deg=8.0))
    assert (e["fuel_nl"] == UNKNOWN).all()
    assert (e["co2e_ttw_ug"] == UNKNOWN).all()
    assert (e["distance_mm"] == UNKNOWN).all()
    assert np.isnan(e["co2e_u_rel"]).all()


def test_gap_is_booked_at_its_end_with_its_own_method() -> None:
    e = _run(readings([0, 1, 1000, 1001], fuel_total_hr_l=[10.0, 10.01, 12.0, 12.01], speed_kmh=50.0))
    assert [ENERGY_METHODS[m] for m in e["energy_method"]] == ["none", "counter_hr", "counter_gap", "counter_hr"]
    assert e["fuel_nl"][2] == 1_990_000_000


def test_counter_reset_invents_nothing() -> None:
    total = np.concatenate([500 + T[:300] * 0.007, T[:300] * 0.007])
    e = _run(readings(T, fuel_total_hr_l=total, speed_kmh=50.0))
    assert (_known(e["fuel_nl"]) >= 0).all()
    assert _litres(e) == pytest.approx(2 * 299 * 0.007, abs=0.01)


def test_older_rows_compute_nothing() -> None:
    e = _run(readings([0, 10, 5, 20], fuel_total_hr_l=[1.0, 1.1, 1.05, 1.2], odometer_m=[0, 100, 50, 200]))
    assert e["fuel_nl"].tolist() == [UNKNOWN, 100_000_000, UNKNOWN, 100_000_000]
    assert e["distance_mm"].tolist() == [UNKNOWN, 100_000, UNKNOWN, 100_000]


def test_odometer_before_speed_and_settled_after_a_dropout() -> None:
    odometer = 1000 + np.floor(T * 22.2 / 5) * 5
    odometer[100:200] = np.nan
    e = _run(readings(T, odometer_m=odometer, speed_kmh=80.0))
    named = [DISTANCE_METHODS[m] for m in e["distance_method"]]
    assert named[50] == "odometer"
    assert named[150] == "wheel_speed"
    assert _known(e["distance_mm"]).sum() / 1000 == pytest.approx(odometer[-1] - odometer[0], abs=25)


def test_battery_vehicle_emits_nothing_at_the_tailpipe() -> None:
    van = Vehicle("v", "d-v", "bev_van_3.5t", "electricity", grid_zone="uk")
    e = _run(readings(T, battery_energy_total_kwh=100 + T * 0.005, speed_kmh=50.0), vehicles=(van,))
    assert _known(e["co2e_ttw_ug"]).sum() == 0
    kwh = 0.005 * 599
    assert _known(e["energy_uwh"]).sum() == pytest.approx(kwh * 1e9)
    assert _known(e["co2e_wtt_ug"]).sum() / 1e9 == pytest.approx(kwh / 0.88 * 0.2454, rel=1e-6)


def test_battery_model_is_near_the_published_consumption() -> None:
    artic = Vehicle("a", "d-a", "bev_artic_40t", "electricity", grid_zone="uk")
    e = _run(readings(T, speed_kmh=80.0, gross_weight_kg=36_000.0), vehicles=(artic,))
    assert 0.95 < _known(e["energy_uwh"]).sum() / 1e9 / (80 * 599 / 3600) < 1.75  # kWh/km, science reference 3.2


def test_warehouse_counts_every_carrier() -> None:
    house = Warehouse("w", "d-w", "W", 50.0, 8.0, "cn-shanxi")
    t = np.arange(0, 3600, 60)
    batch = readings(t, device=1, grid_import_kwh=t / 36, gas_kwh_gross=t / 72, genset_fuel_total_l=0.0)
    e = _run(batch, warehouses=(house,))
    grid, gas = (3540 / 36), (3540 / 72)
    assert _known(e["co2e_ttw_ug"]).sum() / 1e9 == pytest.approx(gas * 0.18231, rel=1e-6)
    assert _known(e["co2e_wtt_ug"]).sum() / 1e9 == pytest.approx(grid * 0.7533 + gas * 0.03021, rel=1e-6)


def test_warehouse_without_meter_reading_is_unknown() -> None:
    house = Warehouse("w", "d-w", "W", 50.0, 8.0, "uk")
    e = _run(readings(np.arange(0, 600, 60), device=1, indoor_temp_c=4.0), warehouses=(house,))
    assert (e["co2e_wtt_ug"] == UNKNOWN).all()


def test_rollups_are_the_sums_of_the_rows() -> None:
    batch = readings(T, fuel_total_hr_l=T * 0.007, speed_kmh=80.0, odometer_m=T * 22.0)
    _, r = step(start(fleet()), batch)
    for name in ("fuel_nl", "distance_mm", "co2e_ttw_ug", "co2e_wtt_ug", "co2_biogenic_ug"):
        assert r.rollups[name].sum() == _known(r.emissions[name]).sum()
    assert r.rollups["readings"].sum() == N
    assert r.rollups["observed_us"].sum() == 599 * 1_000_000
    assert r.rollups["minute_ns"].size == 10
    assert (r.rollups["co2e_measured_ug"] == r.rollups["co2e_ttw_ug"] + r.rollups["co2e_wtt_ug"]).all()


def test_unknown_time_is_its_own_share() -> None:
    batch = readings(T, lat_deg=50.0)
    _, r = step(start(fleet()), batch)
    assert r.rollups["unknown_us"].sum() == r.rollups["observed_us"].sum() == 599 * 1_000_000


def test_new_boot_closes_the_old_one() -> None:
    first = readings([0, 1, 2], boot_id=5, fuel_total_hr_l=[1, 1.01, 1.02])
    second = readings([60, 61], boot_id=9, fuel_total_hr_l=[1.03, 1.04])
    state, r = step(start(fleet()), join(first, second))
    assert r.accepted == 5
    _, again = step(state, first)
    assert (again.accepted, again.duplicates) == (0, 3)


def test_row_with_unknown_time_is_numbered_but_not_used() -> None:
    batch = readings([0, 1, 2], fuel_total_hr_l=[1.0, 1.01, 1.02])
    batch["time_ns"][1] = UNKNOWN
    state, r = step(start(fleet()), batch)
    assert (r.accepted, r.readings["seq"].tolist()) == (3, [0, 2])
    assert state.rows["next_seq"][0] == 3
    assert _litres(r.emissions) == pytest.approx(0.02)


def test_merged_rows_cover_their_numbers() -> None:
    batch = readings([0, 1, 10], fuel_total_hr_l=[1.0, 1.01, 1.10])
    batch["seq"][2] = 10
    batch["merged"][2] = 9
    _, r = step(start(fleet()), batch)
    assert r.accepted == 3


def test_step_does_not_change_its_state() -> None:
    state, _ = step(start(fleet()), readings(T, fuel_rate_lph=20.0))
    before = state.to_bytes()
    step(state, readings(T + N, seq0=N, fuel_rate_lph=20.0))
    assert state.to_bytes() == before


def test_state_survives_bytes_and_registry_changes() -> None:
    a, b = Vehicle("a", "d-a", "artic_40t", "diesel_b7"), Vehicle("b", "d-b", "artic_40t", "diesel_b7")
    state, _ = step(start(fleet(a, b)), readings(T, device=1, fuel_total_hr_l=T * 0.007))
    stored = state.to_bytes()
    assert start(fleet(a, b), stored).to_bytes() == stored
    moved = start(fleet(b, a), stored)
    assert moved.rows[0].tobytes() == state.rows[1].tobytes()
    for damaged in (stored[:-1], b"XX" + stored[2:], stored[:40] + bytes([stored[40] ^ 1]) + stored[41:]):
        with pytest.raises(StateError):
            start(fleet(a, b), damaged)


def test_time_step_of_the_data_does_not_matter_much() -> None:
    t = np.arange(0, 1200)
    v = 60 + 15 * np.sin(t / 25)
    fine = _run(readings(t, speed_kmh=v))
    coarse = _run(rows(readings(t, speed_kmh=v), slice(0, None, 5)) | {"seq": np.arange(240)})
    assert _litres(coarse) == pytest.approx(_litres(fine), rel=0.02)


def test_far_future_and_zero_state_do_not_overflow() -> None:
    e = _run(readings([0, 1e9], fuel_total_hr_l=[0.0, 4_211_081.0], odometer_m=[0.0, 2.1e10]))
    assert (_known(e["fuel_nl"]) >= 0).all()
    assert math.isnan(e["co2e_u_rel"][0])
    assert T0_NS + 10**9 * S_NS < 2**63
