"""Gases, urea, the refrigeration unit, market-based electricity and refrigerants, against the factors by hand."""

import numpy as np
import numpy.typing as npt
import pytest

from stream.columns import UNKNOWN
from stream.factors import fuel_factors, grid_factors, refrigerant_gwp
from stream.fleet import Fleet, Vehicle, Warehouse, build_fleet
from stream.market import MarketFactor
from stream.pipeline import Columns, start, step
from tests.support import classes, factors, fleet, readings

N = 120
T = np.arange(N)
LITRES = np.floor(1000 * (50 + T * 0.007)) / 1000
TICKS_L = LITRES[-1] - LITRES[0]


def run(batch: Columns, *vehicles: Vehicle, warehouses: tuple[Warehouse, ...] = ()) -> tuple[Columns, Columns]:
    return ran(fleet(*vehicles, warehouses=warehouses), batch)


def ran(a_fleet: Fleet, batch: Columns) -> tuple[Columns, Columns]:
    results = step(start(a_fleet), batch)[1]
    return results.emissions, results.rollups


def total(columns: Columns, name: str) -> float:
    """kg, L or kWh."""
    values: npt.NDArray[np.int64] = columns[name]
    return float(values[values != UNKNOWN].sum()) / 1e9


def test_gases_stand_beside_the_published_total_and_never_make_it() -> None:
    e, rolls = run(readings(T, fuel_total_hr_l=LITRES), Vehicle("t", "d-t", "artic_40t", "diesel_b0"))
    f = fuel_factors(factors(), "diesel_b0")
    for name, factor in (("co2e_ttw_ug", f.ttw), ("co2_ttw_ug", f.co2), ("ch4_co2e_ttw_ug", f.ch4)):
        assert total(e, name) == pytest.approx(TICKS_L * factor, rel=1e-6), name
    assert total(e, "n2o_co2e_ttw_ug") == pytest.approx(TICKS_L * 0.0329, rel=1e-6)
    assert total(rolls, "co2e_split_ug") == total(rolls, "co2e_ttw_ug")


@pytest.mark.parametrize("fuel", ["diesel_b7", "hvo100", "petrol_e10"])
def test_a_gas_that_the_factor_does_not_tell_apart_is_unknown(fuel: str) -> None:
    e, rolls = run(readings(T, fuel_total_hr_l=LITRES), Vehicle("t", "d-t", "artic_40t", fuel))
    assert (e["ch4_co2e_ttw_ug"] == UNKNOWN).all()
    assert (e["n2o_co2e_ttw_ug"] == UNKNOWN).all()
    assert total(e, "co2e_ttw_ug") > 0.0
    assert total(rolls, "co2e_split_ug") == 0.0


def test_adblue_adds_its_urea_to_ttw_and_to_fossil_co2() -> None:
    plain = readings(T, fuel_total_hr_l=LITRES)
    with_urea = readings(T, fuel_total_hr_l=LITRES, adblue_total_l=20 + np.floor(T / 50) * 0.5)
    (e0, _), (e1, _) = run(plain), run(with_urea)
    for name in ("co2e_ttw_ug", "co2_ttw_ug"):
        assert total(e1, name) - total(e0, name) == pytest.approx(2 * 0.5 * 0.2598, abs=1e-4)
    assert total(e1, "co2e_wtt_ug") == total(e0, "co2e_wtt_ug")


def test_an_impossible_rise_of_adblue_is_not_believed() -> None:
    wild = np.where(T < 60, 20.0, 500.0)
    wild[61:] = 20.0
    e, _ = run(readings(T, fuel_total_hr_l=LITRES, adblue_total_l=wild))
    assert total(e, "co2e_ttw_ug") == total(run(readings(T, fuel_total_hr_l=LITRES))[0], "co2e_ttw_ug")


