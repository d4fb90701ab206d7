"""Empty running by region, route and day; regions against published shares; docks; cases."""

import math
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.query import connect
from storage.references import Benchmark
from storage.registry import Registry
from storage.schema import Names
from stream.fleet import Vehicle, Warehouse
from tests.kpi_lake import HOUR, lake_of
from tests.lake_data import SECOND, T0

KM = 1_000_000
EU = Benchmark("EU", 2024, 21.6, "strict", "Eurostat road_go_ta")
DELTA = Benchmark("Yangtze delta", 2024, 44.5, "strict", "national + 6.5 points", region="delta")
BY_UNITS = Benchmark("EU, empty units are no empty run", 2024, 21.6, "eurostat", "Eurostat")
TRUCKS = tuple(f"t{i}" for i in range(40))


def _lake(path: Path, **tables: list[dict[str, Any]]) -> duckdb.DuckDBPyConnection:
    registry = Registry(
        tuple(Vehicle(t, f"d-{t}", "artic_40t", "diesel_b7") for t in TRUCKS),
        (Warehouse("w1", "d-w1", "One", 50.0, 8.0, "uk"),),
        (),
        (),
        (EU, DELTA, BY_UNITS),
    )
    names = Names(
        device=tuple(f"d-{t}" for t in TRUCKS),
        asset=TRUCKS,
        route=("r1", "r2"),
        place=("w1", "shop"),
        region=("delta", "north", "south"),
    )
    return connect(lake_of(path, names, registry, **tables))


def _trip(asset: str, state: str, km: float, *, hour: float = 8, version: int = 1, **given: Any) -> dict[str, Any]:
    return {
        "device": f"d-{asset}", "asset": asset, "trip_start_ns": T0 + int(hour * HOUR), "trip_end_ns": T0 + int((hour + 1) * HOUR),
        "version": version, "closed": True, "load_state": state, "distance_mm": int(km * KM),
        "co2e_ttw_ug": int(km * 8e8), "co2e_wtt_ug": int(km * 2e8), "capacity_kg": 20_000.0,
    } | given  # fmt: skip


def _sums(asset: str, km: float, *, hour: float = 8, region: str | None = "delta", **given: Any) -> dict[str, Any]:
    return {
        "minute_ns": T0 + int(hour * HOUR) + 60 * SECOND, "kind": "vehicle", "asset": asset, "region": region,
        "trip_start_ns": T0 + int(hour * HOUR), "load_state": "unknown", "distance_mm": int(km * KM), "observed_us": 60_000_000,
        "co2e_ttw_ug": int(km * 8e8), "co2e_wtt_ug": int(km * 2e8),
    } | given  # fmt: skip


