"""The table ``backhaul``: loads that empty legs of a day could have carried, made from the trips of a lake.

Derived from trips alone, by ``python -m storage backhaul``: one file per day, replaced as a whole in one commit of its own table, so
a reader sees the old pairs or the new ones. Pairs are sought within one tenant, so that no operator learns of another's loads.
"""

import json
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.transaction import AddAction, RemoveAction

from storage.delta import DELTA_FAULTS, DeltaLog, add_action
from storage.disk import Disk, check_folder, fault, lock
from storage.landing import partition_folder, write_file
from storage.ledger import FileEntry
from storage.parquet import sha256
from storage.query import connect
from storage.schema import DAY_NS, DERIVED
from stream.backhaul import LEG, LOAD, Limits, find_pairs

TABLE: Final = "backhaul"
TMP: Final = "tmp-backhaul"
KEEP_HOURS: Final = 1  # a replaced file stays for readers that began before
DUE_NS: Final = 2 * 3_600 * 10**9  # a load that left may as well have left so much later
RETURN_NS: Final = 24 * 3_600 * 10**9  # an empty trip that begins later is not the load's return
_TRIPS: Final = """
WITH newest AS (
  SELECT * FROM trips WHERE factor_set = $factor_set AND trip_start_ns >= $day_before AND trip_start_ns < $day_after
  QUALIFY row_number() OVER (PARTITION BY asset, trip_start_ns ORDER BY version DESC) = 1
), cooling AS (
  SELECT DISTINCT asset, minute_ns FROM rollups
  WHERE factor_set = $factor_set AND tru_fuel_nl > 0 AND minute_ns >= $day_before AND minute_ns < $day_after
), chilled AS (
  SELECT DISTINCT asset, trip_start_ns FROM newest JOIN cooling USING (asset)
  WHERE minute_ns > trip_start_ns - 60000000000 AND minute_ns < trip_end_ns
), usable AS (
  SELECT *, closed AND NOT excluded AS whole FROM newest
)
SELECT n.* EXCLUDE (day), coalesce(v.tenant, '') AS tenant,
  whole AND load_state IN ('empty', 'empty_with_load_units') AS is_empty,
  whole AND load_state IN ('partial', 'full') AS is_load,
  (n.asset, n.trip_start_ns) IN (SELECT (asset, trip_start_ns) FROM chilled) AS is_chilled,
  n.asset IN (SELECT asset FROM cooling) AS can_cool,
  n.trip_start_ns >= $first AND n.trip_start_ns < $end AS today
FROM usable AS n JOIN vehicles AS v ON v.vehicle = n.asset
ORDER BY tenant, asset, trip_start_ns"""


@dataclass(frozen=True, slots=True)
class Found:
    """Pairs of a day: all legal ones, and what those save that can all be done together."""

    legs: int
    loads: int
    pairs: int
    best: int
    km: float
    litres: float | None


def _floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def trips_of(con: duckdb.DuckDBPyConnection, day_ns: int, factor_set: str) -> pa.Table:
    """Closed trips of the day that begins at ``day_ns`` and of those beside it, in the order of vehicles and time."""
    found = con.sql(
        _TRIPS,
        params={
            "factor_set": factor_set,
            "first": day_ns,
            "end": day_ns + DAY_NS,
            "day_before": day_ns - DAY_NS,
            "day_after": day_ns + 2 * DAY_NS,
        },
    )
    table: pa.Table = found.to_arrow_table()
    return table


def pairs_of(trips: pa.Table, limits: Limits) -> tuple[pa.Table, Found]:
    """Rows of the table ``backhaul`` (without ``day``) from ``trips_of``, and their sums."""
    tenants = np.asarray(trips["tenant"].to_pylist(), object)
    parts, legs_n, loads_n = [], 0, 0
    for tenant in sorted(set(tenants.tolist())):
        own = trips.filter(pa.array(tenants == tenant))
        rows, legs, loads = _pairs(own, limits)
        parts.append(rows)
        legs_n, loads_n = legs_n + legs, loads_n + loads
    table = pa.concat_tables(parts) if parts else DERIVED[TABLE].empty_table().drop_columns(["day"])
    best = table.filter(table["best"])
    litres = [v for v in best["saved_l"].to_pylist() if v is not None]
    km = float(sum(best["saved_km"].to_pylist()))
    return table, Found(legs_n, loads_n, table.num_rows, best.num_rows, km, sum(litres) if litres else None)


