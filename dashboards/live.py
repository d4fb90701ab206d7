"""What a live view shows: one query per table of figures, read from the SQL views, unknown staying None."""

from dataclasses import dataclass
from typing import Any, Final

import duckdb

_ROUTES: Final = """
SELECT r.route, r.name, n.vehicles_reporting, n.co2e_wtw_kg_per_h, n.co2e_wtw_g_per_km, n.co2e_u_rel, n.measured_share, n.coverage, n.age_s
FROM routes r LEFT JOIN route_now n ON n.route = r.route
ORDER BY r.route
"""
_WAREHOUSES: Final = """
SELECT w.warehouse, w.name, n.energy_kwh * 3600 / nullif(n.observed_s, 0) AS power_kw,
       n.co2e_wtw_kg_per_h, n.co2e_u_rel, n.measured_share, n.coverage, n.age_s
FROM warehouses w LEFT JOIN warehouse_now n ON n.warehouse = w.warehouse
ORDER BY w.warehouse
"""
_TOTALS: Final = """
SELECT route, asset,
       CASE WHEN sum(observed_us - unknown_us) > 0 OR sum(co2e_wtw_ug) <> 0 THEN sum(co2e_wtw_ug) / 1e9 END AS kg
FROM rollups GROUP BY ALL
"""

_STORED: Final = """
SELECT (SELECT count(*) FROM readings),
       (SELECT count(DISTINCT (device, boot_id, seq)) FROM readings),
       (SELECT count(DISTINCT (device, boot_id, seq)) FROM quarantine WHERE reason LIKE 'time_%'),
       (SELECT count(*) FROM quarantine WHERE seq IS NULL)
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """What lies on disk: rows of readings, how many are different, readings and whole messages in quarantine."""

    rows: int
    distinct: int
    quarantined: int
    rejected: int


def stored(con: duckdb.DuckDBPyConnection) -> Stored:
    """Count the lake. A reading whose time cannot be right lies in quarantine, not among the readings."""
    return Stored(*con.execute(_STORED).fetchall()[0])


@dataclass(frozen=True, slots=True)
class RouteNow:
    """A route in the last minute of data. Rates are None where no figure exists. ``u_rel``: 95 % half-width, relative."""

    route: str
    name: str
    vehicles: int | None
    kg_per_h: float | None
    g_per_km: float | None
    u_rel: float | None
    measured: float | None
    coverage: float | None
    age_s: float | None
    total_kg: float | None


@dataclass(frozen=True, slots=True)
class WarehouseNow:
    """A warehouse in the last minute of data."""

    warehouse: str
    name: str
    power_kw: float | None
    kg_per_h: float | None
    u_rel: float | None
    measured: float | None
    coverage: float | None
    age_s: float | None
    total_kg: float | None


def read(con: duckdb.DuckDBPyConnection) -> tuple[list[RouteNow], list[WarehouseNow]]:
    """Every route and warehouse of the registry, those without data too."""
    routes: dict[str, float] = {}
    assets: dict[str, float] = {}
    for route, asset, kg in con.execute(_TOTALS).fetchall():
        if kg is not None:
            routes[route] = routes.get(route, 0.0) + kg
            assets[asset] = assets.get(asset, 0.0) + kg
    route_rows: list[tuple[Any, ...]] = con.execute(_ROUTES).fetchall()
    site_rows: list[tuple[Any, ...]] = con.execute(_WAREHOUSES).fetchall()
    return (
        [RouteNow(*(*row, routes.get(row[0]))) for row in route_rows],
        [WarehouseNow(*(*row, assets.get(row[0]))) for row in site_rows],
    )