def _rows(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    found = con.execute(sql)
    names = [d[0] for d in found.description or []]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_a_day_by_what_is_known_of_its_trips_now(tmp_path: Path) -> None:
    con = _lake(
        tmp_path / "lake",
        trips=[
            _trip("t0", "full", 60, payload_kg=15_000.0),
            _trip("t0", "unknown", 40, hour=10),
            _trip("t0", "empty", 40, hour=10, version=2, avoidable_ug=int(40 * 4e8)),  # what was learnt later
            _trip("t1", "empty_with_load_units", 20),
            _trip("t2", "unknown", 30),
            _trip("t3", "empty", 1, excluded=True),
        ],
        rollups=[
            _sums("t0", 60), _sums("t0", 40, hour=10), _sums("t1", 20), _sums("t2", 30), _sums("t3", 1),
        ],
    )  # fmt: skip
    (day,) = _rows(con, "FROM running_days")
    assert (day["region"], day["vehicles"], day["distance_km"]) == ("delta", 3, 150.0)
    assert (day["loaded_km"], day["empty_km"], day["empty_eurostat_km"], day["unknown_km"]) == (60.0, 60.0, 40.0, 30.0)
    assert day["empty_share_low_pct"] == pytest.approx(40.0)
    assert day["empty_share_high_pct"] == pytest.approx(60.0)
    assert day["empty_share_eurostat_low_pct"] == pytest.approx(100 * 40 / 150)
    assert day["empty_co2e_wtw_kg"] == pytest.approx(60.0)
    assert day["avoidable_co2e_wtw_kg"] == pytest.approx(16.0)  # 40 % of the empty trip's
    assert day["load_factor"] == pytest.approx(15 / 20)
    assert day["transport_tkm"] == pytest.approx(60 * 15)


def test_parts_of_a_trip_lie_in_regions_and_routes_of_their_own(tmp_path: Path) -> None:
    con = _lake(
        tmp_path / "lake",
        trips=[_trip("t0", "empty", 50, route="r1", avoidable_ug=int(50 * 5e8))],
        rollups=[
            _sums("t0", 30),
            _sums("t0", 20, region="north"),
            _sums("t0", 5, region=None, trip_start_ns=None, route="r2"),
        ],
    )
    rows = _rows(
        con, "SELECT region, route, empty_km, unknown_km, avoidable_co2e_wtw_kg FROM running_days ORDER BY distance_km"
    )
    assert [tuple(r.values()) for r in rows] == [
        (None, "r2", 0.0, 5.0, None),  # no trip: nothing is known, so nothing is avoidable
        ("north", "r1", 20.0, 0.0, 10.0),
        ("delta", "r1", 30.0, 0.0, 15.0),
    ]


def _fleet(shares: list[tuple[str, float, float, float]]) -> dict[str, list[dict[str, Any]]]:
    """A vehicle per (region, empty, loaded, unknown km)."""
    trips, rollups = [], []
    for asset, (region, *km) in zip(TRUCKS, shares, strict=False):
        for hour, (state, d) in enumerate(zip(("empty", "full", "unknown"), km, strict=True)):
            if d:
                trips.append(_trip(asset, state, d, hour=hour))
                rollups.append(_sums(asset, d, hour=hour, region=region))
    return {"trips": trips, "rollups": rollups}


def test_a_region_against_its_benchmarks_in_points(tmp_path: Path) -> None:
    con = _lake(tmp_path / "lake", **_fleet([("delta", 30.0, 70.0, 0.0)] * 4 + [("delta", 50.0, 40.0, 10.0)] * 4))
    rows = _rows(con, "FROM region_benchmark WHERE region = 'delta' AND definition = 'strict' ORDER BY benchmark")
    assert [r["benchmark"] for r in rows] == ["EU", "Yangtze delta"]
    eu, delta = rows
    share = 320 / 760
    assert eu["empty_share_pct"] == pytest.approx(100 * share)
    assert eu["gap_pp"] == pytest.approx(100 * share - 21.6)
    assert delta["gap_pp"] == pytest.approx(100 * share - 44.5)
    assert (eu["vehicles"], eu["unknown_km"], eu["benchmark_year"]) == (8, 40.0, 2024)
    rest = 4 * (30 - share * 100) ** 2 + 4 * (50 - share * 90) ** 2  # Cochran's ratio of clusters, by hand
    half = 1.96 * math.sqrt(8 / 7 * rest) / 760
    assert eu["empty_share_low_pct"] == pytest.approx(100 * (320 / 800 - half))
    assert eu["empty_share_high_pct"] == pytest.approx(100 * (360 / 800 + half))
    assert eu["gap_low_pp"] == pytest.approx(eu["empty_share_low_pct"] - 21.6)
    assert eu["benchmark_source"] == "Eurostat road_go_ta"


def test_empty_units_count_by_the_benchmarks_own_definition(tmp_path: Path) -> None:
    tables = _fleet([("delta", 30.0, 70.0, 0.0)] * 6)
    for trip in tables["trips"]:
        if trip["load_state"] == "empty":
            trip["load_state"] = "empty_with_load_units"
    con = _lake(tmp_path / "lake", **tables)
    found = {r["definition"]: r["empty_share_pct"] for r in _rows(con, "FROM region_benchmark WHERE region = 'delta'")}
    assert found == {"strict": pytest.approx(30.0), "eurostat": pytest.approx(0.0)}


def _shown(con: duckdb.DuckDBPyConnection) -> dict[str, float | None]:
    sql = "SELECT region, empty_share_pct FROM region_benchmark WHERE benchmark = 'EU' ORDER BY region"
    return {r["region"]: r["empty_share_pct"] for r in _rows(con, sql)}


def test_few_vehicles_are_hidden_and_not_left_over_from_the_total(tmp_path: Path) -> None:
    shares = [("delta", 30.0, 70.0, 0.0)] * 9 + [("north", 20.0, 80.0, 0.0)] * 6 + [("south", 90.0, 10.0, 0.0)] * 2
    con = _lake(tmp_path / "lake", **_fleet(shares))
    shown = _shown(con)
    assert shown["south"] is None  # two vehicles
    assert shown["north"] is None  # else all less delta and north were south
    assert shown["delta"] == pytest.approx(30.0)
    assert shown["all"] is not None
    con.execute("SET VARIABLE k_vehicles = 2")
    assert _shown(con)["south"] == pytest.approx(90.0)
    con.execute("SET VARIABLE k_vehicles = 18")
    assert set(_shown(con).values()) == {None}


def test_nothing_is_hidden_where_every_region_is_large(tmp_path: Path) -> None:
    con = _lake(tmp_path / "lake", **_fleet([("delta", 30.0, 70.0, 0.0)] * 5 + [("north", 20.0, 80.0, 0.0)] * 5))
    assert None not in _shown(con).values()


def test_hidden_rows_tell_no_number_at_all(tmp_path: Path) -> None:
    con = _lake(tmp_path / "lake", **_fleet([("delta", 30.0, 70.0, 0.0)] * 2))
    for row in _rows(con, "FROM region_benchmark"):
        told = [
            k for k, v in row.items() if isinstance(v, int | float) and v is not True and not k.startswith("benchmark")
        ]
        assert told in ([], ["is_total"]), row


def test_the_dock(tmp_path: Path) -> None:
    con = _lake(
        tmp_path / "lake",
        trips=[
            _trip("t0", "full", 50, start_place="w1", stop_us=3_600_000_000),
            _trip("t1", "full", 50, start_place="w1", stop_us=1_800_000_000),
            _trip("t2", "full", 50, start_place="w1"),  # the stop was not seen whole
            _trip("t3", "full", 50, start_place="shop", stop_us=9_000_000_000),
        ],
        events=[
            {"device": "d-t0", "asset": "t0", "time_ns": T0 + HOUR, "end_ns": T0 + HOUR + 540 * SECOND, "kind": "idling",
             "place": "w1", "amount": 540.0, "explained_nl": 300_000_000},
            {"device": "d-t3", "asset": "t3", "time_ns": T0 + HOUR, "end_ns": T0 + HOUR + 900 * SECOND, "kind": "idling",
             "place": "shop", "amount": 900.0},
        ],
    )  # fmt: skip
    (dock,) = _rows(con, "FROM dock_days")
    assert (dock["warehouse"], dock["warehouse_name"], dock["departures"], dock["vehicles"]) == ("w1", "One", 3, 3)
    assert (dock["dwell_s"], dock["mean_dwell_s"], dock["median_dwell_s"]) == (5_400.0, 2_700.0, 2_700.0)
    assert (dock["idle_s"], dock["idle_l"], dock["idlings"]) == (540.0, 0.3, 1)
    assert dock["idle_share"] == pytest.approx(0.1)


def _event(hour: float, kind: str, chosen: str, amount: float, asset: str = "t0") -> dict[str, Any]:
    at = T0 + int(hour * HOUR)
    return {"device": f"d-{asset}", "asset": asset, "time_ns": at, "end_ns": at, "kind": kind, "chosen": chosen,
            "amount": amount, "expected": 1.0}  # fmt: skip


def test_cases_open_last_and_close(tmp_path: Path) -> None:
    con = _lake(
        tmp_path / "lake",
        events=[
            _event(1, "wheel_scale", "gps", 1.4),
            _event(2, "wheel_scale", "gps", 1.41),
            _event(3, "wheel_scale", "none", 1.0),
            _event(9, "wheel_scale", "odometer", 1.2),
            _event(5, "odometer_conflict", "odometer", 0.98, "t1"),
            _event(5, "harsh_braking", "none", -3.0),
        ],
    )
    sql = """SELECT asset, kind, number, state, hour(first_seen), hour(last_seen), hour(closed_at), reports, amount, chosen, evidence
      FROM cases ORDER BY asset, first_seen"""
    assert con.execute(sql).fetchall() == [
        ("t0", "wheel_scale", 1, "closed", 1, 2, 3, 2, 1.41, "gps", "wheel speed is 1.410 times that of the satellites"),
        ("t0", "wheel_scale", 2, "open", 9, 9, None, 1, 1.2, "odometer", "wheel speed is 1.200 times that of the satellites"),
        ("t1", "odometer_conflict", 1, "open", 5, 5, None, 1, 0.98, "odometer",
         "odometer counts 0.980 times the way by the satellites"),
    ]  # fmt: skip


def test_every_kpi_view_answers_an_empty_lake(tmp_path: Path) -> None:
    con = _lake(tmp_path / "lake")
    for view in (
        "running_vehicle_days",
        "running_days",
        "region_benchmark",
        "region_benchmark_days",
        "dock_days",
        "cases",
    ):
        assert _rows(con, f"FROM {view}") == []
