"""What the page shows, asked of the SQL views: one object, unknown values as None."""
# ruff: noqa: S608  no text from outside gets into the SQL

from collections.abc import Mapping
from typing import Any, Final

import duckdb

NS: Final = 1_000_000_000
HISTORY_MINUTES: Final = 60
WHOLE: Final = 0.9  # coverage from which a minute is drawn; less would look like a fall
LATE_S: Final = 75  # a minute is over, and what was on its way has come
SEEN_S: Final = 900  # how far back positions are looked for among the readings

_ROUTES: Final = """
SELECT r.route, r.name, n.vehicles_reporting AS vehicles, r.registered, n.co2e_wtw_kg_per_h AS kg_per_h,
  n.co2e_wtw_low_kg_per_h AS low, n.co2e_wtw_high_kg_per_h AS high, n.co2e_wtw_g_per_km AS g_per_km, n.measured_share AS measured,
  n.coverage, n.observed_s, n.expected_s, n.co2e_wtw_kg, n.age_s
FROM (
  SELECT routes.route, routes.name, count(vehicle) AS registered FROM routes LEFT JOIN vehicles USING (route) GROUP BY ALL
  UNION ALL SELECT NULL, 'without a route', count(*) FROM vehicles WHERE route IS NULL
) AS r
  LEFT JOIN route_now AS n ON n.route IS NOT DISTINCT FROM r.route AND (n.factor_set = $factor_set OR n.factor_set IS NULL)
WHERE r.route IS NOT NULL OR r.registered > 0 OR n.vehicles_reporting > 0 ORDER BY r.route NULLS LAST"""
_SITES: Final = """
SELECT w.warehouse, w.name, n.energy_kwh * 3600 / nullif(n.observed_s, 0) AS power_kw, n.co2e_wtw_kg_per_h AS kg_per_h,
  n.co2e_wtw_low_kg_per_h AS low, n.co2e_wtw_high_kg_per_h AS high, n.measured_share AS measured, n.coverage, n.age_s
FROM warehouses AS w LEFT JOIN warehouse_now AS n ON n.warehouse = w.warehouse AND (n.factor_set = $factor_set OR n.factor_set IS NULL)
ORDER BY w.warehouse"""
_FACTOR_SET: Final = (
    "SELECT max(factor_set), max(kernel_version) FROM rollups WHERE minute_ns >= now_ns() - 86400000000000"
)
_TODAY: Final = """
SELECT CASE WHEN sum(observed_us - unknown_us) > 0 THEN sum(co2e_wtw_ug) / 1e9 END AS kg,
  sum(observed_us - unknown_us) / nullif(sum(observed_us), 0) AS known
FROM rollups WHERE minute_ns >= now_ns() - now_ns() % 86400000000000 AND factor_set = $factor_set"""
_EMPTY: Final = """
SELECT sum(distance_mm) FILTER (load_state IN ('empty', 'empty_with_load_units')) AS empty,
  sum(distance_mm) FILTER (load_state = 'unknown') AS unknown, sum(distance_mm) AS driven
FROM minutes WHERE minute_ns >= now_ns() - now_ns() % 86400000000000 AND factor_set = $factor_set AND kind = 'vehicle' AND NOT excluded"""
_POSITIONS: Final = f"""
WITH seen AS (
  SELECT device, max(time_ns) AS time_ns, arg_max(lat_deg, time_ns) AS lat, arg_max(lon_deg, time_ns) AS lon,
    arg_max(coalesce(speed_kmh, gps_speed_kmh), time_ns) AS speed_kmh
  FROM readings WHERE time_ns >= now_ns() - {SEEN_S * NS} AND lat_deg IS NOT NULL GROUP BY device
), burnt AS (
  SELECT asset, CASE WHEN sum(unknown_us) <= 0.05 * sum(observed_us) THEN sum(co2e_wtw_ug) / nullif(sum(distance_mm), 0) END AS g_per_km,
    arg_max(load_state, minute_ns) AS load_state
  FROM rollups WHERE minute_ns >= now_ns() - {SEEN_S * NS} AND kind = 'vehicle' AND factor_set = $factor_set GROUP BY asset
)
SELECT v.vehicle, v.route, s.lat, s.lon, s.speed_kmh, b.g_per_km, b.load_state, (now_ns() - s.time_ns) / 1e9 AS age_s
FROM seen AS s JOIN vehicles AS v USING (device) LEFT JOIN burnt AS b ON b.asset = v.vehicle ORDER BY v.vehicle"""
_PLACES: Final = "SELECT warehouse AS name, lat_deg AS lat, lon_deg AS lon FROM warehouses ORDER BY 1"
_HISTORY: Final = f"""
SELECT route, minute_ns // {NS} AS t, CASE WHEN coverage >= {WHOLE} THEN co2e_wtw_kg * 60 END AS kg_per_h
FROM route_minutes WHERE minute_ns >= now_ns() - {HISTORY_MINUTES * 60 * NS} AND minute_ns < now_ns() - {LATE_S * NS}
  AND factor_set = $factor_set AND route IS NOT NULL ORDER BY 2, 1"""