def test_what_the_refrigeration_unit_burns_while_the_engine_is_unknown_waits_and_is_not_lost() -> None:
    engine = np.where((T > 30) & (T < 90), np.nan, LITRES)
    unit = 5 + np.floor(T / 10) * 0.01
    e, _ = run(readings(T, fuel_total_hr_l=engine, tru_fuel_total_l=unit))
    assert total(e, "tru_fuel_nl") == pytest.approx(unit[-1] - unit[0], abs=1e-9)
    assert (e["tru_fuel_nl"][31:90] == UNKNOWN).all()
    bare, _ = run(readings(T, fuel_total_hr_l=engine))
    gas_oil = fuel_factors(factors(), "gas_oil")
    for name, factor in (("co2e_ttw_ug", gas_oil.ttw), ("co2e_wtt_ug", gas_oil.wtt), ("co2_ttw_ug", gas_oil.co2)):
        assert total(e, name) - total(bare, name) == pytest.approx((unit[-1] - unit[0]) * factor, rel=1e-6)


def test_electric_vehicle_by_location_and_by_market() -> None:
    van = Vehicle("v", "d-v", "bev_van_3.5t", "electricity", grid_zone="uk")
    kwh = 100 + T * 0.005
    contract = MarketFactor("contract", 0.05, 2025, "supplier's letter", asset="v")
    e, _ = ran(
        build_fleet([van], [], [], factors(), classes(), market=[contract]), readings(T, battery_energy_total_kwh=kwh)
    )
    grid = grid_factors(factors(), "uk")
    used = (kwh[-1] - kwh[0]) / classes()["bev_van_3.5t"].eta_charge
    assert total(e, "co2e_wtt_ug") == pytest.approx(used * grid.total, rel=1e-6)
    assert total(e, "co2e_wtt_market_ug") == pytest.approx(used * (grid.total - grid.generation + 0.05), rel=1e-6)
    for name in ("co2e_ttw_ug", "co2_ttw_ug", "ch4_co2e_ttw_ug", "n2o_co2e_ttw_ug"):
        assert total(e, name) == 0.0


def test_fuel_has_no_market_based_figure_of_its_own() -> None:
    e, _ = run(readings(T, fuel_total_hr_l=LITRES))
    assert (e["co2e_wtt_market_ug"] == e["co2e_wtt_ug"]).all()


def test_refrigerant_is_a_step_of_its_own_line() -> None:
    topup = np.where(T < 70, 12.0, 15.5)
    vehicle = Vehicle("t", "d-t", "artic_40t", "diesel_b7", tru_refrigerant="R-404A")
    e, rolls = run(readings(T, fuel_total_hr_l=LITRES, refrigerant_topup_total_kg=topup), vehicle)
    assert np.flatnonzero(e["refrigerant_co2e_ug"] > 0).tolist() == [70]
    assert total(e, "refrigerant_co2e_ug") == pytest.approx(3.5 * 3942.8)
    assert total(rolls, "refrigerant_co2e_ug") == pytest.approx(3.5 * 3942.8)
    bare, _ = run(readings(T, fuel_total_hr_l=LITRES))
    assert total(e, "co2e_ttw_ug") == total(bare, "co2e_ttw_ug")


def test_refrigerant_of_a_kind_nobody_told_is_unknown_and_not_nothing() -> None:
    e, rolls = run(readings(T, fuel_total_hr_l=LITRES, refrigerant_topup_total_kg=np.where(T < 70, 12.0, 15.5)))
    assert e["refrigerant_co2e_ug"][70] == UNKNOWN
    assert rolls["refrigerant_unknown_g"].sum() == 3500


def test_a_top_up_counter_set_back_books_nothing() -> None:
    counter = np.where(T < 40, 12.0, np.where(T < 80, 8.0, 9.0))
    vehicle = Vehicle("t", "d-t", "artic_40t", "diesel_b7", tru_refrigerant="r744")
    e, _ = run(readings(T, refrigerant_topup_total_kg=counter), vehicle)
    assert total(e, "refrigerant_co2e_ug") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "gwp"), [("r404a", 3943), ("R-410A", 1924), ("r134a", 1300), ("r744", 1), ("r717", 0)]
)
def test_gwp_of_refrigerants(name: str, gwp: float) -> None:
    assert refrigerant_gwp(factors(), name) == pytest.approx(gwp, abs=0.6)  # science reference, section 7, AR5
