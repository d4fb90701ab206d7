"""The SQL of the views: stored tables under their own names, dimensions, and the figures that are made when they are read.

Sums are taken over int64 columns (DuckDB widens them to HUGEINT) and divided once, so a figure does not depend on the order of
rows. A sum over time without a figure is null, never 0. Each figure has its unit in its name. ``now_ns()`` is the wall clock, or
the variable ``now_ns`` where a caller has set it (``SET VARIABLE now_ns = ...``).
"""
# ruff: noqa: S608  the names are those of our own schema; nothing from outside gets in here

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from storage.schema import DIMENSIONS, LANDED, PARTITIONS, ROLLUP_NEWEST, ROLLUP_SUMS, arrow_schema

MINUTE_NS: Final = 60_000_000_000
WINDOW_NS: Final = 2 * MINUTE_NS  # "now": the last full minute and the running one, so 60 to 120 s
LOOKBACK_NS: Final = 86_400_000_000_000  # a route or warehouse silent for longer shows no newest time
UNKNOWN_SHARE: Final = 0.05  # of observed time that may lack energy or distance where g/km is still told

_SQL_TYPES: Final = {
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.int8(): "TINYINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.binary(32): "BLOB",
    pa.binary(64): "BLOB",
    pa.date32(): "DATE",
}
_TIMES: Final = {  # table -> columns added: name -> the nanoseconds it shows
    "readings": {"time": "time_ns", "received_time": "received_ns"},
    "emissions": {"time": "time_ns"},
    "rollups": {"time": "minute_ns", "newest_time": "newest_time_ns"},
    "trips": {"time": "trip_start_ns", "end_time": "trip_end_ns"},
    "events": {"time": "time_ns", "end_time": "end_ns"},
    "quarantine": {"time": "received_ns"},
    "batches": {"time": "time_ns", "received_time": "received_ns"},
}
STORED: Final = (*LANDED, *DIMENSIONS)

NOW: Final = "CREATE OR REPLACE MACRO now_ns() AS coalesce(getvariable('now_ns'), epoch_ns(now()))"


def _timestamp(ns: str) -> str:
    return f"make_timestamp({ns} // 1000)"


def _literal(path: str) -> str:
    return "'" + path.replace("'", "''") + "'"


