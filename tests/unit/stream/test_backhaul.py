"""The backhaul finder: planted pairs are found, and an independent checker finds no illegal one."""

import math
import time

import numpy as np
import numpy.typing as npt
import pytest

from stream.backhaul import LEG, LOAD, MOST_PER_LEG, Limits, away_m, find_pairs

HOUR = 3_600 * 10**9
LIMITS = Limits()


def _leg(**given: float) -> dict[str, float]:
    return {"vehicle": 1, "start_ns": 10 * HOUR, "lat0_deg": 51.0, "lon0_deg": 7.0, "lat1_deg": 52.5, "lon1_deg": 9.5,
            "capacity_kg": 24_000, "body": -1, "cooled": 0, "litres_per_m": 0.00025} | given  # fmt: skip


def _load(**given: float) -> dict[str, float]:
    return {"vehicle": 2, "ready_ns": 10 * HOUR, "due_ns": 12 * HOUR, "lat0_deg": 51.05, "lon0_deg": 7.05,
            "lat1_deg": 52.45, "lon1_deg": 9.45, "mass_kg": 12_000, "body": -1, "cooled": 0, "driven_m": 560_000,
            "litres": 160.0, "back": -1} | given  # fmt: skip


def _rows(kind: np.dtype[np.void], *rows: dict[str, float]) -> npt.NDArray[np.void]:
    return np.array([tuple(row[name] for name in kind.names or ()) for row in rows], kind)


def _find(leg: dict[str, float], load: dict[str, float]) -> npt.NDArray[np.void]:
    return find_pairs(_rows(LEG, leg), _rows(LOAD, load), LIMITS)


def test_distance_against_known_cities() -> None:
    assert away_m(51.5074, -0.1278, 48.8566, 2.3522) == pytest.approx(343_500, rel=0.002)  # London to Paris
    assert away_m(0, 0, 0, 1) == pytest.approx(2 * math.pi * 6_371_000 / 360)


def test_a_pair_and_what_it_saves() -> None:
    (pair,) = _find(_leg(), _load())
    assert pair["best"] == 1
    assert 0 <= pair["detour_m"] < 5_000
    assert pair["saved_m"] == pytest.approx(560_000 - pair["detour_m"])
    road = 1.25 * away_m(51.05, 7.05, 52.45, 9.45)
    extra = 0.67 * 12 * road / 100_000 + 0.00025 * pair["detour_m"]
    assert pair["saved_l"] == pytest.approx(160 - extra, rel=1e-6)


@pytest.mark.parametrize(
    ("leg", "load"),
    [
        ({"vehicle": 2}, {}),
        ({"capacity_kg": 11_999}, {}),
        ({"capacity_kg": math.nan}, {}),
        ({}, {"mass_kg": math.nan}),
        ({}, {"lat0_deg": 51.4}),  # 45 km away
        ({}, {"lon1_deg": 10.1}),
        ({}, {"lat1_deg": math.nan}),
        ({"start_ns": 12 * HOUR}, {}),  # due when it starts, a quarter of an hour away
        ({"start_ns": 7 * HOUR}, {}),  # waits for more than two hours
        ({"body": 1}, {"body": 2}),
        ({}, {"cooled": 1}),
        ({}, {"driven_m": 1.0}),
    ],
)
def test_what_is_not_legal(leg: dict[str, float], load: dict[str, float]) -> None:
    assert _find(_leg(**leg), _load(**load)).size == 0


def test_unknown_bodies_and_cooled_ones_fit() -> None:
    assert _find(_leg(body=1), _load(body=-1)).size == 1
    assert _find(_leg(cooled=1), _load(cooled=1)).size == 1


def test_litres_are_unknown_where_they_were_not_measured() -> None:
    (pair,) = _find(_leg(), _load(litres=math.nan))
    assert math.isnan(pair["saved_l"])
    assert pair["saved_m"] > 0


def test_a_leg_that_is_no_longer_driven_carries_nothing() -> None:
    # Two vehicles shuttle in opposite directions: either may carry the other's load, not both.
    there = _leg(vehicle=1)
    back = _leg(vehicle=2, lat0_deg=52.5, lon0_deg=9.5, lat1_deg=51.0, lon1_deg=7.0)
    of_2 = _load(vehicle=2, back=1)  # vehicle 2 carries it, then drives ``back``
    of_1 = _load(vehicle=1, back=0, lat0_deg=52.45, lon0_deg=9.45, lat1_deg=51.05, lon1_deg=7.05, driven_m=500_000)
    pairs = find_pairs(_rows(LEG, there, back), _rows(LOAD, of_2, of_1), LIMITS)
    assert pairs.size == 2
    assert pairs["best"].tolist() == [1, 0]


