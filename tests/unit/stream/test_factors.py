"""Factor sets against the published values, and what they refuse."""

import csv
import dataclasses
import io
import math
from collections.abc import Callable

import pytest

from stream.factors import (
    FactorError,
    FactorSet,
    Unit,
    adblue_co2_kg_per_l,
    fuel_factors,
    grid_factors,
    gwp_basis,
    parse_classes,
    parse_factors,
    refrigerant_gwp,
    solar_factor,
)
from stream.fleet import Vehicle, Warehouse, build_fleet
from tests.support import ROOT, factors, fleet

PUBLISHED = {
    "fleetco2-2025.1": "68950b2288dd5db91e5e7b90966e399ca4af0c1397ea93be9262cbd39cae3f50",
    "fleetco2-2025.2": "cab2e1399b264fb2d57f7ab8ec794ac8cd911b7ae9e031afb0d5a022fdb43e64",
    "fleetco2-2026.1": "c291520fdf364c6d7ab591b46beb4d306d7611bebd5970e27184e589e9704cb4",
    "fleetco2-2026.2": "ebd64c0e37a3f8beaf3aadde32d1cf7a54365dbf950aea9b0d2d1a4dbcc6d71a",
}
SETS = tuple(PUBLISHED)
Edit = Callable[[dict[str, str]], None]