def _pairs(trips: pa.Table, limits: Limits) -> tuple[pa.Table, int, int]:
    n = trips.num_rows
    asset = np.asarray(trips["asset"].to_pylist(), object)
    names, vehicle = np.unique(asset.astype(str), return_inverse=True)
    start, driven = trips["trip_start_ns"].to_numpy(), _floats(trips, "distance_mm") / 1000.0
    fuel = _floats(trips, "fuel_nl") / 1e9
    co2e_kg = _floats(trips, "co2e_wtw_ug") / 1e9
    empty, loaded, chilled, can_cool, today = (
        np.asarray(trips[name].to_pylist(), bool) for name in ("is_empty", "is_load", "is_chilled", "can_cool", "today")
    )
    ends = [_floats(trips, f"{end}_{axis}_deg") for end in ("start", "end") for axis in ("lat", "lon")]
    leg_rows = np.flatnonzero(empty & today)
    load_rows = np.flatnonzero(loaded)
    following = np.full(n, -1, np.int64)
    following[:-1] = (
        np.where((vehicle[1:] == vehicle[:-1]) & empty[1:] & (start[1:] - start[:-1] < RETURN_NS), np.arange(1, n), -1)
        if n > 1
        else -1
    )
    legs, loads = np.zeros(leg_rows.size, LEG), np.zeros(load_rows.size, LOAD)
    for rows, at in ((legs, leg_rows), (loads, load_rows)):
        rows["vehicle"] = vehicle[at]
        for name, values in zip(("lat0_deg", "lon0_deg", "lat1_deg", "lon1_deg"), ends, strict=True):
            rows[name] = values[at]
        rows["body"] = -1  # the registry does not tell bodies
    legs["start_ns"], legs["cooled"] = start[leg_rows], can_cool[leg_rows]
    legs["capacity_kg"] = _floats(trips, "capacity_kg")[leg_rows]
    with np.errstate(divide="ignore", invalid="ignore"):
        legs["litres_per_m"] = fuel[leg_rows] / driven[leg_rows]
    back = following[load_rows]
    with_return = back >= 0
    loads["ready_ns"], loads["due_ns"] = start[load_rows], start[load_rows] + DUE_NS
    loads["mass_kg"], loads["cooled"] = _floats(trips, "payload_kg")[load_rows], chilled[load_rows]
    loads["driven_m"] = driven[load_rows] + np.where(with_return, driven[back], 0.0)
    loads["litres"] = fuel[load_rows] + np.where(with_return, fuel[back], 0.0)
    leg_at = np.full(n, -1, np.int64)
    leg_at[leg_rows] = np.arange(leg_rows.size)
    loads["back"] = np.where(with_return, leg_at[back], -1)
    found = find_pairs(legs, loads, limits)
    of_leg, of_load = leg_rows[found["leg"]], load_rows[found["load"]]
    of_back = back[found["load"]]
    kg = co2e_kg[of_load] + np.where(of_back >= 0, co2e_kg[of_back], 0.0)
    litres = loads["litres"][found["load"]]
    columns = {
        "asset": pa.array(names[vehicle[of_leg]], pa.string()),
        "trip_start_ns": pa.array(start[of_leg]),
        "load_asset": pa.array(names[vehicle[of_load]], pa.string()),
        "load_trip_start_ns": pa.array(start[of_load]),
        "return_trip_start_ns": pa.array(start[of_back], mask=of_back < 0),
        "pickup_ns": pa.array(found["pickup_ns"]),
        "pickup_lat_deg": pa.array(loads["lat0_deg"][found["load"]]),
        "pickup_lon_deg": pa.array(loads["lon0_deg"][found["load"]]),
        "drop_lat_deg": pa.array(loads["lat1_deg"][found["load"]]),
        "drop_lon_deg": pa.array(loads["lon1_deg"][found["load"]]),
        "wait_s": pa.array(found["wait_s"]),
        "detour_km": pa.array(found["detour_m"] / 1000.0),
        "load_kg": pa.array(loads["mass_kg"][found["load"]]),
        "saved_km": pa.array(found["saved_m"] / 1000.0),
        "saved_l": _nullable(found["saved_l"]),
        "saved_co2e_wtw_kg": _nullable(kg * found["saved_l"] / np.where(litres > 0, litres, np.nan)),
        "best": pa.array(found["best"] == 1),
    }
    schema = DERIVED[TABLE]
    fields = [schema.field(name) for name in columns]
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields)), legs.size, loads.size


def _nullable(values: npt.NDArray[np.float64]) -> pa.Array:
    return pa.array(values, mask=~np.isfinite(values))


def write_day(
    lake: Path, day: str, rows: pa.Table, limits: Limits, *, now_ns: Callable[[], int], disk: Disk | None = None
) -> None:
    """Put ``rows`` in the place of the day's pairs, synced, as one commit of the table. Raises LakeBusyError, StorageError."""
    disk = disk or Disk()
    check_folder(lake)
    held = lock(lake / "backhaul.lock", "looks for backhauls")
    path, partition = lake / TABLE, {"day": day}
    try:
        disk.make_dir(lake / TMP)
        for left in (lake / TMP).iterdir():
            disk.remove(left)
        log = DeltaLog(path, DERIVED[TABLE], ("day",), disk)
        log.open()
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, compression="zstd")
        content = sink.getvalue()
        digest = sha256(content)
        folder = path / partition_folder(partition)
        disk.make_dir(folder)
        name = f"{partition_folder(partition)}/{digest}-{uuid.uuid4().hex[:8]}.parquet"
        entry = FileEntry(TABLE, name, content.size, rows.num_rows, digest, partition, {})
        write_file(disk, lake / TMP, path / name, content)
        disk.sync(folder)
        now_ms = now_ns() // 1_000_000
        old = pa.table(log.handle.get_add_actions(flatten=True)).to_pylist()
        actions: list[AddAction | RemoveAction] = [
            RemoveAction(r["path"], True, now_ms, r["size_bytes"], dict(partition))
            for r in old
            if str(r["partition.day"]) == day
        ]
        accepted = {name: getattr(limits, name) for name in limits.__slots__}
        log.commit([*actions, add_action(entry, now_ms)], None, {"fleetco2.limits": json.dumps(accepted)})
        log.sync()
        log.refresh()
        for unnamed in log.handle.vacuum(retention_hours=KEEP_HOURS, dry_run=True, enforce_retention_duration=False):
            disk.remove(path / unnamed)
    except DELTA_FAULTS as e:
        raise fault(path, e) from e
    finally:
        os.close(held)


def find_day(lake: Path, day: str, factor_set: str, limits: Limits, *, now_ns: Callable[[], int]) -> Found:
    """Look for the day's pairs (ISO date, UTC) and write them. Raises StorageError."""
    day_ns = int(np.datetime64(day, "ns").astype(np.int64))
    rows, found = pairs_of(trips_of(connect(lake), day_ns, factor_set), limits)
    write_day(lake, day, rows, limits, now_ns=now_ns)
    return found
