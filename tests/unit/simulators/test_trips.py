"""The dispatcher's days: loads within the axles, shrinking tours, empty legs with a cause, reachable batteries."""

import math
from typing import Any

import pytest

from simulators import layout as at
from simulators.build import build_vehicle
from simulators.scenario import Scenario, load, shipped
from simulators.trips import Geography, Plan, plan_day

Row = dict[str, float]


def rows_of(flat: list[float]) -> list[Row]:
    names = {value: name for name, value in vars(at).items() if name.startswith("K_")}
    return [{names[j]: flat[i + j] for j in range(at.N_TASK)} for i in range(0, len(flat), at.N_TASK)]


def days_of(scenario: Scenario, fleet: int, *, number: int = 1, days: int = 6) -> list[list[Row]]:
    built = build_vehicle(scenario, scenario.fleet[fleet], 3, number, 0.0, [])
    geography = Geography.of(scenario)
    return [rows_of(plan_day(built.carrier, geography, day, day * 86_400.0)) for day in range(days)]


ALL = [(name, i) for name in shipped() for i in range(len(load(name).fleet))]


@pytest.mark.parametrize(("name", "fleet"), ALL)
def test_days_are_sound(name: str, fleet: int) -> None:
    scenario = load(name)
    built = build_vehicle(scenario, scenario.fleet[fleet], 3, 1, 0.0, [])
    room = built.carrier.gvw_kg - built.carrier.tare_kg
    base = Geography.of(scenario).point(scenario.fleet[fleet].base)
    for rows in days_of(scenario, fleet):
        assert rows[0]["K_KIND"] == at.WAIT
        here = base
        for row in rows:
            assert 0.0 <= row["K_PAYLOAD"] + row["K_UNITS"] <= room + 1e-6
            assert 0.0 <= row["K_FILL"] <= 1.0
            if row["K_KIND"] == at.DRIVE:
                ends = [
                    (row["K_LAT_A"], row["K_LON_A"], row["K_ALT_A"]),
                    (row["K_LAT_B"], row["K_LON_B"], row["K_ALT_B"]),
                ]
                start, end = reversed(ends) if row["K_BACK"] else ends
                assert start == here  # nobody is beamed about
                here = end
                assert (row["K_PAYLOAD"] > 0.0) == (row["K_CAUSE"] == 0.0) or row["K_UNITS"] > 0.0
        assert here == base
        assert rows[-1]["K_PAYLOAD"] == rows[-1]["K_UNITS"] == 0.0


def test_a_tour_shrinks_and_brings_empties_back() -> None:
    scenario = load("cold-trunk")
    names = [fleet.name for fleet in scenario.fleet]
    seen = set()
    for day in days_of(scenario, names.index("shop"), days=12):
        legs = [row for row in day if row["K_KIND"] == at.DRIVE and row["K_PAYLOAD"] > 0.0]
        tour: list[float] = []
        for row in legs:
            if tour and row["K_PAYLOAD"] > tour[-1]:
                tour = []
            tour.append(row["K_PAYLOAD"])
            assert tour == sorted(tour, reverse=True)
        home = [row for row in day if row["K_KIND"] == at.DRIVE and row["K_PAYLOAD"] == 0.0]
        assert home
        assert {at.CAUSES[int(row["K_CAUSE"])] for row in home} <= {"return_to_base"}
        seen |= {row["K_UNITS"] > 0.0 for row in home}
    assert seen == {True, False}


def test_empty_legs_of_shuttles_have_known_causes() -> None:
    scenario = load("cold-trunk")
    causes = set()
    for number in range(1, 9):
        for day in days_of(scenario, 0, number=number, days=8):
            for row in day:
                if row["K_KIND"] == at.DRIVE and row["K_PAYLOAD"] == 0.0:
                    causes.add(at.CAUSES[int(row["K_CAUSE"])])
    assert {"no_backload", "reposition", "cancelled_order"} <= causes
    assert "" not in causes


def test_light_goods_fill_the_pallets_not_the_axles() -> None:
    scenario = load("cold-trunk")
    gas = [fleet.name for fleet in scenario.fleet].index("gas")
    built = build_vehicle(scenario, scenario.fleet[gas], 3, 1, 0.0, [])
    capacity = built.carrier.gvw_kg - built.carrier.tare_kg
    out = [
        row for day in days_of(scenario, gas, days=10) for row in day if row["K_STAGE"] == 1 and row["K_PAYLOAD"] > 0.0
    ]
    assert max(row["K_FILL"] for row in out) > 0.9
    assert all(row["K_PAYLOAD"] < 0.5 * capacity for row in out)


@pytest.mark.parametrize("name", ["shanxi-swap", "city-parcels"])
def test_no_battery_is_planned_empty(name: str) -> None:
    scenario = load(name)
    for i, fleet in enumerate(scenario.fleet):
        if fleet.fuel != "electricity":
            continue
        built = build_vehicle(scenario, fleet, 3, 1, 0.0, [])
        worst = {"bev_van_3.5t": 0.4, "bev_artic_40t": 1.9}[fleet.vehicle_class]
        charge = 0.9 * built.carrier.battery_kwh
        for day in days_of(scenario, i):
            for row in day:
                charge -= worst * row["K_LENGTH"] / 1000.0
                assert charge > 0.0
                if row["K_ENERGY"] >= at.CHARGE:
                    charge = 0.9 * built.carrier.battery_kwh


def test_a_day_can_be_planned_again() -> None:
    scenario = load("city-parcels")
    built = build_vehicle(scenario, scenario.fleet[0], 3, 2, 0.0, [])
    geography = Geography.of(scenario)

    def text(day: int) -> str:
        return repr(plan_day(built.carrier, geography, day, 0.0))

    assert text(4) == text(4)
    assert text(4) != text(5)


def test_a_plan_goes_on_where_it_ended() -> None:
    scenario = load("cold-trunk")
    built = build_vehicle(scenario, scenario.fleet[0], 3, 1, 0.0, [])
    plan = Plan(built.carrier, Geography.of(scenario), 0.0)
    rows = plan.begin()
    dropped, kept, following = plan.follow()
    assert (dropped + kept) * at.N_TASK == len(rows)
    expected = plan_day(built.carrier, Geography.of(scenario), 2, 2 * 86_400.0)
    assert _same(following, expected)


def _same(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and all(x == y or (math.isnan(x) and math.isnan(y)) for x, y in zip(a, b, strict=True))


def test_orders_are_known_for_some_vehicles_only() -> None:
    scenario = load("cold-trunk")
    known: dict[bool, int] = {True: 0, False: 0}
    for number in range(1, 40):
        day: list[Any] = days_of(scenario, 0, number=number, days=1)[0]
        known[not math.isnan(day[1]["K_ORDER_KG"])] += 1
    assert 0.6 < known[True] / 39 < 0.95
