"""Scenarios: the shipped ones load, and every mistake names its key."""

import pytest

from simulators.fleet import build
from simulators.scenario import ScenarioError, load, parse, shipped
from tests.small_world import TEXT


@pytest.mark.parametrize("name", shipped())
def test_shipped_scenarios_build(name: str) -> None:
    scenario = load(name)
    assert sum(fleet.count for fleet in scenario.fleet) == len(build(scenario, 1).vehicles)


def test_the_three_examples_are_shipped() -> None:
    assert {"city-parcels", "cold-trunk", "shanxi-swap"} <= set(shipped())


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("count = 1", "count = 1\ncolour = 'red'", r"unknown field `colour`.*\$\.fleet\[0\]"),
        ("congestion = 0.0", "congestion = 2.0", r"\$\.congestion"),
        ("count = 1", "count = 0", r"\$\.fleet\[0\]\.count"),
        ("count = 1", "count = 1\ntare_kg = 41000", r"tare 41000 kg leaves no load.*\$\.fleet\[0\]\.tare_kg"),
        ("count = 1", "count = 1\ngvw_kg = 9000", r"\$\.fleet\[0\]\.gvw_kg"),
        ('fuel = "diesel_b7"', 'fuel = "electricity"', r"does not run on electricity.*\$\.fleet\[0\]\.fuel"),
        ('fuel = "diesel_b7"', 'fuel = "coal"', r"\$\.fleet\[0\]\.fuel"),
        ('class = "artic_40t"', 'class = "bus"', r"\$\.fleet\[0\]\.class"),
        ('routes = ["out"]', 'routes = ["nowhere"]', r"no route 'nowhere'.*\$\.fleet\[0\]\.routes\[0\]"),
        ('routes = ["out"]', "routes = []", r"\$\.fleet\[0\]\.routes"),
        ('routes = ["out"]', 'routes = ["tour"]', r"\$\.fleet\[0\]\.routes\[0\]"),
        ('duty = "shuttle"', 'duty = "drops"', r"\$\.fleet\[0\]\.routes\[0\]"),
        ('base = "here"', 'base = "elsewhere"', r"\$\.fleet\[0\]\.base"),
        ('base = "here"', 'base = "town"', r"\$\.fleet\[0\]\.base"),
        ('origin = "here"', 'origin = "gone"', r"no place 'gone'.*\$\.route\[0\]\.origin"),
        ('destination = "there"', 'destination = "here"', r"\$\.route\[0\]\.destination"),
        ('id = "there"', 'id = "here"', r"\$\.place\[1\]"),
        ("start = 2026-05-04T06:00:00Z", "start = 2026-05-04T06:00:00", r"time zone.*\$\.start"),
        ("eco = 0.0, normal = 1.0", "eco = 0.0, normal = 0.0", r"\$\.fleet\[0\]\.styles"),
        ("lat_deg = 50.0", "lat_deg = 120.0", r"\$\.place\[0\]\.lat_deg"),
        ('name = "small"', "name = [", "not TOML"),
    ],
)
def test_a_mistake_names_its_key(old: str, new: str, what: str) -> None:
    assert old in TEXT
    with pytest.raises(ScenarioError, match=what):
        parse(TEXT.replace(old, new, 1), source="mine.toml")


def test_an_empty_fleet_is_named() -> None:
    head = TEXT[: TEXT.index("[[fleet]]")]
    with pytest.raises(ScenarioError, match="fleet"):
        parse(head)
    with pytest.raises(ScenarioError, match=r"\$\.fleet"):
        parse(f"fleet = []\n{head}")


def test_a_missing_file_tells_what_there_is() -> None:
    with pytest.raises(ScenarioError, match="cold-trunk"):
        load("no-such-scenario")