def _day(vehicles: int, seed: int, towns_n: int = 60) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """Random legs and loads of a day in a region of 600 by 600 km."""
    rng = np.random.default_rng(seed)
    n = 3 * vehicles
    legs, loads = np.zeros(n, LEG), np.zeros(n, LOAD)
    towns = np.column_stack((rng.uniform(48, 53.4, towns_n), rng.uniform(5, 13.5, towns_n)))
    for rows in (legs, loads):
        a, b = rng.integers(0, towns_n, n), rng.integers(0, towns_n, n)
        rows["vehicle"] = rng.integers(0, vehicles, n)
        rows["lat0_deg"], rows["lon0_deg"] = (towns[a] + rng.normal(0, 0.1, (n, 2))).T
        rows["lat1_deg"], rows["lon1_deg"] = (towns[b] + rng.normal(0, 0.1, (n, 2))).T
        rows["body"] = rng.integers(-1, 3, n)
        rows["cooled"] = rng.random(n) < 0.2
    legs["start_ns"] = rng.integers(0, 24 * HOUR, n)
    legs["capacity_kg"] = rng.choice([1_200.0, 5_000.0, 12_000.0, 25_000.0, math.nan], n)
    legs["litres_per_m"] = 0.00025
    loads["ready_ns"] = rng.integers(0, 24 * HOUR, n)
    loads["due_ns"] = loads["ready_ns"] + 2 * HOUR
    loads["mass_kg"] = rng.uniform(100, 24_000, n)
    loads["driven_m"] = rng.uniform(20e3, 900e3, n)
    loads["litres"] = loads["driven_m"] * 0.0003
    loads["back"] = rng.integers(-1, n, n)
    return legs, loads


def _sphere_m(lat0: float, lon0: float, lat1: float, lon1: float) -> float:
    """Great circle by the chord between unit vectors: another formula than the one under test."""

    def unit(lat: float, lon: float) -> tuple[float, float, float]:
        f, g = math.radians(lat), math.radians(lon)
        return math.cos(f) * math.cos(g), math.cos(f) * math.sin(g), math.sin(f)

    return 2 * 6_371_000 * math.asin(min(1.0, math.dist(unit(lat0, lon0), unit(lat1, lon1)) / 2))


def _gain_if_legal(leg: np.void, load: np.void) -> float | None:
    """The six rules, one after another in plain Python; metres saved, or None."""
    if leg["vehicle"] == load["vehicle"] or not load["mass_kg"] <= leg["capacity_kg"]:
        return None
    if load["cooled"] and not leg["cooled"]:
        return None
    if -1 not in (leg["body"], load["body"]) and leg["body"] != load["body"]:
        return None
    o, d = (leg["lat0_deg"], leg["lon0_deg"]), (leg["lat1_deg"], leg["lon1_deg"])
    a, b = (load["lat0_deg"], load["lon0_deg"]), (load["lat1_deg"], load["lon1_deg"])
    reach, after = _sphere_m(*o, *a), _sphere_m(*b, *d)
    if max(reach, after) > 30_000:
        return None
    arrival = int(leg["start_ns"]) + reach * 1.25 / (60 / 3.6) * 1e9
    if arrival > int(load["due_ns"]) or int(load["ready_ns"]) - arrival > 7_200e9:
        return None
    detour = 1.25 * (reach + _sphere_m(*a, *b) + after - _sphere_m(*o, *d))
    gain = float(load["driven_m"]) - detour
    return gain if detour <= 50_000 and gain > 0 else None


@pytest.mark.parametrize("seed", range(3))
def test_against_a_checker_that_tries_every_pair(seed: int) -> None:
    legs, loads = _day(150, seed, 8)
    pairs = find_pairs(legs, loads, LIMITS)
    found = {(int(p["leg"]), int(p["load"])): float(p["saved_m"]) for p in pairs}
    true: dict[tuple[int, int], float] = {}
    for i, leg in enumerate(legs):
        legal = {j: g for j, load in enumerate(loads) if (g := _gain_if_legal(leg, load)) is not None}
        best = sorted(legal.items(), key=lambda x: -x[1])[:MOST_PER_LEG]
        true |= {(i, j): g for j, g in best}
    assert len(true) > 20
    assert found.keys() == true.keys()
    assert all(found[k] == pytest.approx(true[k], rel=1e-6, abs=1.0) for k in true)
    chosen = pairs[pairs["best"] == 1]
    assert len(set(chosen["leg"].tolist())) == chosen.size == len(set(chosen["load"].tolist()))
    gone = {int(loads[j]["back"]) for j in chosen["load"].tolist()} - {-1}
    assert not gone & set(chosen["leg"].tolist())


def test_planted_pairs_among_a_thousand_vehicles() -> None:
    legs, loads = _day(1_000, 9)
    rng = np.random.default_rng(1)
    planted = rng.choice(legs.size, 200, replace=False)
    for i in planted:
        legs[i]["capacity_kg"] = 25_000
        load = loads[i]
        load["vehicle"] = legs[i]["vehicle"] + 1
        for name in ("lat0_deg", "lon0_deg", "lat1_deg", "lon1_deg"):
            load[name] = legs[i][name] + rng.normal(0, 0.02)
        load["body"], load["cooled"] = legs[i]["body"], 0
        load["ready_ns"] = legs[i]["start_ns"] + rng.integers(-HOUR, HOUR)
        load["due_ns"], load["driven_m"] = load["ready_ns"] + 3 * HOUR, 900e3
    find_pairs(legs[:1], loads[:1], LIMITS)
    begin = time.perf_counter()
    pairs = find_pairs(legs, loads, LIMITS)
    took = time.perf_counter() - begin
    found = set(zip(pairs["leg"].tolist(), pairs["load"].tolist(), strict=True))
    recall = sum((int(i), int(i)) in found for i in planted) / planted.size
    print(f"recall of {planted.size} planted pairs {recall:.3f}; {pairs.size} pairs of 3,000 x 3,000 in {took:.3f} s")
    assert recall >= 0.95
