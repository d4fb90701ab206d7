"""The split against a published example's arithmetic, limits, and single changes that only one factor may explain."""

import math

import pytest

from dashboards.feed.lmdi import FACTORS, Carrier, Period, split


def period(
    tkm: float = 1000.0,
    payload_t: float = 10.0,
    empty: float = 0.2,
    lper_km: float = 0.3,
    kg_per_l: float = 3.2,
    electric: float = 0.0,
) -> Period:
    """A fleet by its causes; ``electric`` is the share of the distance driven on 1.2 kWh/km at 0.35 kg/kWh."""
    loaded = tkm / payload_t
    km = loaded / (1.0 - empty)
    diesel_km, electric_km = km * (1.0 - electric), km * electric
    carriers = {}
    if diesel_km:
        carriers["diesel"] = Carrier(diesel_km, diesel_km * lper_km, diesel_km * lper_km * kg_per_l)
    if electric_km:
        carriers["electricity"] = Carrier(electric_km, electric_km * 1.2, electric_km * 1.2 * 0.35)
    return Period(carriers, tkm, loaded)


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("activity", period(tkm=1300.0)),
        ("load_factor", period(payload_t=12.0)),
        ("empty_share", period(empty=0.1)),
        ("efficiency", period(lper_km=0.27)),
        ("carrier_intensity", period(kg_per_l=2.9)),
    ],
)
def test_one_cause_explains_its_own_change(name: str, after: Period) -> None:
    parts = split(period(), after)
    change = after.co2e_kg - period().co2e_kg
    assert parts[name] == pytest.approx(change, rel=1e-12)
    assert all(abs(v) < 1e-9 for k, v in parts.items() if k != name)


def test_two_causes_by_hand() -> None:
    """Activity 1000 -> 1200 and efficiency .3 -> .24: E 120 -> 115.2; L = -4.8 / ln(.96), parts L ln 1.2 and L ln .8."""
    parts = split(period(), period(tkm=1200.0, lper_km=0.24))
    mean = -4.8 / math.log(0.96)
    assert parts["activity"] == pytest.approx(mean * math.log(1.2), rel=1e-12)
    assert parts["efficiency"] == pytest.approx(mean * math.log(0.8), rel=1e-12)


def test_a_new_carrier_is_a_change_of_the_mix() -> None:
    before, after = period(), period(electric=0.25)
    parts = split(before, after)
    electric = after.carriers["electricity"].co2e_kg
    diesel = before.carriers["diesel"].co2e_kg * -0.25
    assert parts["energy_mix"] == pytest.approx(electric + diesel, rel=1e-12)
    assert sum(abs(parts[x]) for x in FACTORS if x != "energy_mix") < 1e-9
    back = split(after, before)
    assert back["energy_mix"] == pytest.approx(-parts["energy_mix"], rel=1e-12)


def test_the_limit_is_what_small_values_tend_to() -> None:
    """A carrier at a share of 1e-12 gives what the limit at 0 gives."""
    exact = split(period(), period(electric=0.25))
    near = split(period(electric=1e-12), period(electric=0.25))
    for name in FACTORS:
        assert near[name] == pytest.approx(exact[name], abs=0.15 * abs(exact["energy_mix"]))
    nearer = split(period(electric=1e-200), period(electric=0.25))
    assert nearer["energy_mix"] == pytest.approx(exact["energy_mix"], rel=1e-2)


def test_negative_and_turning_emissions_add_up() -> None:
    """Net regeneration can make a period's energy negative."""
    before = Period({"electricity": Carrier(10.0, -2.0, -0.7)})
    after = Period({"electricity": Carrier(12.0, 3.0, 1.05)})
    parts = split(before, after)
    assert parts["efficiency"] == pytest.approx(1.75)
    assert math.fsum(parts.values()) == pytest.approx(1.75)
    both = split(before, Period({"electricity": Carrier(10.0, -4.0, -1.4)}))
    assert both["efficiency"] == pytest.approx(-0.7)


def test_standing_emissions_and_no_load_known() -> None:
    before = Period({"diesel": Carrier(0.0, 3.0, 9.6)})
    after = Period({"diesel": Carrier(100.0, 30.0, 96.0)})
    parts = split(before, after)
    assert parts["standing"] == -9.6
    assert math.fsum(parts.values()) == pytest.approx(86.4)
    assert split(Period({}), Period({})) == dict.fromkeys((*FACTORS, "standing"), 0.0)
