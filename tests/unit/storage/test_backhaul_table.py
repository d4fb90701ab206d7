"""The table of backhauls: made from trips, replaced whole, seen at once, and within one tenant."""

from pathlib import Path
from typing import Any

import pytest

from storage.__main__ import main
from storage.backhaul import find_day
from storage.query import connect
from storage.registry import Registry
from storage.schema import Names
from storage.views import Tenant
from stream.backhaul import Limits
from stream.fleet import Vehicle
from tests.kpi_lake import HOUR, lake_of
from tests.lake_data import FACTOR_SET, T0

DAY = "2026-11-22"
NORTH, SOUTH = (52.5, 9.5), (51.0, 7.0)


def _registry(*tenants: str | None) -> Registry:
    return Registry(
        tuple(Vehicle(f"t{i}", f"d-t{i}", "artic_40t", "diesel_b7", tenant=t) for i, t in enumerate(tenants)), (), ()
    )


def _trip(
    asset: str, hour: float, state: str, begin: tuple[float, float], end: tuple[float, float], **given: Any
) -> dict[str, Any]:
    start = T0 + int(hour * HOUR)
    return {
        "device": f"d-{asset}", "asset": asset, "trip_start_ns": start, "trip_end_ns": start + 4 * HOUR, "version": 1,
        "closed": True, "start_lat_deg": begin[0], "start_lon_deg": begin[1], "end_lat_deg": end[0], "end_lon_deg": end[1],
        "load_state": state, "payload_kg": 0.0 if state == "empty" else 15_000.0, "capacity_kg": 25_000.0,
        "distance_mm": 300_000_000, "fuel_nl": 70_000_000_000 if state == "empty" else 100_000_000_000,
        "co2e_ttw_ug": 200_000_000_000, "co2e_wtt_ug": 50_000_000_000,
    } | given  # fmt: skip


def _two_that_cross() -> list[dict[str, Any]]:
    """t0 runs back empty from north to south at 10:00, when t1 brings a load the same way and returns empty."""
    return [
        _trip("t0", 10, "empty", NORTH, SOUTH),
        _trip("t1", 10.5, "full", NORTH, SOUTH),
        _trip("t1", 16, "empty", SOUTH, NORTH),
    ]


def _lake(path: Path, trips: list[dict[str, Any]], tenants: tuple[str | None, ...] = (None, None), **more: Any) -> Path:
    registry = _registry(*tenants)
    names = Names(device=tuple(v.device for v in registry.vehicles), asset=tuple(v.vehicle for v in registry.vehicles))
    return lake_of(path, names, registry, trips=trips, **more)


def _pairs(lake: Path, tenant: Tenant | None = None) -> list[tuple[Any, ...]]:
    return connect(lake, tenant=tenant).execute("FROM backhaul ORDER BY asset, load_asset").fetchall()


def test_two_vehicles_that_cross(tmp_path: Path) -> None:
    lake = _lake(tmp_path / "lake", _two_that_cross())
    assert _pairs(lake) == []
    found = find_day(lake, DAY, FACTOR_SET, Limits(), now_ns=lambda: T0)
    assert (found.legs, found.loads, found.best) == (2, 1, 1)
    assert found.km == pytest.approx(600, abs=1)
    sql = """SELECT asset, load_asset, load_kg, saved_km, saved_l, saved_co2e_wtw_kg, best, day::VARCHAR,
      return_trip_start_ns - trip_start_ns, wait_s FROM backhaul"""
    ((asset, load_asset, kg, km, litres, co2e, best, day, back, wait),) = connect(lake).execute(sql).fetchall()
    assert (asset, load_asset, kg, best, day) == ("t0", "t1", 15_000.0, True, DAY)
    assert (back, wait) == (6 * HOUR, 1_800.0)
    carried = 1.25 * 237.5 * 0.67 / 100 * 15  # 15 t over the road from north to south
    assert litres == pytest.approx(170 - carried, abs=1)
    assert co2e == pytest.approx(500 * litres / 170)
    assert km == pytest.approx(600, abs=1)


def test_only_the_newest_version_of_a_trip_counts(tmp_path: Path) -> None:
    trips = [*_two_that_cross(), _trip("t0", 10, "full", NORTH, SOUTH, version=2)]
    found = find_day(_lake(tmp_path / "lake", trips), DAY, FACTOR_SET, Limits(), now_ns=lambda: T0)
    assert found.best == 0


def test_unknown_open_and_excluded_trips_are_no_legs(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"closed": False},
        {"excluded": True},
        {"load_state": "unknown"},
        {"end_lat_deg": None},
    ]
    for i, change in enumerate(changes):
        trips = _two_that_cross()
        trips[0] |= change
        found = find_day(_lake(tmp_path / str(i), trips), DAY, FACTOR_SET, Limits(), now_ns=lambda: T0)
        assert found.pairs == 0, change


def test_a_cooled_load_needs_a_body_that_cools(tmp_path: Path) -> None:
    cold = [{"minute_ns": T0 + 11 * HOUR, "asset": "t1", "kind": "vehicle", "tru_fuel_nl": 10**9}]
    lake = _lake(tmp_path / "a", _two_that_cross(), rollups=cold)
    assert find_day(lake, DAY, FACTOR_SET, Limits(), now_ns=lambda: T0).pairs == 0
    both = [*cold, {"minute_ns": T0 + 3 * HOUR, "asset": "t0", "kind": "vehicle", "tru_fuel_nl": 10**9}]
    lake = _lake(tmp_path / "b", _two_that_cross(), rollups=both)
    assert find_day(lake, DAY, FACTOR_SET, Limits(), now_ns=lambda: T0).pairs == 1


def test_operators_do_not_meet_and_see_only_their_own(tmp_path: Path) -> None:
    apart = _lake(tmp_path / "apart", _two_that_cross(), ("north", "south"))
    assert find_day(apart, DAY, FACTOR_SET, Limits(), now_ns=lambda: T0).pairs == 0
    one = _lake(tmp_path / "one", _two_that_cross(), ("north", "north"))
    find_day(one, DAY, FACTOR_SET, Limits(), now_ns=lambda: T0)
    assert len(_pairs(one, Tenant("north"))) == 1
    assert _pairs(one, Tenant("south")) == []


def test_a_day_is_replaced_and_others_stay(tmp_path: Path) -> None:
    trips = _two_that_cross()
    trips += [
        {**t, "trip_start_ns": t["trip_start_ns"] + 24 * HOUR, "trip_end_ns": t["trip_end_ns"] + 24 * HOUR}
        for t in trips
    ]
    lake = _lake(tmp_path / "lake", trips)
    for day in (DAY, "2026-11-23", DAY):
        find_day(lake, day, FACTOR_SET, Limits(), now_ns=lambda: T0)
    assert len(_pairs(lake)) == 2
    find_day(lake, DAY, FACTOR_SET, Limits(approach_km=1, detour_km=0, wait_s=0), now_ns=lambda: T0)
    days = connect(lake).execute("SELECT day::VARCHAR FROM backhaul").fetchall()
    assert days == [("2026-11-23",)]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = _lake(tmp_path / "lake", _two_that_cross())
    assert main(["--lake", str(lake), "backhaul", "--day", DAY]) == 0
    assert "2 empty legs, 1 loads, 1 legal pairs, 1 that can all be done" in capsys.readouterr().out
    assert main(["--lake", str(lake), "sql", "--format", "csv", "SELECT asset, load_asset FROM backhaul"]) == 0
    assert "t0,t1" in capsys.readouterr().out
