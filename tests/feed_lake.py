"""A small lake whose figures can be worked out by hand, for tests of the feed.

Tenant ``acme``: three diesel trucks on route r-north (trunk) and three electric vans on r-south (last mile); a warehouse.
Tenant ``other``: two diesel trucks on r-other: too few to be shown. Every day of 2026-10 and of 2026-11 up to the 21st each vehicle does
one trip of 300 km in one "minute" at 06:00, loaded with 10 t (vans 1 t), except that truck-2 runs empty; 2025 is the base year.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dashboards.feed.config import FeedConfig
from dashboards.feed.keys import Detail, Key, load, make, save
from dashboards.feed.periods import DAY_NS, parse_moment
from dashboards.feed.service import Feed
from dashboards.feed.state import Rules
from storage.lake import Commit, Lake
from storage.references import Baseline, Benchmark
from storage.registry import Registry, write_dimensions
from storage.schema import Names, empty, to_arrow
from stream.columns import TABLES, UNKNOWN, Column
from stream.fleet import Route, Vehicle, Warehouse

SECOND = 1_000_000_000
SIX = 6 * 3_600 * SECOND
FACTOR_SET = "fleetco2-2026.1"
NOW = parse_moment("2026-11-22T10:00Z", "now")
TRUCKS = ("truck-0", "truck-1", "truck-2")
VANS = ("van-0", "van-1", "van-2")
OTHERS = ("other-0", "other-1")
VEHICLES = (*TRUCKS, *VANS, *OTHERS)
ASSETS = (*VEHICLES, "hub-1")
DEVICES = tuple(f"gw-{a}" for a in ASSETS)
ROUTES = ("r-north", "r-south", "r-other")
NAMES = Names(device=DEVICES, asset=ASSETS, route=ROUTES, place=("depot", "shop"), region=("ruhr", "hesse"))
KG = 1_000_000_000
TRUCK_DAY = {"distance_mm": 300 * 10**6, "fuel_nl": 100 * 10**9, "co2e_ttw_ug": 250 * KG, "co2e_wtt_ug": 60 * KG}
VAN_DAY = {"distance_mm": 300 * 10**6, "energy_uwh": 90 * 10**9, "co2e_wtt_ug": 40 * KG}
HUB_DAY = {"goods_out_g": 50 * 10**6, "pallets_out": 100, "energy_uwh": 500 * 10**9, "co2e_wtt_ug": 200 * KG}


def registry(**changes: Any) -> Registry:
    """The registry of the lake."""
    vehicles = [
        Vehicle(v, f"gw-{v}", "artic_40t", "diesel_b7", "r-north", gvw_kg=40_000, tare_kg=15_000, tenant="acme")
        for v in TRUCKS
    ]
    vehicles += [
        Vehicle(v, f"gw-{v}", "bev_van_3.5t", "electricity", "r-south", grid_zone="de", tenant="acme") for v in VANS
    ]
    vehicles += [Vehicle(v, f"gw-{v}", "artic_40t", "diesel_b7", "r-other", tenant="other") for v in OTHERS]
    hub = Warehouse("hub-1", "gw-hub-1", "Hub", 51.4, 6.8, "de", area_m2=10_000, pallet_positions=5_000, tenant="acme")
    routes = (
        Route("r-north", "North", "hub-1", "shop", "trunk", tenant="acme"),
        Route("r-south", "South", "hub-1", "shop", "last_mile", tenant="acme"),
        Route("r-other", "Other", None, None, "trunk", tenant="other"),
    )
    baselines = (
        Baseline(
            "operator", "acme", 2025, target_year=2030, target_reduction_pct=40.0, target_intensity_reduction_pct=30.0
        ),
        Baseline(
            "stage", "trunk", 2025, 400_000.0, 320_000.0, 4_000_000.0, "tkm", 2030, 40.0, 40.0, FACTOR_SET, "acme"
        ),
        Baseline("stage", "last_mile", 2025, 1.0, 1.0, None, None, 2030, 40.0, None, "another-set", "acme"),
    )
    benchmarks = (Benchmark("eu27", 2024, 21.6, "eurostat", "Eurostat road_go_ta"),)
    return Registry(tuple(vehicles), (hub,), routes, baselines, benchmarks)


def arrow(table: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows of ``table`` from a few values each, names instead of codes. What is not given is unknown where it may be, else 0."""
    rows = list(rows)
    out: dict[str, Any] = {}
    for c in TABLES[table]:
        values = [_value(c, r.get(c.name)) for r in rows]
        kinds = {"code": np.int32, "int32": np.int32, "float64": np.float64, "bool": np.bool_, "int8": np.int8}
        out[c.name] = np.array(values, kinds.get(c.dtype, np.int64))
    return to_arrow(table, out, NAMES)