def _rows(
    con: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    found = con.execute(sql, dict(parameters or {}))
    names = [d[0] for d in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _sum(values: list[float | None]) -> float | None:
    """Sum of what is known, None where nothing is."""
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def live(con: duckdb.DuckDBPyConnection, now_ns: int) -> dict[str, Any]:
    """Everything on the page, from a connection of ``storage.query.connect`` that was refreshed."""
    factor_set, kernel_version = con.execute(_FACTOR_SET).fetchall()[0]
    bound = {"factor_set": factor_set}
    routes, sites = _rows(con, _ROUTES, bound), _rows(con, _SITES, bound)
    for row in (*routes, *sites):
        if row["kg_per_h"] is None:
            row["low"] = row["high"] = None
    today = _rows(con, _TODAY, bound)[0]
    empty = _rows(con, _EMPTY, bound)[0]
    vehicles = _rows(con, _POSITIONS, bound)
    driven = empty["driven"] or None
    ages = [r["age_s"] for r in (*routes, *sites, *vehicles) if r["age_s"] is not None]
    measured = [r for r in routes if r["measured"] is not None and r["co2e_wtw_kg"]]
    totals = {
        "factor_set": factor_set,
        "kernel_version": kernel_version,
        "kg_per_h": _sum([r["kg_per_h"] for r in (*routes, *sites)]),
        "low": _sum([r["low"] for r in (*routes, *sites)]),
        "high": _sum([r["high"] for r in (*routes, *sites)]),
        "vehicles": sum(r["vehicles"] or 0 for r in routes),
        "registered": sum(r["registered"] or 0 for r in routes),
        "coverage": _ratio(_sum([r["observed_s"] for r in routes]), _sum([r["expected_s"] for r in routes])),
        "measured": _ratio(
            _sum([r["measured"] * r["co2e_wtw_kg"] for r in measured]), _sum([r["co2e_wtw_kg"] for r in measured])
        ),
        "today_kg": today["kg"],
        "today_known": today["known"],
        "empty_low": _ratio(float(empty["empty"] or 0), driven),
        "empty_high": _ratio(float((empty["empty"] or 0) + (empty["unknown"] or 0)), driven),
        "age_s": min(ages) if ages else None,
    }
    return {
        "now_ns": now_ns,
        "totals": totals,
        "routes": routes,
        "warehouses": sites,
        "vehicles": vehicles,
        "places": _rows(con, _PLACES),
        "history": _history(con, bound, now_ns),
    }


def _history(con: duckdb.DuckDBPyConnection, bound: Mapping[str, Any], now_ns: int) -> dict[str, Any]:
    """kg/h by minute and route; a minute without a figure is None."""
    last = now_ns // NS // 60 * 60
    times = [last - 60 * i for i in range(HISTORY_MINUTES, -1, -1)]
    place = {t: i for i, t in enumerate(times)}
    curves: dict[str, list[float | None]] = {}
    for route, t, rate in con.execute(_HISTORY, dict(bound)).fetchall():
        if t in place:
            curves.setdefault(route, [None] * len(times))[place[t]] = rate
    first = min((i for values in curves.values() for i, v in enumerate(values) if v is not None), default=0)
    return {"t": times[first:], "routes": {route: values[first:] for route, values in curves.items()}}
