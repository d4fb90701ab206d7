"""Golden values of published tables and worked examples, computed with our factors and our fixed point.

The per-kilometre table of the UK conversion factors 2025 is not part of the project: its tests run where the file is.
"""

import csv
from collections.abc import Mapping

import numpy as np
import pytest

from stream.factors import Unit, adblue_co2_kg_per_l, fuel_factors, grid_factors
from stream.fixed import PER_UNIT, times, to_fixed
from tests.support import SHARED, factors

TABLE = SHARED / "science" / "factors" / "desnz2025_hgv_reference.csv"
needs_table = pytest.mark.skipif(not TABLE.exists(), reason=f"no {TABLE.name}: the published table is not shipped")
Key = tuple[str, str, str, str, str]  # table, class, laden, unit, gas
DRY, REEFER, WTT = "HGV (all diesel)", "HGV refrigerated (all diesel)", "WTT- HGV (all diesel)"
TOTAL = "kg CO2e"
ARTIC = "Articulated (>33t)"
CLASSES = (
    "Rigid (>3.5 - 7.5 tonnes)",
    "Rigid (>7.5 tonnes-17 tonnes)",
    "Rigid (>17 tonnes)",
    "Articulated (>3.5 - 33t)",
    ARTIC,
)


@pytest.fixture(scope="module")
def published() -> Mapping[Key, float]:
    rows = csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines())
    return {(r["table"], r["class"], r["laden"], r["uom"], r["ghg"]): float(r["value"]) for r in rows}


@needs_table
@pytest.mark.parametrize("table", [DRY, REEFER])
@pytest.mark.parametrize("vehicle", CLASSES)
def test_half_laden_is_the_mean_of_empty_and_full(published: Mapping[Key, float], table: str, vehicle: str) -> None:
    empty, half, full = (published[table, vehicle, f"{n}% Laden", "km", TOTAL] for n in (0, 50, 100))
    assert half == pytest.approx((empty + full) / 2, abs=1.01e-5)


@needs_table
def test_empty_and_full_of_the_science_page(published: Mapping[Key, float]) -> None:
    empty, half, full = (published[DRY, ARTIC, f"{n}% Laden", "km", TOTAL] for n in (0, 50, 100))
    assert (empty, half, full) == (0.64734, 0.85827, 1.06921)


@needs_table
def test_gases_sum_to_the_total(published: Mapping[Key, float]) -> None:
    checked = 0
    for (table, vehicle, laden, unit, gas), total in published.items():
        parts = [
            published.get((table, vehicle, laden, unit, f"kg CO2e of {g} per unit")) for g in ("CO2", "CH4", "N2O")
        ]
        if gas == TOTAL and None not in parts:
            assert sum(p for p in parts if p is not None) == pytest.approx(total, abs=1.01e-5), (table, vehicle, laden)
            checked += 1
    assert checked > 100


@needs_table
@pytest.mark.parametrize(("vehicle", "ratio"), [(ARTIC, 1.1555), ("Rigid (>17 tonnes)", 1.19)])
def test_refrigerated_over_dry(published: Mapping[Key, float], vehicle: str, ratio: float) -> None:
    for laden in ("0% Laden", "50% Laden", "100% Laden"):
        reefer, dry = (published[t, vehicle, laden, "km", TOTAL] for t in (REEFER, DRY))
        assert reefer / dry == pytest.approx(ratio, abs=2.5e-3)


@needs_table
def test_capacity_behind_the_tonne_kilometre(published: Mapping[Key, float]) -> None:
    full_km, full_tkm = (published[DRY, ARTIC, "100% Laden", u, TOTAL] for u in ("km", "tonne.km"))
    assert full_km / full_tkm == pytest.approx(17.86, abs=0.005)
    half_km, half_tkm = (published[DRY, ARTIC, "50% Laden", u, TOTAL] for u in ("km", "tonne.km"))
    assert half_km / half_tkm == pytest.approx(17.86 / 2, abs=0.005)


@needs_table
def test_average_of_all_lorries_per_tonne_kilometre(published: Mapping[Key, float]) -> None:
    assert published[DRY, "All HGVs", "Average laden", "tonne.km", TOTAL] == pytest.approx(0.10163, abs=1e-9)


