"""A warehouse's carriers, each metered on its own, and what passes its doors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.columns import UNKNOWN
from stream.factors import fuel_factors, grid_factors
from stream.fleet import Warehouse, build_fleet
from stream.market import MarketFactor
from stream.pipeline import Columns, start, step
from tests.support import classes, factors, readings

N = 60
T = np.arange(N) * 60.0
RISE = np.arange(N) * 1.0  # 1 per minute
USED = float(N - 1)
SITE = Warehouse(
    "w", "d-w", "W", 50.0, 8.0, "uk", refrigerant="r717", heat_factor_kg_per_kwh=0.18, heat_source="x 2025"
)
UK = grid_factors(factors(), "uk")


def run(
    site: Warehouse = SITE, market: tuple[MarketFactor, ...] = (), name: str = "fleetco2-2025.2", **signals: object
) -> tuple[Columns, Columns]:
    built = build_fleet([], [site], [], factors(name), classes(), market=market)
    results = step(start(built), readings(T, **signals))[1]  # type: ignore[arg-type]
    return results.emissions, results.rollups


def total(columns: Columns, name: str) -> float:
    return float(columns[name][columns[name] != UNKNOWN].sum()) / 1e9


def test_grid_electricity_by_location_and_market() -> None:
    eac = MarketFactor("eac", 0.0, 2025, "guarantees of origin", asset="w")
    e, _ = run(market=(eac,), grid_import_kwh=500 + RISE)
    assert total(e, "co2e_wtt_ug") == pytest.approx(USED * UK.total)
    assert total(e, "co2e_wtt_market_ug") == pytest.approx(USED * (UK.total - UK.generation))
    assert total(e, "co2e_ttw_ug") == 0.0


def test_own_solar_has_no_scope_2_and_the_supply_of_its_making() -> None:
    e, rolls = run(grid_import_kwh=500 + 2 * RISE, pv_kwh=100 + 3 * RISE, grid_export_kwh=20 + 1 * RISE)
    assert total(rolls, "pv_used_uwh") == pytest.approx(2 * USED)
    assert total(rolls, "grid_export_uwh") == pytest.approx(USED)
    assert total(e, "co2e_wtt_ug") == pytest.approx(2 * USED * UK.total + 2 * USED * 0.041)
    assert total(e, "energy_uwh") == pytest.approx(2 * USED)


def test_export_is_never_negative_and_comes_off_what_is_used_later() -> None:
    pv = 100 + np.where(T < 1800, RISE * 4, 30 * 4 + (RISE - 30) * 2)
    export = 20 + np.where(T < 600, RISE * 3, 27 + (RISE - 9))  # read in jumps
    export[1:20:2] = np.nan
    e, rolls = run(pv_kwh=pv, grid_export_kwh=export)
    assert (e["co2e_wtt_ug"][1:] >= 0).all()
    assert total(rolls, "pv_used_uwh") == pytest.approx((pv[-1] - pv[0]) - (export[-1] - export[0]), abs=1e-6)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.booleans(), st.booleans()), min_size=2, max_size=N
    )
)
def test_used_solar_lies_between_0_and_what_was_made(rows: list[tuple[int, int, bool, bool]]) -> None:
    made = np.cumsum([r[0] / 1000 for r in rows])
    fed = np.cumsum([r[1] / 1000 for r in rows])
    n = len(rows)
    pad = np.full(N - n, np.nan)
    pv = np.concatenate([np.where([r[2] for r in rows], made, np.nan), pad])
    export = np.concatenate([np.where([r[3] for r in rows], fed, np.nan), pad])
    e, rolls = run(pv_kwh=pv, grid_export_kwh=export)
    known = pv[~np.isnan(pv)]
    used = total(rolls, "pv_used_uwh")
    assert -1e-9 <= used <= (known[-1] - known[0] if known.size else 0.0) + 1e-9
    assert (e["co2e_wtt_ug"][e["co2e_wtt_ug"] != UNKNOWN] >= 0).all()


def test_solar_in_a_set_that_has_no_factor_for_it_is_unknown() -> None:
    e, _ = run(name="fleetco2-2025.1", grid_import_kwh=500 + RISE, pv_kwh=100 + RISE)
    assert (e["co2e_wtt_ug"][1:] == UNKNOWN).all()


def test_heat_takes_its_suppliers_factor() -> None:
    e, rolls = run(grid_import_kwh=500 + RISE, heat_kwh=40 + 5 * RISE)
    assert total(rolls, "heat_uwh") == pytest.approx(5 * USED)
    assert total(e, "co2e_wtt_ug") == pytest.approx(USED * UK.total + 5 * USED * 0.18)


def test_heat_without_a_factor_is_refused_and_never_free() -> None:
    e, rolls = run(Warehouse("w", "d-w", "W", 50.0, 8.0, "uk"), grid_import_kwh=500 + RISE, heat_kwh=40 + 5 * RISE)
    assert (e["co2e_wtt_ug"] == UNKNOWN).all()
    assert total(rolls, "heat_uwh") == pytest.approx(5 * USED)
    unsaid = Warehouse("w", "d-w", "W", 50.0, 8.0, "uk", heat_factor_kg_per_kwh=0.18)
    with pytest.raises(ValueError, match="warehouse w: heat_factor_kg_per_kwh needs heat_source"):
        run(unsaid)


def test_gas_and_generator() -> None:
    e, rolls = run(gas_kwh_gross=10 + 5 * RISE, genset_fuel_total_l=7 + RISE)
    gas_oil = fuel_factors(factors(), "gas_oil")
    assert total(rolls, "gas_uwh") == pytest.approx(5 * USED)
    assert total(e, "co2e_ttw_ug") == pytest.approx(5 * USED * 0.18231 + USED * gas_oil.ttw)
    assert total(e, "co2e_wtt_ug") == pytest.approx(5 * USED * 0.03021 + USED * gas_oil.wtt)
    assert (e["ch4_co2e_ttw_ug"] == UNKNOWN).all()  # gas: not told apart


def test_forklifts_are_a_part_of_the_load_and_add_nothing() -> None:
    with_, rolls = run(grid_import_kwh=500 + 2 * RISE, forklift_kwh=RISE)
    without, _ = run(grid_import_kwh=500 + 2 * RISE)
    assert total(rolls, "forklift_uwh") == pytest.approx(USED)
    assert total(with_, "co2e_wtt_ug") == total(without, "co2e_wtt_ug")


def test_goods_and_pallets_telescope_to_their_counters() -> None:
    rng = np.random.default_rng(3)
    goods = np.cumsum(rng.uniform(0, 900, N)).round(3)
    pallets = np.cumsum(rng.integers(0, 5, N)).astype(float)
    goods[rng.random(N) < 0.3] = np.nan
    goods[[0, -1]] = 0.0, 40_000.0
    _, rolls = run(
        goods_out_total_kg=goods, pallets_in_total=pallets, pallets_out_total=2 * pallets, pallets_stored=10.0
    )
    assert rolls["goods_out_g"].sum() == 40_000_000
    assert rolls["pallets_in"].sum() == pallets[-1] - pallets[0]
    assert rolls["pallets_out"].sum() == 2 * (pallets[-1] - pallets[0])
    assert rolls["pallet_us"].sum() == 10 * (N - 1) * 60 * 10**6


def test_a_zone_of_life_cycle_figures_has_one() -> None:
    site = Warehouse("w", "d-w", "W", 50.0, 8.0, "de")
    e, _ = run(site, grid_import_kwh=500 + RISE)
    assert total(e, "co2e_wtt_ug") == pytest.approx(USED * 0.38095)
