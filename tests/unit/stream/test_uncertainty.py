"""The parts of a reading's error, and how they behave in sums."""

import math

import numpy as np
import pytest

from stream.columns import UNKNOWN
from stream.factors import fuel_factors
from stream.fleet import Vehicle, Warehouse
from stream.pipeline import Columns, start, step
from stream.uncertainty import MODEL_TAU_S, U_MODEL_SECOND_REL
from tests.support import factors, fleet, readings

N = 601
T = np.arange(N)
B7 = fuel_factors(factors(), "diesel_b7")
TICK_MG = (B7.ttw + B7.wtt) * 1e-3 * 1e6  # of 1 mL
FULL = np.floor(1000 * (50 + T * 0.00667)) / 1000


def sums(batch: Columns, *vehicles: Vehicle) -> dict[str, float]:
    rolls = step(start(fleet(*vehicles)), batch)[1].rollups
    return {name: float(rolls[name].sum()) for name in rolls}


def rows(batch: Columns, *vehicles: Vehicle, warehouses: tuple[Warehouse, ...] = ()) -> Columns:
    return step(start(fleet(*vehicles, warehouses=warehouses)), batch)[1].emissions


def test_a_counters_differences_telescope_so_an_unbroken_span_has_one_tick() -> None:
    s = sums(readings(T, fuel_total_hr_l=FULL))
    assert s["u_ind_mg2"] == pytest.approx(TICK_MG**2 / 6, rel=1e-6)
    assert s["u_asset_ug"] == pytest.approx(0.0175 * (s["co2e_ttw_ug"] + s["co2e_wtt_ug"]), rel=1e-6)
    assert s["u_model_ug"] == s["u_trip_ug"] == s["u_grid_ug"] == 0


def test_a_reset_begins_another_span() -> None:
    broken = np.where(T < 300, FULL, FULL - FULL[300] + 1000.0)
    s = sums(readings(T, fuel_total_hr_l=broken, fuel_rate_lph=24.0))
    rate_only = (
        0.15 / 2 * 24 / 3600 * 1e3 * TICK_MG
    ) ** 2  # the reading at the break has its rate alone, its speed unknown
    assert s["u_ind_mg2"] == pytest.approx(2 * TICK_MG**2 / 6 + rate_only, rel=0.02)


def test_a_stop_begins_another_span() -> None:
    speed = np.where((T > 200) & (T < 400), 0.0, 60.0)
    s = sums(readings(T, fuel_total_hr_l=FULL, speed_kmh=speed))
    assert s["u_ind_mg2"] == pytest.approx(2 * TICK_MG**2 / 6, rel=1e-6)


def test_a_coarse_counter_has_its_own_tick_and_its_readings_the_rates_error() -> None:
    coarse = np.floor(2 * (50 + T * 0.00667)) / 2
    batch = readings(T, fuel_total_l=coarse, fuel_rate_lph=24.0)
    assert sums(batch)["u_ind_mg2"] == pytest.approx((500 * TICK_MG) ** 2 / 6, rel=0.01)
    u = rows(batch)["co2e_u_rel"]
    assert np.nanmin(u) > 0.15
    assert np.nanmin(rows(readings(T, fuel_total_hr_l=FULL))["co2e_u_rel"]) < 0.15


@pytest.mark.parametrize(("dt_s", "rel"), [(1.0, 0.05), (5.0, 0.25)])
def test_a_slow_rate_is_sampled_the_worse(dt_s: float, rel: float) -> None:
    t = np.arange(0, 600 + dt_s, dt_s)
    s = sums(readings(t, fuel_rate_lph=24.0, speed_kmh=70.0))
    each = 24 / 3600 * dt_s * 1e3 * TICK_MG
    assert s["u_ind_mg2"] == pytest.approx((t.size - 1) * (rel / 2 * each) ** 2, rel=1e-3)


@pytest.mark.parametrize("dt_s", [1.0, 5.0])
def test_errors_of_the_model_hang_together_whatever_the_reading_rate(dt_s: float) -> None:
    t = np.arange(0, 3600 + dt_s, dt_s)
    s = sums(readings(t, speed_kmh=80.0))
    total_mg = (s["co2e_ttw_ug"] + s["co2e_wtt_ug"]) / 1e3
    independent = 3600 / (2 * MODEL_TAU_S + dt_s)  # seconds that stand for themselves
    assert s["u_ind_mg2"] == pytest.approx((U_MODEL_SECOND_REL / 2 * total_mg) ** 2 / independent, rel=1e-3)


