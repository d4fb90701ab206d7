"""The model at class defaults against the EMEP/EEA Euro VI table, by class and load, with the reference's own deviations.

Section 3.2 of the science page states how far its equations lie from the published points at 80 km/h on the level; the kernels,
which use the same defaults, must come out there too, and must not be fitted closer by changing the defaults.
"""

import pytest

from stream.factors import VehicleClass, parse_classes
from stream.fleet import DIESEL_KG_PER_L
from stream.road_load import air_density, air_drag_n, engine_fuel_g_per_h, road_powers_w
from tests.plots.fuel_curves import EEA, LOADS, gross_kg
from tests.support import ROOT

CLASSES = parse_classes((ROOT / "stream" / "vehicle_classes.csv").read_text(encoding="utf-8"))
STATED = {  # class -> deviation at 80 km/h for load 0, 50, 100 %
    "artic_40t": (0.07, -0.02, -0.06),
    "rigid_18t": (0.05, 0.10, 0.09),
    "rigid_12t": (0.10, 0.09, 0.09),
    "rigid_7.5t": (0.14, 0.14, 0.14),
}


def litres_per_100_km(c: VehicleClass, speed_kmh: float, load: float) -> float:
    """At a kept speed, 25 °C (where tyres are labelled), sea level."""
    v = speed_kmh / 3.6
    drag = air_drag_n(v, 0.0, 0.0, air_density(25.0, 101325.0, 0.0), c.cda_m2, 0.0, 0.0, 0.0)
    wheel = sum(road_powers_w(v, v, 1.0, gross_kg(c, load), c.f_rot, c.crr, 0.0, drag))
    idle = c.idle_lph * DIESEL_KG_PER_L * 1000
    grams = engine_fuel_g_per_h(
        wheel, v, c.aux_kw, 0.0, c.p_rated_kw, 1.0, c.willans_a_g_per_h_kw, c.willans_b_g_per_kwh, idle
    )
    return grams / (DIESEL_KG_PER_L * 1000) / speed_kmh * 100


@pytest.mark.parametrize("name", sorted(STATED))
@pytest.mark.parametrize("i", [0, 1, 2])
def test_eighty_on_the_level(name: str, i: int) -> None:
    _, table = EEA[name]
    published = table[2][i] + (table[3][i] - table[2][i]) * 10 / 15  # between 70 and 85 km/h
    found = litres_per_100_km(CLASSES[name], 80.0, LOADS[i]) / published - 1
    assert found == pytest.approx(STATED[name][i], abs=0.06)


@pytest.mark.parametrize("name", sorted(STATED))
def test_at_50_the_kept_speed_is_below_the_cycle_mean(name: str) -> None:
    _, table = EEA[name]
    for i, load in enumerate(LOADS):
        deviation = litres_per_100_km(CLASSES[name], 50.0, load) / table[1][i] - 1
        assert -0.36 < deviation < 0.0  # the page: 3 to 31 % below, points hold stops


@pytest.mark.parametrize("name", sorted(STATED))
@pytest.mark.parametrize("speed", [50.0, 70.0, 85.0])
def test_marginal_litres_of_a_tonne_are_in_the_published_range(name: str, speed: float) -> None:
    c = CLASSES[name]
    tonnes = (c.gvw_kg - c.curb_kg) / 1000
    marginal = (litres_per_100_km(c, speed, 1.0) - litres_per_100_km(c, speed, 0.0)) / tonnes
    assert 0.2 < marginal < 0.95  # EEA .22 to .82 over classes and speeds, VECTO .49 to .92


def test_an_empty_artic_burns_what_the_page_says() -> None:
    c = CLASSES["artic_40t"]
    ratio = litres_per_100_km(c, 80.0, 0.0) / litres_per_100_km(c, 80.0, 1.0)
    assert 0.55 < ratio < 0.72  # EEA .57 to .61, DESNZ .605; without stops the load matters less