def stored_schema(table: str) -> pa.Schema:
    """Columns of a stored table, those in the path included."""
    return DIMENSIONS[table] if table in DIMENSIONS else arrow_schema(table, partitions=True)


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose rows a connection shows. ``owns_unnamed``: also those of things that the registry gives to nobody."""

    name: str
    owns_unnamed: bool = False


OPEN_TO_ALL: Final = ("benchmarks", "factors")  # tables that belong to no tenant
_ASSETS: Final = "SELECT vehicle FROM vehicles UNION ALL SELECT warehouse FROM warehouses"
_DEVICES: Final = "SELECT device FROM vehicles UNION ALL SELECT device FROM warehouses"


def rows_of(table: str, tenant: Tenant | None) -> str:
    """The condition that leaves the rows of ``tenant``. None where all are shown. A table that nobody has placed shows none."""
    names = stored_schema(table).names
    if tenant is None or table in OPEN_TO_ALL:
        return "true"
    if "tenant" in names:
        unnamed = " OR tenant IS NULL" if tenant.owns_unnamed and table != "quarantine" else ""
        return f"(tenant = {_literal(tenant.name)}{unnamed})"
    if "asset" in names:
        return f"asset IN ({_ASSETS})"
    if "device" in names:
        return f"device IN ({_DEVICES})"
    return "false"


def stored_view(table: str, files: Sequence[str], *, mixed: bool = False, tenant: Tenant | None = None) -> str:
    """The statement that makes the view of a stored table over exactly ``files``; without files it has no rows, in the same types.

    ``mixed`` says that some files may lack columns, which are null then. ``tenant`` leaves only what is his.
    """
    schema = stored_schema(table)
    extra = [f"{_timestamp(ns)} AS {name}" for name, ns in _TIMES.get(table, {}).items()]
    if table in ("emissions", "rollups", "trips"):
        extra.append("co2e_ttw_ug + co2e_wtt_ug AS co2e_wtw_ug")
    columns = ", ".join([f.name for f in schema] + extra)
    typed = ", ".join(f"CAST(NULL AS {_SQL_TYPES[f.type]}) AS {f.name}" for f in schema)
    source = f"(SELECT {typed} WHERE false)"
    if files:
        types = ", ".join(f"'{name}': {_SQL_TYPES[schema.field(name).type]}" for name in PARTITIONS.get(table, ()))
        options = f", hive_partitioning = true, hive_types = {{{types}}}" if types else ""
        options += ", union_by_name = true" if mixed else ""
        read = f"read_parquet([{', '.join(_literal(f) for f in files)}]{options})"
        source = f"({source[1:-1]} UNION ALL BY NAME SELECT * FROM {read})" if mixed else read
    where = "" if tenant is None else f" WHERE {rows_of(table, tenant)}"
    return f"CREATE OR REPLACE VIEW {table} AS SELECT {columns} FROM {source}{where}"


# Additive columns of a rollup -> the part of the observed time for which they are known. Always known where that is empty.
_KNOWN: Final = "observed_us - unknown_us"
_KNOWN_FOR: Final = {
    "readings": "",
    "observed_us": "",
    "unknown_us": "",
    "distance_unknown_us": "",
    "distance_mm": "observed_us - distance_unknown_us",
}
_SUMS: Final = {name: _KNOWN_FOR.get(name, _KNOWN) for name in (*ROLLUP_SUMS, "co2e_wtw_ug")}
_ADDITIVE: Final = ", ".join(_SUMS)
_SUM_OF_PARTS: Final = ",\n    ".join(
    f"CASE WHEN sum({known}) > 0 THEN CAST(sum({name}) AS BIGINT) END AS {name}"
    if known
    else f"CAST(sum({name}) AS BIGINT) AS {name}"
    for name, known in _SUMS.items()
)
_SUM_OF_SUMS: Final = ",\n    ".join(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in _SUMS)
_NEWEST: Final = ", ".join(f"max({name}) AS {name}" for name in ROLLUP_NEWEST)
_FRESHNESS: Final = f"""\
    {_timestamp("newest_time_ns")} AS newest_time,
    (now_ns() - newest_time_ns) / 1e9 AS age_s"""
_REGISTERED: Final = {
    "route": "SELECT route, count(*) AS registered FROM vehicles WHERE route IS NOT NULL GROUP BY route",
    "warehouse": "SELECT warehouse, 1 AS registered FROM warehouses",
}

# Needs the additive columns and expected_us. 1 g/km is 1 µg/mm.
_FIGURES: Final = f"""\
    observed_us / 1e6 AS observed_s,
    expected_us / 1e6 AS expected_s,
    CASE WHEN expected_us > 0 THEN least(1.0, coalesce(observed_us, 0) / expected_us) END AS coverage,
    distance_mm / 1e6 AS distance_km,
    fuel_nl / 1e9 AS fuel_l,
    fuel_gas_ug / 1e9 AS fuel_gas_kg,
    tru_fuel_nl / 1e9 AS tru_fuel_l,
    energy_uwh / 1e9 AS energy_kwh,
    co2e_ttw_ug / 1e9 AS co2e_ttw_kg,
    co2e_wtt_ug / 1e9 AS co2e_wtt_kg,
    co2e_wtw_ug / 1e9 AS co2e_wtw_kg,
    co2_biogenic_ug / 1e9 AS co2_biogenic_kg,
    CASE WHEN greatest(unknown_us, distance_unknown_us) <= {UNKNOWN_SHARE} * observed_us
      THEN co2e_wtw_ug / nullif(distance_mm, 0) END AS co2e_wtw_g_per_km,
    co2e_measured_ug / nullif(co2e_wtw_ug, 0) AS measured_share,
    co2e_u_ug / nullif(co2e_wtw_ug, 0) AS co2e_u_rel"""

_ASSET_MINUTES: Final = f"""
SELECT {_timestamp("minute_ns")} AS time, minute_ns, kind, asset, route, factor_set,
    {_SUM_OF_PARTS},
    {_NEWEST}