def test_a_weight_narrows_the_trips_part_of_the_model() -> None:
    blind, weighed = sums(readings(T, speed_kmh=80.0)), sums(readings(T, speed_kmh=80.0, gross_weight_kg=27_500.0))
    assert weighed["u_trip_ug"] < 0.9 * blind["u_trip_ug"]


def test_what_was_learnt_takes_the_classes_part_away() -> None:
    t = np.arange(4 * 3600)
    v = 70 + 12 * np.sin(t / 90)
    measured = np.where(t < 3 * 3600, np.cumsum(np.full(t.size, 0.007)), np.nan)
    taught = step(start(fleet()), readings(t, speed_kmh=v, fuel_total_hr_l=measured))[1].rollups
    last = taught["minute_ns"] >= taught["minute_ns"].max() - 30 * 60 * 10**9
    share = taught["u_model_ug"][last].sum() / (taught["co2e_ttw_ug"] + taught["co2e_wtt_ug"])[last].sum()
    assert share < 0.25 * 0.15 / 2


def test_factors_have_their_own_parts_apart() -> None:
    s = sums(readings(T, fuel_total_hr_l=FULL))
    assert s["u_fuel_ttw_ug"] == pytest.approx(s["co2e_ttw_ug"] * B7.u_ttw_rel / 2, rel=1e-5)
    assert s["u_fuel_wtt_ug"] == pytest.approx(s["co2e_wtt_ug"] * 0.12 / 2, rel=1e-5)
    kwh = 100 + T * 0.005
    van = Vehicle("v", "d-v", "bev_van_3.5t", "electricity", grid_zone="uk")
    s = sums(readings(T, battery_energy_total_kwh=kwh), van)
    assert s["u_grid_ug"] > 0.03 * s["co2e_wtt_ug"]
    assert s["u_fuel_ttw_ug"] == s["u_fuel_wtt_ug"] == 0


def test_ttw_factors_are_known_to_2_percent_of_co2_and_a_factor_of_2_of_the_gases() -> None:
    b0 = fuel_factors(factors(), "diesel_b0")
    assert b0.u_ttw_rel == pytest.approx(math.hypot(0.02 * 2.62836, 0.03319) / 2.66155, rel=1e-3)
    assert fuel_factors(factors(), "hvo100").u_ttw_rel == 1.0  # all of it is CH4 and N2O
    assert fuel_factors(factors(), "lng").u_ttw_rel == 0.05


def test_a_regenerating_interval_keeps_its_sign_so_that_bias_cancels_as_energy_does() -> None:
    kwh = 100 + np.where(T < 300, T, 600 - T) * 0.005
    s = sums(
        readings(T, battery_energy_total_kwh=kwh), Vehicle("v", "d-v", "bev_van_3.5t", "electricity", grid_zone="uk")
    )
    assert s["co2e_wtt_ug"] == pytest.approx(0, abs=2e6)
    assert abs(s["u_asset_ug"]) < 1e5
    assert abs(s["u_grid_ug"]) < 1e5


def test_a_site_has_the_error_of_its_meter_and_of_its_zone() -> None:
    site = Warehouse("w", "d-w", "W", 50.0, 8.0, "uk")
    built = fleet(Vehicle("v", "d-v", "van_3.5t", "diesel_b7"), warehouses=(site,))
    rolls = step(start(built), readings(T, device=1, grid_import_kwh=500 + T * 0.1))[1].rollups
    total = float(rolls["co2e_wtt_ug"].sum())
    assert rolls["u_asset_ug"].sum() == pytest.approx(0.0025 * total, rel=1e-3)
    assert 0.05 < 2 * rolls["u_grid_ug"].sum() / total < 0.1


def test_nothing_is_known_of_the_error_of_nothing() -> None:
    e = rows(readings(T, speed_kmh=0.0, fuel_total_hr_l=50.0))
    assert (e["co2e_ttw_ug"][1:] == 0).all()
    assert np.isnan(e["co2e_u_rel"]).all()
    e = rows(readings(T, lat_deg=50.0))
    assert (e["co2e_ttw_ug"] == UNKNOWN).all()
    assert np.isnan(e["co2e_u_rel"]).all()