def _value(c: Column, given: Any) -> Any:
    if given is not None:
        if c.dtype != "code":
            return given
        return (c.codes or getattr(NAMES, c.names)).index(given)
    if c.dtype == "float64":
        return np.nan
    if c.nullable:
        return -1 if c.dtype == "code" else UNKNOWN
    return 0


def _carried(asset: str) -> dict[str, int]:
    """Transport work and capacity of 300 km."""
    if asset == "hub-1" or asset == "truck-2":
        return {}
    mass, capacity = (1_000, 1_250) if asset in VANS else (10_000, 25_000)
    return {"transport_kgm": mass * 300_000, "capacity_kgm": capacity * 300_000}


def rollup(asset: str, time_ns: int, **more: Any) -> dict[str, Any]:
    """A minute of one asset: a minute observed, all measured."""
    route = None if asset == "hub-1" else "r-north" if asset in TRUCKS else "r-south" if asset in VANS else "r-other"
    own = HUB_DAY if asset == "hub-1" else VAN_DAY if asset in VANS else TRUCK_DAY
    row = {
        "minute_ns": time_ns,
        "kind": "warehouse" if asset == "hub-1" else "vehicle",
        "asset": asset,
        "route": route,
        "region": None if asset == "hub-1" else "hesse" if asset in VANS else "ruhr",
        "trip_start_ns": None if asset == "hub-1" else time_ns,
        "load_state": "unknown",
        "readings": 60,
        "observed_us": 60_000_000,
        "newest_time_ns": time_ns + 59 * SECOND,
        "newest_received_ns": time_ns + 61 * SECOND,
        "kernel_version": 1,
        **_carried(asset),
        **own,
        **more,
    }
    total = row.get("co2e_ttw_ug", 0) + row.get("co2e_wtt_ug", 0)
    return {"co2e_measured_ug": total, "u_asset_ug": total // 40, **row}


def trip(asset: str, start_ns: int, **more: Any) -> dict[str, Any]:
    """A trip of 300 km; trucks carry 10 t of 25, vans 1 t of 1.25, truck-2 nothing."""
    is_empty = asset == "truck-2"
    mass = 0 if is_empty else 1_000 if asset in VANS else 10_000
    own = VAN_DAY if asset in VANS else TRUCK_DAY
    return {
        "device": f"gw-{asset}",
        "asset": asset,
        "trip_start_ns": start_ns,
        "version": 1,
        "trip_end_ns": start_ns + 4 * 3_600 * SECOND,
        "closed": True,
        "route": rollup(asset, start_ns)["route"],
        "load_state": "empty" if is_empty else "partial",
        "payload_kg": float(mass),
        "capacity_kg": 1_250.0 if asset in VANS else 25_000.0,
        "distance_mm": 300 * 10**6,
        "transport_kgm": mass * 300_000,
        "observed_us": 4 * 3_600_000_000,
        "unknown_us": 0,
        "fuel_nl": own.get("fuel_nl", 0),
        "energy_uwh": own.get("energy_uwh", 0),
        "co2e_ttw_ug": own.get("co2e_ttw_ug", 0),
        "co2e_wtt_ug": own["co2e_wtt_ug"],
        "kernel_version": 1,
        **more,
    }


def reading(asset: str, time_ns: int, seq: int, **more: Any) -> dict[str, Any]:
    """A reading."""
    return {
        "device": f"gw-{asset}",
        "boot_id": 7,
        "seq": seq,
        "merged": 1,
        "time_ns": time_ns,
        "received_ns": time_ns + SECOND,
        "clock_error_ms": 5,
        **more,
    }


def commit_of(
    rollups: Iterable[Mapping[str, Any]] = (),
    trips: Iterable[Mapping[str, Any]] = (),
    readings: Iterable[Mapping[str, Any]] = (),
    factor_set: str = FACTOR_SET,
) -> Commit:
    """A commit of these rows."""
    return Commit(
        readings=arrow("readings", readings),
        emissions=empty("emissions"),
        rollups=arrow("rollups", rollups),
        trips=arrow("trips", trips),
        events=empty("events"),
        quarantine=empty("quarantine"),
        factor_set=factor_set,
        state=b"state",
    )


def days(first: str, last: str) -> list[int]:
    """Starts of the days from ``first`` to ``last``, both included."""
    return list(range(parse_moment(first, "first"), parse_moment(last, "last") + 1, DAY_NS))


def day_commit(
    starts: Iterable[int], *, vehicles: Iterable[str] = VEHICLES, more: Mapping[str, Any] | None = None
) -> Commit:
    """What happens on these days: rollups, trips and ten readings of each vehicle, and the warehouse with its counters."""
    starts, vehicles = list(starts), tuple(vehicles)
    trips = [trip(v, d + SIX) for d in starts for v in vehicles]
    rollups = [rollup(a, d + SIX, **(more or {})) for d in starts for a in (*vehicles, "hub-1")]
    readings = [
        reading(v, d + SIX + i * SECOND, (d // DAY_NS) * 10 + i) for d in starts for v in vehicles for i in range(10)
    ]
    readings += [reading("hub-1", d + SIX + i * SECOND, (d // DAY_NS) * 2 + i) for d in starts for i in range(2)]
    return commit_of(rollups, trips, readings)


def base_year(lake: Lake) -> None:
    """2025: every day, a tenth more CO2e than in 2026."""
    rows = []
    for d in days("2025-01-01", "2025-12-31"):
        for v in (*TRUCKS, *VANS):
            row = rollup(v, d + SIX)
            rows.append(
                {
                    **row,
                    "co2e_ttw_ug": row.get("co2e_ttw_ug", 0) * 11 // 10,
                    "co2e_wtt_ug": row["co2e_wtt_ug"] * 11 // 10,
                }
            )
    lake.commit(commit_of(rows))


def build(path: Path, *, base: bool = False) -> Path:
    """The lake at ``path``, with a commit per month, made on the clock of the 22nd of November 2026."""
    with Lake.open(path, create=True, now_ns=lambda: NOW - 3_600 * SECOND) as lake:
        write_dimensions(lake, registry())
        if base:
            base_year(lake)
        lake.commit(day_commit(days("2026-10-01", "2026-10-31")))
        lake.commit(day_commit(days("2026-11-01", "2026-11-21")))
    return path


def key_for(folder: Path, detail: Detail = "vehicles", **rights: Any) -> tuple[Key, str]:
    """A key in the file of ``config``, beside those that are there."""
    key, text = make("Ministry", tenants=rights.pop("tenants", ["*"]), detail=detail, now_ns=NOW - DAY_NS, **rights)
    path = folder / "keys.json"
    save(path, [*load(path).values(), key])
    return key, text


def config(folder: Path, **more: Any) -> FeedConfig:
    """A feed whose files lie in ``folder``."""
    return FeedConfig(
        keys=str(folder / "keys.json"),
        audit=str(folder / "audit"),
        figures=str(folder / "figures"),
        rules=Rules(lateness_h=96.0),
        **more,
    )


def feed(lake: Path, folder: Path, *, now_ns: Any = None, **more: Any) -> Feed:
    """A feed over the lake on a clock that stands still."""
    return Feed(lake, "acme", config(folder, **more), now_ns or (lambda: NOW))