@needs_table
@pytest.mark.parametrize("vehicle", CLASSES)
def test_our_diesel_explains_the_table_per_kilometre(published: Mapping[Key, float], vehicle: str) -> None:
    """CO2 per km over CO2 per litre gives litres; our WTT per litre then gives the table's WTT, whose ratio varies by 1 %."""
    diesel = fuel_factors(factors(), "diesel_avg")
    for laden in ("0% Laden", "50% Laden", "100% Laden"):
        litres_per_km = published[DRY, vehicle, laden, "km", "kg CO2e of CO2 per unit"] / diesel.co2
        assert litres_per_km * diesel.wtt == pytest.approx(published[WTT, vehicle, laden, "km", TOTAL], rel=0.015)


@needs_table
def test_empty_artic_burns_the_published_share_of_a_full_one(published: Mapping[Key, float]) -> None:
    empty, full = (published[DRY, ARTIC, f"{n}% Laden", "km", TOTAL] for n in (0, 100))
    assert empty / full == pytest.approx(0.605, abs=1e-3)  # science reference, section 3.3


def kg(amount: float, factor: float) -> float:
    """What the kernels book for an amount in L, kWh or kg [kg]."""
    return times(to_fixed(amount, PER_UNIT), factor) / 1e9


def test_thousand_litres_of_diesel_2026() -> None:
    diesel = factors("fleetco2-2026.1").get("diesel_avg", "ttw", Unit.KG_CO2E_PER_L)
    assert kg(1000.0, diesel.value) == 2583.54
    assert kg(1000.0, diesel.co2) == 2550.35
    assert kg(1000.0, diesel.ch4_co2e) == pytest.approx(0.29, abs=1e-9)
    assert kg(1000.0, diesel.n2o_co2e) == pytest.approx(32.9, abs=1e-9)


def test_gross_gas() -> None:
    for name in ("fleetco2-2025.1", "fleetco2-2026.1"):
        assert kg(12_500.0, factors(name).value("natural_gas", "ttw", Unit.KG_CO2E_PER_KWH_GROSS)) == 2278.875


def test_grid_electricity_of_a_province_against_the_national_mean() -> None:
    shanxi, national = (grid_factors(factors(), z).generation for z in ("cn-shanxi", "cn"))
    assert (shanxi, national) == (0.6634, 0.5306)
    assert shanxi / national == pytest.approx(1.25, abs=0.001)  # the founding brief's "+25 %"


def test_worked_shipment() -> None:
    """iLEAP: 87 kg over 423 km at 0.1 and over 321 km at 0.17 kg CO2e per t km."""
    km, kg_per_tkm = np.array([423, 321]), np.array([0.1, 0.17])
    work_kgm = 87 * km * 1000
    assert work_kgm.tolist() == [36_801_000, 27_927_000]
    legs_ug = [times(int(w), f * 1e9 / 1e6) for w, f in zip(work_kgm, kg_per_tkm, strict=True)]  # 10^6 kg m = 1 t km
    assert legs_ug == [3_680_100_000, 4_747_590_000]
    assert sum(legs_ug) == 8_427_690_000


def test_worked_shipment_with_the_misprint_of_its_source() -> None:
    """The specification's second example prints the leg's kg as its t km; the emissions show that it is not."""
    printed_tkm = 3.6801
    assert printed_tkm != pytest.approx(87 * 423 / 1000)
    assert printed_tkm * 0.1 != pytest.approx(3.6801)


@pytest.mark.parametrize(
    ("fuel", "ttw", "wtw", "biogenic"),
    [  # science reference, section 1, by volume share of FAME
        ("diesel_b7", 2.487, 3.095, 0.167),
        ("diesel_b10", 2.412, 3.013, 0.239),
        ("diesel_b20", 2.163, 2.741, 0.478),
    ],
)
def test_blends(fuel: str, ttw: float, wtw: float, biogenic: float) -> None:
    f = fuel_factors(factors(), fuel)
    assert f.ttw == pytest.approx(ttw, abs=6e-4)
    assert f.ttw + f.wtt == pytest.approx(wtw, abs=6e-4)
    assert f.biogenic == pytest.approx(biogenic, abs=6e-4)


def test_adblue_adds_what_the_science_page_says() -> None:
    """Dosing of 3 to 7 % of the diesel's volume adds 0.3 to 0.7 % to its CO2e."""
    per_litre, diesel = adblue_co2_kg_per_l(factors()), fuel_factors(factors(), "diesel_avg").ttw
    assert per_litre == pytest.approx(0.2598, abs=1e-4)
    assert 0.03 * per_litre / diesel == pytest.approx(0.003, abs=5e-4)
    assert 0.07 * per_litre / diesel == pytest.approx(0.007, abs=5e-4)
