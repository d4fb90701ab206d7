"""A lake of 1,000 vehicles and 30 days of minute sums, made once into build/ and kept for the next run."""

import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np

from storage.compact import compact
from storage.lake import Commit, Lake
from storage.landing import Commit as LandedCommit
from storage.registry import Registry, write_dimensions
from storage.schema import Names, empty, to_arrow
from stream.columns import ROLLUP, TABLES, UNKNOWN
from stream.fleet import Route, Vehicle, Warehouse

VEHICLES: Final = 1_000
WAREHOUSES: Final = 20
ROUTES: Final = 50
DAYS: Final = 30
MINUTES_A_DAY: Final = 600  # that a vehicle is on: ten hours
DAY_NS: Final = 86_400_000_000_000
HOUR_NS: Final = 3_600_000_000_000
MINUTE_NS: Final = 60_000_000_000
FACTOR_SET: Final = "fleetco2-2026.1"
_HERE = Path(__file__).resolve().parent
_BUILD = _HERE.parent.parent / "build" / "bench"


def names() -> Names:
    """Assets and routes of the lake."""
    assets = [f"truck-{i:04d}" for i in range(VEHICLES)] + [f"site-{i:02d}" for i in range(WAREHOUSES)]
    return Names(tuple(f"gw-{a}" for a in assets), tuple(assets), tuple(f"route-{i:02d}" for i in range(ROUTES)))


def registry() -> Registry:
    """Two tenants of half the vehicles each."""
    known = names()
    return Registry(
        tuple(
            Vehicle(a, f"gw-{a}", "artic_40t", "diesel_b7", known.route[i % ROUTES], tenant=("acme", "other")[i % 2])
            for i, a in enumerate(known.asset[:VEHICLES])
        ),
        tuple(Warehouse(a, f"gw-{a}", a, 50, 8, "uk", tenant="acme") for a in known.asset[VEHICLES:]),
        tuple(Route(r, r.title(), tenant="acme") for r in known.route),
    )


def day(start_ns: int, seed: int) -> dict[str, Any]:
    """Rollups of a day: each vehicle ten hours on, with a change of load state every hour; warehouses all day. Seeded."""
    rng = np.random.default_rng(seed)
    begin = rng.integers(0, 1440 - MINUTES_A_DAY, VEHICLES)
    minute = (begin[:, None] + np.arange(MINUTES_A_DAY)).ravel()
    asset = np.repeat(np.arange(VEHICLES), MINUTES_A_DAY)
    minute = np.concatenate([minute, np.tile(np.arange(1440), WAREHOUSES)])
    asset = np.concatenate([asset, np.repeat(np.arange(VEHICLES, VEHICLES + WAREHOUSES), 1440)])
    order = np.lexsort((asset, minute))  # as they land: by time
    minute, asset = minute[order], asset[order]
    n, truck = len(minute), asset < VEHICLES
    speed = np.where(truck, rng.integers(0, 90, n), 0)
    distance_mm = speed * 1_000_000 // 60
    fuel_nl = np.where(truck, 60_000_000 + distance_mm * 330, 0)
    co2e = np.where(truck, fuel_nl * 2_583 // 1000, rng.integers(10**8, 10**9, n))
    minute_ns = start_ns + minute * MINUTE_NS
    values = {
        "minute_ns": minute_ns,
        "kind": np.where(truck, 0, 1),
        "asset": asset,
        "route": np.where(truck, asset % ROUTES, -1),
        "load_state": np.where(truck, minute // 60 % 5, 0),
        "readings": np.full(n, 60),
        "observed_us": np.full(n, 60_000_000),
        "distance_mm": distance_mm,
        "fuel_nl": fuel_nl,
        "co2_ttw_ug": co2e * 98 // 100,
        "co2e_ttw_ug": co2e,
        "co2e_wtt_ug": co2e // 4,
        "co2e_measured_ug": np.where(minute % 10 == 0, 0, co2e + co2e // 4),
        "u_asset_ug": co2e // 40,
        "newest_time_ns": minute_ns + 59_000_000_000,
        "newest_received_ns": minute_ns + 60_000_000_000,
        "kernel_version": np.ones(n),
    }
    out = {}
    for c in ROLLUP:
        kind = np.int32 if c.dtype in ("code", "int32") else np.int64
        missing = -1 if c.dtype == "code" and c.nullable else UNKNOWN if c.nullable else 0
        out[c.name] = np.asarray(values.get(c.name, np.full(n, missing)), kind)
    return out


def lake(now_ns: int) -> Path:
    """The folder of a lake whose newest day ends at the midnight before ``now_ns``."""
    last = now_ns // DAY_NS
    path = _BUILD / f"panels-{last}-{VEHICLES}x{DAYS}-{len(ROLLUP)}"
    if (path / "done").exists():
        return path
    for old in _BUILD.glob("panels-*"):
        shutil.rmtree(old)
    others = {
        name: empty(name)
        for name in LandedCommit.__dataclass_fields__
        if name in TABLES or name in ("quarantine", "batches")
    }
    clock = [(last - DAYS + 1) * DAY_NS]
    with Lake.open(path, create=True, now_ns=lambda: clock[0]) as made:
        write_dimensions(made, registry())
        for i in range(DAYS):
            rows = to_arrow("rollups", day((last - DAYS + i + 1) * DAY_NS, seed=i), names())
            hour = rows["minute_ns"].to_numpy() // HOUR_NS
            starts = np.flatnonzero(np.diff(hour, prepend=-1))
            for start, end in zip(
                starts, [*starts[1:], len(hour)], strict=True
            ):  # as a day's commits come to lie: a file an hour
                part = rows.slice(int(start), int(end - start))
                clock[0] = int(hour[start] + 1) * HOUR_NS
                made.commit(Commit(**{**others, "rollups": part}, factor_set=FACTOR_SET, state=b""))
    for _ in compact(path):  # hourly sums of the days that are over
        pass
    (path / "done").touch()
    return path
