"""Empty ways to pumps, chargers and workshops, and out of the way to wait: planned soundly, and told for what they are."""

import math

import pytest

from simulators import layout as at
from simulators.accuracy import fleet_of
from simulators.accuracy_table import judged_tables, missed_tables
from simulators.build import build_vehicle
from simulators.emptiness import SAME_CAUSE, Judged, Missed, emptiness
from simulators.fleet import build
from simulators.roads import rhumb
from simulators.scenario import load, shipped
from simulators.trips import DETOUR_KM, Geography, plan_day

DETOURS = ("to_fuel", "to_charger", "to_service", "waiting")
HOURS = 12


def _legs(name: str, days: int) -> list[tuple[str, list[list[float]]]]:
    """Fleet and task rows of each day of its first vehicle."""
    scenario = load(name)
    geography = Geography.of(scenario)
    found = []
    for fleet in scenario.fleet:
        built = build_vehicle(scenario, fleet, 5, 1, 0.0, [])
        for day in range(days):
            flat = plan_day(built.carrier, geography, day, day * 86_400.0)
            rows = [flat[i : i + at.N_TASK] for i in range(0, len(flat), at.N_TASK)]
            found.append((fleet.name, rows))
    return found


def _cause(row: list[float]) -> str:
    return at.CAUSES[int(row[at.K_CAUSE])]


def test_detours_are_empty_lead_to_a_place_of_their_kind_nearby_and_back() -> None:
    scenario = load("upkeep")
    kinds = {"to_fuel": "fuel", "to_charger": "charger", "to_service": "service"}
    seen = set()
    for fleet, rows in _legs("upkeep", 8):
        for i, row in enumerate(rows):
            cause = _cause(row)
            if row[at.K_KIND] != at.DRIVE or cause not in DETOURS:
                continue
            seen.add(cause)
            assert row[at.K_PAYLOAD] == row[at.K_UNITS] == 0.0
            assert at.STAGES[int(row[at.K_STAGE])] == "reposition"
            stay, back = rows[i + 1], rows[i + 2]
            assert stay[at.K_KIND] == at.STAND
            assert _cause(back) == "from_detour"
            ends = [(r[at.K_LAT_A], r[at.K_LON_A], r[at.K_LAT_B], r[at.K_LON_B]) for r in (row, back)]
            assert ends[0] == ends[1]  # one road, there and back
            assert rhumb(*ends[0])[0] <= 1000.0 * DETOUR_KM
            if cause == "waiting":
                assert stay[at.K_SECONDS] >= 2000.0
                continue
            stops = {(p.lat_deg, p.lon_deg) for p in scenario.place if p.kind == kinds[cause]}
            assert stops & {ends[0][:2], ends[0][2:]}
            energy = {"to_fuel": at.REFUEL, "to_charger": at.CHARGE, "to_service": 0}[cause]
            assert stay[at.K_ENERGY] == energy
            assert (cause == "to_charger") == (fleet == "swap") or cause == "to_service"
    assert seen == set(DETOURS)


@pytest.mark.parametrize("name", [n for n in shipped() if n != "upkeep"])
def test_worlds_that_ask_for_none_have_none(name: str) -> None:
    assert not [row for _, rows in _legs(name, 3) for row in rows if _cause(row) in (*DETOURS, "from_detour")]


def test_the_causes_of_empty_legs_are_told_as_they_were() -> None:
    world = build("upkeep", 11, warmup_s=3600)
    (told,), judged, missed = emptiness(world, fleet_of(world, "fleetco2-2025.2"), HOURS, only="all that is fitted")
    assert told.precision > 0.98
    assert told.recall > 0.95
    causes = [r for r in judged if r.what == "cause of an empty leg"]
    for mine, ours in (("to_fuel", "to_fuel"), ("to_service", "service"), ("waiting", "waiting")):
        true = sum(r.km for r in causes if r.true == mine)
        both = sum(r.km for r in causes if r.true == mine and r.told == ours)
        said = sum(r.km for r in causes if r.told == ours)
        assert true > 5.0
        assert both > 0.6 * true
        assert both > 0.85 * said
    everything = sum(m.all_km for m in missed)
    assert math.isclose(everything, told.km, rel_tol=1e-9)
    assert math.isclose(sum(m.unknown_km for m in missed), told.unknown_share * told.km, rel_tol=1e-6, abs_tol=1e-6)


def test_learning_hours_are_driven_and_not_counted() -> None:
    world = build("upkeep", 11, warmup_s=3600)
    (whole,), _, _ = emptiness(world, fleet_of(world, "fleetco2-2025.2"), 3, only="all that")
    world = build("upkeep", 11, warmup_s=3600)
    (late,), _, _ = emptiness(world, fleet_of(world, "fleetco2-2025.2"), 3, only="all that", learn_hours=2)
    assert 0.0 < late.km < 0.6 * whole.km
    with pytest.raises(ValueError, match="leave nothing of 3 h"):
        emptiness(world, fleet_of(world, "fleetco2-2025.2"), 3, learn_hours=3)
    with pytest.raises(ValueError, match="wanted the beginning of one of"):
        emptiness(world, fleet_of(world, "fleetco2-2025.2"), 3, only="guesswork")


def test_scores_of_causes_count_kilometres() -> None:
    rows = [
        Judged("cause of an empty leg", "to_fuel", "to_fuel", 30.0),
        Judged("cause of an empty leg", "to_fuel", "unknown", 10.0),
        Judged("cause of an empty leg", "no_backload", "to_fuel", 10.0),
    ]
    assert "| to_fuel | 40 | 75.0 % | 75.0 % |" in judged_tables(rows)
    assert set(SAME_CAUSE) == set(at.CAUSES) - {""}
    lines = missed_tables([Missed("CAN", "artic_40t", "no goods", 25.0, 5.0, 100.0)])
    assert lines[-1] == "| no goods | artic_40t | 100 | 25.0 % | 5.0 % |"
