"""Factor sets against the published values, and what they refuse."""

import math

import pytest

from stream.factors import FactorError, fuel_factors, grid_factors, parse_classes, parse_factors
from tests.support import ROOT, factors


@pytest.mark.parametrize(
    ("fuel", "ttw", "wtw"),
    [  # science reference, section 1: DESNZ 2025
        ("diesel_avg", 2.57082, 3.18183),
        ("diesel_b0", 2.66155, 3.28564),
        ("diesel_b7", 2.487, 3.095),
        ("diesel_b10", 2.412, 3.013),
        ("diesel_b20", 2.163, 2.741),
        ("hvo100", 0.03558, 0.600),
        ("lng", 2.60330, 3.516),
        ("cng", 2.57546, 3.106),
        ("gas_oil", 2.75541, 3.382),
    ],
)
def test_published_values(fuel: str, ttw: float, wtw: float) -> None:
    f = fuel_factors(factors(), fuel)
    assert f.ttw == pytest.approx(ttw, abs=6e-4)
    assert f.ttw + f.wtt == pytest.approx(wtw, abs=6e-4)


def test_biogenic_stands_apart() -> None:
    b7 = fuel_factors(factors(), "diesel_b7")
    assert b7.biogenic == pytest.approx(0.167, abs=1e-3)
    assert b7.co2 < b7.ttw


def test_two_vintages_side_by_side() -> None:
    assert fuel_factors(factors("fleetco2-2026.1"), "diesel_avg").ttw * 1000 == pytest.approx(2583.54)
    assert fuel_factors(factors(), "diesel_avg").ttw * 1000 == pytest.approx(2570.82)
    assert grid_factors(factors("fleetco2-2026.1"), "uk").generation == pytest.approx(0.13096)


def test_grid_zones() -> None:
    assert grid_factors(factors(), "cn-shanxi").generation == pytest.approx(0.6634)
    assert grid_factors(factors(), "uk").total == pytest.approx(0.2454, abs=1e-9)
    assert math.isnan(grid_factors(factors(), "de").generation)
    with pytest.raises(FactorError, match="no grid zone 'cn-tibet'"):
        grid_factors(factors(), "cn-tibet")


def test_unknown_fuel_is_not_guessed() -> None:
    with pytest.raises(FactorError, match="no fuel 'diesel'"):
        fuel_factors(factors(), "diesel")


def test_unit_is_checked() -> None:
    with pytest.raises(FactorError, match="kgCO2e/kWh gross CV"):
        factors().get("natural_gas", "ttw", "kgCO2e/kWh net CV")


def test_every_row_tells_source_version_and_licence() -> None:
    for name in ("fleetco2-2025.1", "fleetco2-2026.1"):
        for row in factors(name).rows.values():
            assert all((row.source, row.vintage, row.licence)), row
    for line in (ROOT / "stream" / "vehicle_classes.csv").read_text(encoding="utf-8").splitlines()[1:]:
        assert "own work" in line


def test_bad_tables_name_the_line() -> None:
    text = (ROOT / "stream" / "factor_sets" / "fleetco2-2025.1.csv").read_text(encoding="utf-8")
    head, first = text.splitlines()[:2]
    with pytest.raises(FactorError, match=r"line 3: .*twice"):
        parse_factors("x", f"{head}\n{first}\n{first}\n")
    with pytest.raises(FactorError, match="line 2"):
        parse_factors("x", f"{head}\n{first.replace('2.57082', 'much')}\n")


def test_classes() -> None:
    classes = parse_classes((ROOT / "stream" / "vehicle_classes.csv").read_text(encoding="utf-8"))
    assert classes["artic_40t"].curb_kg == 15000
    assert classes["bev_artic_40t"].gvw_kg == 40000
    assert math.isnan(classes["bev_artic_40t"].idle_lph)