def edited(*edits: tuple[str, str, Edit]) -> FactorSet:
    """The 2025 set with rows (item, parameter) changed."""
    text = (ROOT / "stream" / "factor_sets" / "fleetco2-2025.1.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    for item, parameter, edit in edits:
        (row,) = [r for r in rows if (r["item"], r["parameter"]) == (item, parameter)]
        edit(row)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return parse_factors("edited", out.getvalue())


def setting(field: str, value: str) -> Edit:
    return lambda row: row.update({field: value})


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


@pytest.mark.parametrize("fuel", ["diesel_b7", "lng"])
def test_a_class_without_engine_burns_nothing(fuel: str) -> None:
    with pytest.raises(ValueError, match=rf"vehicle t1: class 'bev_van_3.5t' has no engine, and fuel is '{fuel}'"):
        fleet(Vehicle("t1", "d-t1", "bev_van_3.5t", fuel))


def test_unit_is_checked() -> None:
    with pytest.raises(FactorError, match="kgCO2e/kWh gross CV"):
        factors().get("natural_gas", "ttw", Unit.KG_CO2E_PER_KWH_NET)


def test_every_row_tells_source_version_and_licence() -> None:
    for name in SETS:
        for row in factors(name).rows.values():
            assert all((row.source, row.vintage, row.licence)), row
    for line in csv.DictReader((ROOT / "stream" / "vehicle_classes.csv").read_text(encoding="utf-8").splitlines()):
        assert line["source"], line
        assert line["vintage"], line
        assert line["licence"] in ("own work", "EUPL-1.2"), line


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
    assert (
        0.2 <= classes["bev_van_3.5t"].aux_kw <= 0.5 < classes["van_3.5t"].aux_kw
    )  # neither belts nor air conditioning


def test_a_published_set_never_changes() -> None:
    found = {p.stem: factors(p.stem).sha256 for p in (ROOT / "stream" / "factor_sets").glob("*.csv")}
    assert found == PUBLISHED, "a new vintage is a new file with its hash here; a changed one would change old figures"


@pytest.mark.parametrize("name", SETS)
def test_gases_add_up_to_the_published_total(name: str) -> None:
    for row in factors(name).rows.values():
        gases = (row.co2, row.ch4_co2e, row.n2o_co2e)
        if not any(map(math.isnan, gases)):
            assert sum(gases) == pytest.approx(row.value, abs=1.01e-5), row.source_id


def test_gwp_sets_of_a_set_are_known() -> None:
    found = factors().gwp_sets()
    assert {"AR5", "CO2 only", "life cycle", "n/a"} == set(found)
    assert gwp_basis(factors().rows["cn-shanxi", "generation"]) == "CO2 only"
    assert gwp_basis(factors().rows["cn-shanxi", "upstream"]) == "life cycle"
    assert gwp_basis(factors().rows["diesel_b0", "density"]) == "n/a"


def lorry(fuel: str = "diesel_b0", zone: str | None = None) -> Vehicle:
    return Vehicle("t1", "d-t1", "artic_40t" if fuel != "electricity" else "bev_artic_40t", fuel, grid_zone=zone)


def resolve(factors: FactorSet, *vehicles: Vehicle, zone: str = "uk") -> None:
    classes = parse_classes((ROOT / "stream" / "vehicle_classes.csv").read_text(encoding="utf-8"))
    site = Warehouse("w1", "d-w1", "North", 52.0, 0.0, zone)
    build_fleet(vehicles, [site], [], factors, classes)


@pytest.mark.parametrize("other", ["AR4", "AR6", "GWP100, AR4 (EN 16258)"])
@pytest.mark.parametrize(
    ("item", "parameter", "fuel"),
    [
        ("lng", "ttw", "lng"),
        ("diesel_b0", "wtt", "diesel_b0"),
        ("fame", "ttw", "diesel_b7"),
        ("uk", "generation", "diesel_b0"),
        ("natural_gas", "wtt", "diesel_b0"),
    ],
)
def test_a_fleet_has_one_gwp_set(item: str, parameter: str, fuel: str, other: str) -> None:
    mixed = edited((item, parameter, setting("gwp_set", other)))
    resolve(factors(), lorry(fuel))
    with pytest.raises(ValueError, match=rf"{item} {parameter} .*is AR[46], but .* is AR5"):
        resolve(mixed, lorry(fuel))


def test_a_row_of_another_gwp_set_may_stand_unused() -> None:
    resolve(edited(("lng", "ttw", setting("gwp_set", "AR4"))), lorry())


def test_co2_only_and_life_cycle_rows_go_with_any_gwp_set() -> None:
    for zone in ("cn-shanxi", "de"):
        resolve(factors(), lorry("electricity", zone), zone=zone)


@pytest.mark.parametrize("label", ["", "IPCC", "AR4/AR5"])
def test_a_row_must_tell_its_gwp_set(label: str) -> None:
    with pytest.raises(FactorError, match="line 2: gwp_set"):
        edited(("diesel_avg", "ttw", setting("gwp_set", label)))


@pytest.mark.parametrize(
    ("item", "parameter", "field", "value", "said"),
    [
        ("natural_gas", "ttw", "unit", "kgCO2e/kWh", "calorific basis"),
        ("diesel_b0", "ttw", "unit", "gCO2e/l", "not in kgCO2e/l"),
        ("diesel_b0", "wtt", "unit", "kgCO2/l", "not in kgCO2e/l"),
        ("diesel_b0", "density", "unit", "kg/m3", "not in kg/l"),
        ("cng", "lhv", "unit", "kWh/kg", "not in MJ/kg"),
        ("uk", "generation", "unit", "gCO2e/kWh", "not in kgCO2e/kWh"),
        ("uk", "generation", "unit", "kgCO2e/kWh gross CV", "not in kgCO2e/kWh"),
        ("r404a", "gwp100", "unit", "kgCO2e/t", "not in kgCO2e/kg"),
        ("diesel_b0", "density", "parameter", "denisty", "nearest in spelling: density"),
        ("uk", "generation", "low", "0.5", "outside its band"),
        ("uk", "generation", "value", "", "no value"),
    ],
)
def test_unit_band_and_parameter_are_checked_by_type(
    item: str, parameter: str, field: str, value: str, said: str
) -> None:
    with pytest.raises(FactorError, match=said):
        edited((item, parameter, setting(field, value)))


@pytest.mark.parametrize("unit", [Unit.KG_CO2E_PER_KWH, Unit.KG_PER_L, Unit.MJ_PER_KG, "kgCO2e/l", "gCO2e/l"])
def test_a_factor_in_a_wrong_unit_cannot_be_built(unit: Unit) -> None:
    good = factors().rows["diesel_b0", "ttw"]
    with pytest.raises(FactorError, match=r"diesel_b0 ttw is in '.*', not in kgCO2e/l or"):
        dataclasses.replace(good, unit=unit)


def test_a_row_with_a_band_has_its_own_uncertainty() -> None:
    shanxi, row = grid_factors(factors(), "cn-shanxi"), factors().rows["cn-shanxi", "upstream"]
    assert row.u_rel(0.12) == pytest.approx((0.15 - 0.03) / 2 / row.value)
    assert shanxi.u_rel == pytest.approx(math.hypot(0.075 * shanxi.generation, 0.06) / shanxi.total)
    assert factors().rows["uk", "upstream"].u_rel(0.12) == 0.12


def test_refrigerants_are_weighed_as_everything_else() -> None:
    site = Warehouse("w1", "d-w1", "North", 52.0, 0.0, "uk", refrigerant="R404A")
    classes = parse_classes((ROOT / "stream" / "vehicle_classes.csv").read_text(encoding="utf-8"))
    build_fleet([], [site], [], factors(), classes)
    ar6 = edited(("r404a", "gwp100", setting("gwp_set", "AR6")), ("r404a", "gwp100", setting("value", "4728")))
    with pytest.raises(ValueError, match=r"warehouse w1: .*mixes GWP sets: r404a gwp100 .*is AR6, but .* is AR5"):
        build_fleet([], [site], [], ar6, classes)
    lorry_ = Vehicle("t1", "d-t1", "artic_40t", "diesel_b0", tru_refrigerant="R404A")
    with pytest.raises(ValueError, match=r"vehicle t1: .*mixes GWP sets"):
        build_fleet([lorry_], [], [], ar6, classes)


def test_an_unknown_refrigerant_is_not_guessed() -> None:
    with pytest.raises(FactorError, match="no refrigerant 'r404b'; it has r1234yf"):
        refrigerant_gwp(factors(), "r404b")


def test_own_solar_has_a_source_and_a_band() -> None:
    for name in ("fleetco2-2025.2", "fleetco2-2026.2"):
        value, u_rel = solar_factor(factors(name))
        assert value == 0.041
        assert u_rel == pytest.approx((0.060 - 0.026) / 2 / 0.041)
    assert math.isnan(solar_factor(factors("fleetco2-2025.1"))[0])


def test_gas_kwh_without_calorific_basis_is_refused() -> None:
    with pytest.raises(FactorError, match="gross CV"):
        factors().value("natural_gas", "ttw", Unit.KG_CO2E_PER_KWH)
    net = edited(("natural_gas", "ttw", setting("unit", "kgCO2e/kWh net CV")))
    with pytest.raises(ValueError, match=r"warehouse w1: .*net CV.*gross CV"):
        resolve(net, lorry())


def test_a_fuel_has_one_unit() -> None:
    mixed = edited(("cng", "wtt", setting("unit", "kgCO2e/l")))
    with pytest.raises(FactorError, match="cng wtt is in 'kgCO2e/l', wanted kgCO2e/kg"):
        fuel_factors(mixed, "cng")


def test_case_of_a_zone_does_not_matter() -> None:
    assert grid_factors(factors(), "CN-Shanxi") == grid_factors(factors(), "cn-shanxi")
    upper = edited(
        *(("cn-shanxi", p, setting("item", "CN-Shanxi")) for p in ("generation", "upstream")),
    )
    assert grid_factors(upper, "cn-shanxi") == grid_factors(factors(), "cn-shanxi")
    with pytest.raises(FactorError, match="stands twice"):
        edited(("cn-shanxi", "generation", setting("item", "CN-Hebei")))


def test_unknown_zone_lists_near_names() -> None:
    with pytest.raises(FactorError, match=r"'cn-shangxi' among its 112.*cn-shanxi"):
        grid_factors(factors(), "cn-shangxi")


def test_adblue() -> None:
    urea = 12 / 60 * 0.325 * 44 / 12  # IPCC 2006, equation 3.2.2
    assert factors().value("adblue", "ttw", Unit.KG_CO2_PER_KG) == pytest.approx(urea, abs=1e-5)
    assert adblue_co2_kg_per_l(factors()) == pytest.approx(0.2598, abs=1e-4)
