"""KPI views over a lake that the kernels made of a simulated morning, against sums in plain Python over trips and partial sums."""

import datetime
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pytest

from simulators.fleet import build as build_world
from simulators.registry_files import write_registry
from storage.factor_files import class_table, factor_set
from storage.query import connect
from storage.registry import load_registry
from stream.columns import EVENT_KINDS, LOAD_STATES, UNKNOWN
from stream.fleet import Fleet, build_fleet
from stream.pipeline import Columns, start, step
from stream.regions import Region
from tests.real_lake import OLD
from tests.real_lake import build as build_lake

HOURS = 6
WEST = Region("west", "West", "POLYGON ((5 50, 7.5 50, 7.5 52.5, 5 52.5, 5 50))")
EAST = Region("east", "East", "POLYGON ((7.5 50, 11 50, 11 52.5, 7.5 52.5, 7.5 50))")
EMPTY = ("empty", "empty_with_load_units")
LOADED = ("partial", "full")
Sums = dict[Any, dict[str, float]]


@dataclass(frozen=True)
class Morning:
    con: duckdb.DuckDBPyConnection
    fleet: Fleet
    trips: dict[tuple[int, int], dict[str, Any]]
    rollups: list[dict[str, Any]]
    events: list[dict[str, Any]]


def _rows(columns: Columns) -> Iterator[dict[str, Any]]:
    names = list(columns)
    for values in zip(*(columns[n].tolist() for n in names), strict=True):
        yield dict(zip(names, values, strict=True))


@pytest.fixture(scope="module")
def morning(tmp_path_factory: pytest.TempPathFactory) -> Morning:
    folder = tmp_path_factory.mktemp("morning")
    world = build_world("demo", 5, warmup_s=3600, rate_hz=0.2)
    write_registry(folder / "registry", world.registry())
    registry = replace(load_registry(folder / "registry"), regions=(WEST, EAST))
    batches = [chunk.readings for chunk in world.chunks(HOURS * 3600, chunk_s=3600)]
    fleet = build_fleet(
        registry.vehicles, registry.warehouses, registry.routes, factor_set(OLD), class_table(), registry.places,
        registry.regions, market=registry.market,
    )  # fmt: skip
    build_lake(folder / "lake", batches, registry=registry)
    state = start(fleet)
    trips: dict[tuple[int, int], dict[str, Any]] = {}
    rollups: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for batch in batches:
        state, results = step(state, batch)
        for trip in _rows(results.trips):
            key = (trip["asset"], trip["trip_start_ns"])
            if key not in trips or trip["version"] > trips[key]["version"]:
                trips[key] = trip
        rollups += _rows(results.rollups)
        events += _rows(results.events)
    return Morning(connect(folder / "lake"), fleet, trips, rollups, events)


def _counted(morning: Morning, key: str) -> Sums:
    """Kilometres, CO2e and avoidable CO2e by ``key`` of the partial sums, each with the newest word on its trip."""
    sums: Sums = defaultdict(lambda: defaultdict(float))
    for r in morning.rollups:
        trip = morning.trips.get((r["asset"], r["trip_start_ns"]))
        if r["asset"] >= len(morning.fleet.vehicles) or (trip and trip["excluded"]):
            continue
        s = sums[r[key]]
        state = LOAD_STATES[trip["load_state"] if trip else r["load_state"]]
        km, kg = r["distance_mm"] / 1e6, (r["co2e_ttw_ug"] + r["co2e_wtt_ug"]) / 1e9
        s["km"] += km
        s["loaded" if state in LOADED else state] += km
        if state in EMPTY:
            s["empty_kg"] += kg
            total = trip["co2e_ttw_ug"] + trip["co2e_wtt_ug"] if trip else 0
            if trip and trip["avoidable_ug"] != UNKNOWN and total:
                s["avoidable_kg"] += kg * trip["avoidable_ug"] / total
    return sums


def _told(morning: Morning, by: str) -> Sums:
    found = morning.con.execute(
        f"SELECT {by}, sum(distance_km), sum(loaded_km), sum(empty_km), sum(empty_eurostat_km), sum(unknown_km),"
        " sum(empty_co2e_wtw_kg), coalesce(sum(avoidable_co2e_wtw_kg), 0) FROM running_days GROUP BY ALL"
    ).fetchall()
    names = ("km", "loaded", "empty_all", "empty", "unknown", "empty_kg", "avoidable_kg")
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in found}