FROM rollups GROUP BY ALL"""

_ROUTE_MINUTES: Final = f"""
WITH summed AS (
  SELECT minute_ns, route, factor_set, count(DISTINCT asset) AS vehicles_reporting,
    {_SUM_OF_SUMS},
    {_NEWEST}
  FROM asset_minutes WHERE kind = 'vehicle' GROUP BY ALL
), expected AS (
  SELECT *, coalesce(registered, 0) AS vehicles_registered,
    greatest(coalesce(registered, 0), vehicles_reporting)
      * least(60000000, greatest(0, (now_ns() - minute_ns) // 1000)) AS expected_us
  FROM summed LEFT JOIN ({_REGISTERED["route"]}) USING (route)
)
SELECT {_timestamp("minute_ns")} AS time, route, name AS route_name, factor_set, vehicles_registered, vehicles_reporting,
{_FIGURES},
{_FRESHNESS},
    minute_ns, {_ADDITIVE}, newest_time_ns, newest_received_ns
FROM expected LEFT JOIN routes USING (route)"""

_WAREHOUSE_MINUTES: Final = f"""
WITH summed AS (
  SELECT minute_ns, asset AS warehouse, factor_set, {_ADDITIVE}, newest_time_ns, newest_received_ns,
    least(60000000, greatest(0, (now_ns() - minute_ns) // 1000)) AS expected_us
  FROM asset_minutes WHERE kind = 'warehouse'
)
SELECT {_timestamp("minute_ns")} AS time, warehouse, name AS warehouse_name, factor_set,
{_FIGURES},
{_FRESHNESS},
    minute_ns, {_ADDITIVE}, newest_time_ns, newest_received_ns
FROM summed LEFT JOIN warehouses USING (warehouse)"""


def _now(key: str, kind: str, dimension: str, column: str, counts: str) -> str:
    """What each ``key`` of ``dimension`` emits now, silent ones too.

    The rate is that of the time with a figure, asset by asset: a gap in the readings does not lower it, it lowers coverage.
    """
    return f"""
WITH here AS (
  SELECT {column} AS {key}, * EXCLUDE (route) FROM rollups WHERE kind = '{kind}'
), seen AS (
  SELECT {key}, factor_set, {_NEWEST} FROM here WHERE minute_ns > now_ns() - {LOOKBACK_NS} GROUP BY ALL
), known AS (
  FROM seen UNION ALL
  SELECT {key}, NULL, NULL, NULL FROM {dimension} WHERE {key} NOT IN (SELECT {key} FROM seen WHERE {key} IS NOT NULL)
), per_asset AS (
  SELECT {key}, factor_set, asset,
    {_SUM_OF_PARTS},
    CASE WHEN sum({_KNOWN}) > 0 THEN sum(co2e_wtw_ug) * 3600000000 // sum({_KNOWN}) END AS rate_ug_per_h
  FROM here WHERE minute_ns > now_ns() - {WINDOW_NS} GROUP BY ALL
), summed AS (
  SELECT {key}, factor_set, count(*) AS reporting, sum(rate_ug_per_h) AS rate_ug_per_h,
    {_SUM_OF_SUMS}
  FROM per_asset GROUP BY ALL
), expected AS (
  SELECT known.*, summed.* EXCLUDE ({key}, factor_set),
    coalesce(registered, 0) AS vehicles_registered, coalesce(reporting, 0) AS vehicles_reporting,
    greatest(coalesce(registered, 0), coalesce(reporting, 0))
      * (60000000 + now_ns() % {MINUTE_NS} // 1000) AS expected_us
  FROM known LEFT JOIN summed
    ON summed.{key} IS NOT DISTINCT FROM known.{key} AND summed.factor_set = known.factor_set
    LEFT JOIN ({_REGISTERED[key]}) AS fleet ON fleet.{key} = known.{key}
), figures AS (
  SELECT *,
    rate_ug_per_h / 1e9 AS co2e_wtw_kg_per_h,
{_FIGURES}
  FROM expected
)
SELECT {key}, name AS {key}_name, factor_set, {counts}
    co2e_wtw_kg_per_h,
    co2e_wtw_kg_per_h * (1 - co2e_u_rel) AS co2e_wtw_low_kg_per_h,
    co2e_wtw_kg_per_h * (1 + co2e_u_rel) AS co2e_wtw_high_kg_per_h,
    co2e_u_rel, co2e_wtw_g_per_km, measured_share, coverage, observed_s, expected_s,
    distance_km, fuel_l, fuel_gas_kg, tru_fuel_l, energy_kwh, co2e_wtw_kg,
{_FRESHNESS}
FROM figures LEFT JOIN {dimension} USING ({key})"""


FIGURES: Final = {  # in the order in which they build on each other
    "asset_minutes": _ASSET_MINUTES,
    "route_minutes": _ROUTE_MINUTES,
    "warehouse_minutes": _WAREHOUSE_MINUTES,
    "route_now": _now("route", "vehicle", "routes", "route", "vehicles_registered, vehicles_reporting,"),
    "warehouse_now": _now("warehouse", "warehouse", "warehouses", "asset", ""),
}


def figure_views() -> list[str]:
    """Statements that make the views of figures, over the stored ones."""
    return [f"CREATE OR REPLACE VIEW {name} AS {sql}" for name, sql in FIGURES.items()]
