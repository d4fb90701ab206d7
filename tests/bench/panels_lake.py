"""A lake of 1,000 vehicles, 30 days of minute sums and their trips, made once into build/ and kept for the next run."""

import os
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from storage.compact import compact
from storage.lake import Commit, Lake
from storage.landing import Commit as LandedCommit
from storage.registry import Registry, write_dimensions
from storage.schema import GATEWAYS, Names, empty, to_arrow
from stream.columns import ROLLUP, TABLES, TRIP, UNKNOWN
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


def _begin(seed: int) -> Any:
    """The minute of the day at which each vehicle sets out."""
    return np.random.default_rng([seed, 1]).integers(0, 1440 - MINUTES_A_DAY, VEHICLES)


def trips(start_ns: int, seed: int) -> dict[str, Any]:
    """Trips of a day, one an hour: told when they begin, without a word on the load, and again when they have ended."""
    begin, k = _begin(seed), np.arange(MINUTES_A_DAY // 60)
    start = np.tile((start_ns + (begin[:, None] + k * 60) * MINUTE_NS).ravel(), 2)
    asset = np.tile(np.repeat(np.arange(VEHICLES), len(k)), 2)
    n = len(asset)
    closed = np.arange(n) >= n // 2
    values = {
        "device": asset,
        "asset": asset,
        "trip_start_ns": start,
        "version": np.where(closed, 2, 1),
        "trip_end_ns": np.where(closed, start + HOUR_NS, UNKNOWN),
        "closed": closed,
        "route": asset % ROUTES,
        "load_state": np.where(closed, np.tile(np.arange(n // 2) % 5, 2), 0),
        "distance_mm": np.full(n, 60_000_000),
        "observed_us": np.full(n, 3_600_000_000),
        "co2e_ttw_ug": np.full(n, 50_000_000_000),
        "co2e_wtt_ug": np.full(n, 12_000_000_000),
        "kernel_version": np.ones(n),
    }
    order = np.argsort(start + np.where(closed, HOUR_NS, 0), kind="stable")
    return {name: column[order] for name, column in _filled(TRIP, values, n).items()}


def _filled(table: Any, values: dict[str, Any], n: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for c in table:
        kind = {"code": np.int32, "int32": np.int32, "float64": np.float64, "bool": np.bool_}.get(c.dtype, np.int64)
        missing = (
            np.nan if c.dtype == "float64" else -1 if c.dtype == "code" and c.nullable else UNKNOWN if c.nullable else 0
        )
        out[c.name] = np.asarray(values.get(c.name, np.full(n, missing)), kind)
    return out


def day(start_ns: int, seed: int) -> dict[str, Any]:
    """Rollups of a day: each vehicle ten hours on, with a trip and a load state every hour; warehouses all day. Seeded."""
    rng = np.random.default_rng(seed)
    begin = _begin(seed)
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
    hours_begun = np.append(begin, np.zeros(WAREHOUSES, np.int64))[asset]
    values = {
        "minute_ns": minute_ns,
        "kind": np.where(truck, 0, 1),
        "asset": asset,
        "route": np.where(truck, asset % ROUTES, -1),
        "trip_start_ns": np.where(truck, minute_ns - (minute - hours_begun) % 60 * MINUTE_NS, UNKNOWN),
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
    return _filled(ROLLUP, values, n)


def states(start_ns: int, seed: int) -> pa.Table:
    """What a day's gateways say of themselves, each once an hour; one of ten is behind."""
    n = VEHICLES + WAREHOUSES
    known = names()
    at = np.repeat(np.arange(start_ns, start_ns + DAY_NS, HOUR_NS), n)
    device = np.tile(np.arange(n), len(at) // n)
    waiting = np.where(device % 10 == 0, np.random.default_rng([seed, 2]).integers(600, 90_000, len(at)), 10)
    values: dict[str, Any] = {
        "received_ns": at,
        "tenant": pa.array(["acme", "other"]).take(pa.array(device % 2)),
        "device": pa.array(known.device).take(pa.array(device)),
        "status": pa.array(["online"]).take(pa.array(device * 0)),
        "clock": pa.array(["gps"]).take(pa.array(device * 0)),
        "boot_id": device + 1,
        "waiting": waiting,
        "oldest_ns": at - waiting * 10**9,
        "fill": waiting / 100_000,
    }
    texts = pa.array([""]).take(pa.array(device * 0))
    zeros = np.zeros(len(at), np.int64)
    columns = [values.get(f.name, texts if f.type == pa.string() else zeros) for f in GATEWAYS]
    return pa.table([pa.array(c).cast(f.type) for c, f in zip(columns, GATEWAYS, strict=True)], schema=GATEWAYS)


def _between(sorted_ns: Any, start: int, end: int) -> tuple[int, int]:
    """Offset and length of the values from ``start`` up to ``end``, exclusive."""
    first, last = np.searchsorted(sorted_ns, [start, end])
    return int(first), int(last - first)


def _land(made: Lake, clock: list[int], start_ns: int, seed: int, until_ns: int) -> None:
    """A day's rollups and trips up to ``until_ns``, a commit an hour: so they come to lie after compaction."""
    none = {
        n: empty(n)
        for n in LandedCommit.__dataclass_fields__
        if n in TABLES or n in ("quarantine", "batches", "gateways")
    }
    rows, told = to_arrow("rollups", day(start_ns, seed), names()), to_arrow("trips", trips(start_ns, seed), names())
    said = states(start_ns, seed)
    heard, minute = said["received_ns"].to_numpy(), rows["minute_ns"].to_numpy()
    when = told["trip_start_ns"].to_numpy() + np.where(told["closed"].to_numpy(zero_copy_only=False), HOUR_NS, 0)
    for start in range(start_ns, min(start_ns + DAY_NS, until_ns), HOUR_NS):
        end = min(start + HOUR_NS, until_ns)
        clock[0] = end
        part = {
            "rollups": rows.slice(*_between(minute, start, end)),
            "trips": told.slice(*_between(when, start, end)),
            "gateways": said.slice(*_between(heard, start, end)),
        }
        made.commit(Commit(**{**none, **part}, factor_set=FACTOR_SET, state=b""))


def lake(now_ns: int) -> Path:
    """The folder of a lake of all days but the one of ``now_ns``, compacted, its clock at the midnight before."""
    last = now_ns // DAY_NS
    path = _BUILD / f"panels-{last}-{VEHICLES}x{DAYS}-{len(ROLLUP)}-states"
    if (path / "done").exists():
        return path
    for old in _BUILD.glob("panels-*"):
        shutil.rmtree(old)
    clock = [(last - DAYS + 1) * DAY_NS]
    with Lake.open(path, create=True, now_ns=lambda: clock[0]) as made:
        write_dimensions(made, registry())
        for i in range(DAYS - 1):
            start = (last - DAYS + i + 1) * DAY_NS
            _land(made, clock, start, i, start + DAY_NS)
    for _ in compact(path):  # hourly sums and words on trips
        pass
    (path / "done").touch()
    return path


def up_to(path: Path, now_ns: int) -> Path:
    """That lake once more with today's hours up to ``now_ns``: its files as links, its logs as copies, so that it stays as it is."""

    def take(source: str, target: str) -> None:
        (os.link if source.endswith(".parquet") and "_delta_log" not in source else shutil.copy2)(source, target)

    target = path.with_name("panels-now")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(path, target, copy_function=take)
    clock = [now_ns // DAY_NS * DAY_NS]
    with Lake.open(target, create=False, now_ns=lambda: clock[0]) as made:
        _land(made, clock, clock[0], DAYS - 1, now_ns)
    for _ in compact(target):
        pass
    return target