@pytest.mark.parametrize("by", ["region", "route"])
def test_running_is_the_sum_of_its_trips(morning: Morning, by: str) -> None:
    names = morning.fleet.region_names if by == "region" else morning.fleet.route_names
    expected = _counted(morning, by) if by == "region" else _by_route(morning)
    told = _told(morning, by)
    assert set(told) == {None if key < 0 else names[key] for key in expected}
    for key, sums in expected.items():
        said = told[None if key < 0 else names[key]]
        for name in ("km", "loaded", "empty", "unknown", "empty_kg", "avoidable_kg"):
            assert said[name] == pytest.approx(sums[name], rel=1e-6, abs=1e-5), (key, name)
        assert said["empty_all"] == pytest.approx(sums["empty"] + sums["empty_with_load_units"], rel=1e-6, abs=1e-5)


def _by_route(morning: Morning) -> Sums:
    """A trip's kilometres go to the route that is known of it by now."""
    return _counted(
        replace(
            morning,
            rollups=[
                r | {"route": t["route"] if (t := morning.trips.get((r["asset"], r["trip_start_ns"])))
                     and t["route"] >= 0 else r["route"]}
                for r in morning.rollups
            ],
        ),
        "route",
    )  # fmt: skip


def test_the_morning_holds_every_kind_of_load(morning: Morning) -> None:
    sums = _counted(morning, "kind")
    (all_,) = sums.values()
    assert min(all_["loaded"], all_["empty"], all_["empty_with_load_units"], all_["unknown"], all_["avoidable_kg"]) > 5


def test_bounds_of_the_shares(morning: Morning) -> None:
    sums = next(iter(_counted(morning, "kind").values()))
    empty = sums["empty"] + sums["empty_with_load_units"]
    (row,) = morning.con.execute(
        "SELECT 100 * sum(empty_km) / sum(distance_km), 100 * sum(empty_km + unknown_km) / sum(distance_km) FROM running_days"
    ).fetchall()
    assert row == pytest.approx((100 * empty / sums["km"], 100 * (empty + sums["unknown"]) / sums["km"]), rel=1e-6)
    shares = morning.con.execute(
        "SELECT empty_km, unknown_km, distance_km, empty_share_low_pct, empty_share_high_pct FROM running_days"
    ).fetchall()
    for empty_km, unknown_km, km, low, high in shares:
        if km:
            assert low == pytest.approx(100 * empty_km / km)
            assert high == pytest.approx(100 * (empty_km + unknown_km) / km)


def test_docks(morning: Morning) -> None:
    """Departures, dwell and idling of each warehouse and day."""
    yards = {
        i: p.place
        for i, p in enumerate(morning.fleet.places)
        if p.place in {w.warehouse for w in morning.fleet.warehouses}
    }
    dwell: dict[Any, list[int]] = defaultdict(list)
    departures: dict[Any, int] = defaultdict(int)
    for t in morning.trips.values():
        if t["start_place"] in yards:
            key = (_day(t["trip_start_ns"]), yards[t["start_place"]])
            departures[key] += 1
            if t["stop_us"] != UNKNOWN:
                dwell[key].append(t["stop_us"])
    idle: dict[Any, float] = defaultdict(float)
    for e in morning.events:
        if list(EVENT_KINDS)[e["kind"]] == "idling" and e["place"] in yards:
            idle[_day(e["time_ns"]), yards[e["place"]]] += (e["end_ns"] - e["time_ns"]) // 1000
    told = morning.con.execute("SELECT day, warehouse, departures, dwell_s, idle_s FROM dock_days").fetchall()
    assert {(d, w) for d, w, *_ in told} == set(departures) | set(idle)
    for day, warehouse, count, dwell_s, idle_s in told:
        key = (day, warehouse)
        assert (count or 0) == departures[key]
        assert (dwell_s or 0.0) == pytest.approx(sum(dwell[key]) / 1e6)
        assert (idle_s or 0.0) == pytest.approx(idle[key] / 1e6)
    assert sum(idle.values()) > 0 < sum(map(sum, dwell.values()))


def _day(ns: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(ns / 1e9, datetime.UTC).date()
